"""Where Ray's files of sessions and clusters of this machine lie."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import SetupError, SweepFailedError
from orchestrator.telemetry import session_folder as module
from orchestrator.telemetry.session_folder import (
    SOCKET_BYTES,
    SOCKET_OF_A_CLUSTER,
    SOCKET_OF_A_SESSION,
    cluster_folder,
    session_folder,
)

OWN = f"sleep-{os.geteuid()}"


@pytest.fixture
def tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files that is short enough, and nobody else's."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)  # as TMPDIR does before it is asked first
        yield Path(name)


def closed(folder: Path) -> bool:
    return stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sessions_have_a_folder_each_and_leave_none(tmp: Path) -> None:
    with session_folder() as first, session_folder() as second:
        assert first != second
        assert first.parent == second.parent == tmp / OWN
        assert closed(tmp / OWN)
        (first / "session_1" / "logs").mkdir(parents=True)
        first.chmod(0o777)  # as Ray does
    assert list((tmp / OWN).iterdir()) == []


@pytest.mark.parametrize(
    "end", [SweepFailedError("all failed"), KeyboardInterrupt(), SystemExit(1)]
)
def test_an_end_that_was_told_leaves_none_either(end: BaseException, tmp: Path) -> None:
    with pytest.raises(type(end)), session_folder():
        raise end
    assert list((tmp / OWN).iterdir()) == []


def test_after_an_error_that_is_not_ours_rays_logs_are_there_until_the_next_session(
    tmp: Path,
) -> None:
    made = []

    def fail() -> None:
        with session_folder() as folder:
            made.append(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as told:
        fail()
    assert made[0].exists()
    assert told.value.__notes__ == [
        f"Ray's logs are in {made[0]}/session_latest/logs until the next session starts."
    ]
    with session_folder():
        assert not made[0].exists()


def test_what_a_killed_session_left_is_removed_and_nothing_of_a_living_one(tmp: Path) -> None:
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from orchestrator.telemetry.session_folder import session_folder\n"
        "with session_folder() as folder:\n"
        "    (folder / 'log').touch(); print(folder, flush=True); input()"
    )
    killed, living = (
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for _ in range(2)
    )
    left, used = (Path((p.stdout.readline() if p.stdout else "").strip()) for p in (killed, living))
    killed.kill()
    killed.communicate()
    assert (left / "log").exists()
    cluster = tmp / OWN / "sleep-l-1a2b3c"
    cluster.mkdir()
    with session_folder() as mine:
        assert not left.exists()
        assert (used / "log").exists()
        assert mine != used
    living.communicate("\n")
    assert living.returncode == 0
    assert list((tmp / OWN).iterdir()) == [cluster]  # 'orchestrator down' removes it


def test_a_folder_that_somebody_else_has_put_there_is_refused(tmp: Path) -> None:
    (tmp / OWN).mkdir()
    (tmp / OWN).chmod(0o777)
    with (
        pytest.raises(SetupError, match=r"with mode 0777.* Or set RAY_TMPDIR") as told,
        session_folder(),
    ):
        pass
    assert told.value.exit_code == 7
    assert str(tmp / OWN) in str(told.value)
    (tmp / OWN).rmdir()
    (tmp / OWN).symlink_to("/tmp")
    with pytest.raises(SetupError, match="a symbolic link"), session_folder():
        pass


def long_path(folder: Path, n_bytes: int) -> Path:
    """Make a folder whose path has so many bytes."""
    path = folder / ("x" * (n_bytes - len(str(folder)) - 1))
    path.mkdir()
    assert len(str(path)) == n_bytes
    return path


def test_a_temporary_folder_that_is_too_long_for_sockets_is_not_taken(
    tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SOCKET_BYTES - len(f"/{OWN}/0000{SOCKET_OF_A_SESSION}")
    (short := tmp / "s").mkdir()
    monkeypatch.setattr(module, "_LONG_LIVED", (short,))
    for n_bytes, expected in ((room, "taken"), (room + 1, "not taken")):
        given = long_path(tmp, n_bytes)
        monkeypatch.setattr(tempfile, "tempdir", str(given))
        with session_folder() as folder:
            assert folder.parent.parent == (given if expected == "taken" else short)
            assert len(f"{folder}{SOCKET_OF_A_SESSION}") <= SOCKET_BYTES


def test_one_that_the_user_has_chosen_for_ray_is_taken_or_refused(
    tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp / "new"))
    with session_folder() as folder:
        assert folder.parent.parent == tmp / "new"
    too_long = long_path(tmp, 60)
    monkeypatch.setenv("RAY_TMPDIR", str(too_long))
    words = rf"{too_long} has 60 bytes, and \d\d are the most.*Set RAY_TMPDIR to a folder"
    with pytest.raises(SetupError, match=words), session_folder():
        pass
    open_to_all = tmp / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("RAY_TMPDIR", str(open_to_all))
    words = rf"{open_to_all} can be written by others.* mode 0777, without the sticky bit"
    with pytest.raises(SetupError, match=words), session_folder():
        pass
    file = tmp / "file"
    file.touch()
    monkeypatch.setenv("RAY_TMPDIR", str(file / "x"))
    with pytest.raises(SetupError, match="Not a directory"), session_folder():
        pass


def test_a_temporary_folder_that_others_can_exchange_is_not_taken(
    tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (safe := tmp / "s").mkdir()
    monkeypatch.setattr(module, "_LONG_LIVED", (safe,))
    (given := tmp / "open").mkdir()
    given.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(given))
    with session_folder() as folder:
        assert folder.parent.parent == safe
    safe.chmod(0o777)
    words = rf"{given} can be written by others.*; {safe} can be written by others"
    with pytest.raises(SetupError, match=words), session_folder():
        pass


def test_a_cluster_has_a_folder_by_its_name_and_by_who_knows_it(
    tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONG_LIVED", (tmp,))
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")  # of a login that ends before it
    one = cluster_folder(Path("/home/a/clusters/sleep-local"))
    assert one == cluster_folder(Path("/home/a/clusters/sleep-local"))
    assert one != cluster_folder(Path("/home/b/clusters/sleep-local"))
    assert one.parent == tmp / OWN
    assert one.name.startswith("sleep-l")
    assert closed(tmp / OWN)
    monkeypatch.setenv("RAY_TMPDIR", str(chosen := tmp / "c"))
    assert cluster_folder(Path("/home/a/clusters/a")).parent == chosen / OWN
    monkeypatch.setenv("RAY_TMPDIR", str(long_path(tmp, 40)))
    assert cluster_folder(Path("/home/a/clusters/a")).parent == tmp / OWN
    longest = cluster_folder(Path("/x") / ("a" * 40))
    assert len(f"{longest}{SOCKET_OF_A_CLUSTER}") <= SOCKET_BYTES


def test_a_link_is_followed_once(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write where it lies could lead it elsewhere while Ray runs."""
    (tmp / "own").mkdir(mode=0o700)
    (tmp / "open").mkdir()
    (tmp / "open").chmod(0o777)
    (tmp / "open" / "link").symlink_to(tmp / "own")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp / "open" / "link"))
    with session_folder() as folder:
        assert folder.parent == (tmp / "own").resolve() / OWN


def test_a_home_of_nobody_is_refused(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "~no-such-user/ray")
    with pytest.raises(SetupError, match="RAY_TMPDIR is ~no-such-user/ray"), session_folder():
        pass
