"""A cluster of this machine: where Ray's files lie, and what becomes of them."""

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cluster import this_machine
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.cluster.this_machine import OnThisMachine
from orchestrator.config.cluster import ThisMachine
from orchestrator.errors import SetupError
from tests.second_user import STRANGER, only_root

ENDED = Running(provider="this_machine", address="", launched_at="then", ends_at=None)


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    return ClusterState(tmp_path / "clusters" / f"x{secrets.token_hex(4)}")


@pytest.fixture
def former(state: ClusterState) -> Iterator[Path]:
    """The folder that version 0.1 has given to Ray."""
    path = Path("/tmp") / f"sleep-{os.getuid()}-{state.folder.name}"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def on_this_machine(state: ClusterState) -> OnThisMachine:
    return OnThisMachine(ThisMachine(type="this_machine"), None, state)


def test_its_end_removes_the_folder_that_was_noted(state: ClusterState, tmp_path: Path) -> None:
    """Also after it has ended by itself."""
    folder = tmp_path / "own" / "cluster"
    (folder / "session_1" / "sockets").mkdir(parents=True)
    state.note(replace(ENDED, ray_folder=str(folder)))
    assert on_this_machine(state).end() is False
    assert not folder.exists()
    assert folder.parent.exists()


def test_its_end_removes_the_folder_where_nothing_is_noted_of_it(
    state: ClusterState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a note that was damaged and removed."""
    folder = tmp_path / "own" / "cluster"
    monkeypatch.setattr(this_machine, "cluster_folder", lambda _: folder)
    assert on_this_machine(state).remaining() == []
    folder.mkdir(parents=True)
    assert on_this_machine(state).remaining() == [f"{folder} on this machine"]
    assert on_this_machine(state).remaining(only_billed=True) == []
    on_this_machine(state).end()
    assert not folder.exists()
    assert on_this_machine(state).remaining() == []


def test_its_end_removes_the_folder_of_version_0_1(state: ClusterState, former: Path) -> None:
    on_this_machine(state).end()
    assert former.exists()  # it was not launched from here
    note_of_0_1(state)
    on_this_machine(state).end()
    assert not former.exists()


@only_root
def test_that_of_another_user_stays(state: ClusterState, former: Path) -> None:
    os.chown(former, STRANGER, -1)
    note_of_0_1(state)
    on_this_machine(state).end()
    assert former.exists()


def note_of_0_1(state: ClusterState) -> None:
    state.note(ENDED)
    noted = state.folder / "running.json"
    noted.write_text(
        noted.read_text(encoding="utf-8").replace(',\n "ray_folder": null', ""), encoding="utf-8"
    )
    assert "ray_folder" not in noted.read_text(encoding="utf-8")


def test_a_folder_that_another_user_may_have_made_is_refused_before_a_launch(
    state: ClusterState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path("/tmp") / secrets.token_hex(4)
    taken = short / f"sleep-{os.geteuid()}"
    taken.mkdir(parents=True)
    taken.chmod(0o777)
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    try:
        with pytest.raises(SetupError, match=f"{taken} must be a folder of .* mode 0777"):
            on_this_machine(state).check()
    finally:
        shutil.rmtree(short)


def test_what_is_known_of_clusters_is_closed_to_others(tmp_path: Path) -> None:
    """Whoever could write into a folder above could exchange a cluster's, with the wheel that its machines install."""
    before = os.umask(0)
    try:
        state = ClusterState(tmp_path / "home" / "clusters" / "a")
        state.make_token()
    finally:
        os.umask(before)
    for path in (state.folder, *list(state.folder.parents)[:2]):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_limited_life_needs_a_program_that_macos_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ThisMachine(type="this_machine")
    state = ClusterState(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert OnThisMachine(provider, None, state)._ended_in_time() == []
    with pytest.raises(SetupError, match="needs the program `timeout`"):
        OnThisMachine(provider, 1.0, state)._ended_in_time()
    homebrew = tmp_path / "gtimeout"
    homebrew.touch(0o755)
    assert OnThisMachine(provider, 1.0, state)._ended_in_time()[0] == str(homebrew)
