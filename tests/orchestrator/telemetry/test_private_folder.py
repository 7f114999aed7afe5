"""Folders that no other user of the machine can enter or exchange."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import SetupError
from orchestrator.telemetry.private_folder import make_parents, make_private, risk
from tests.second_user import IS_ROOT, STRANGER, as_stranger, only_root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_it_is_closed_from_the_beginning(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        make_private(tmp_path / "own")
        make_parents(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode(tmp_path / "own") == mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    make_private(tmp_path / "own")  # which is there by now


def test_one_that_others_can_enter_is_refused_and_stays_open(tmp_path: Path) -> None:
    """What is in it may be theirs by now; closed, it would be taken at the next start."""
    folder = tmp_path / "own"
    folder.mkdir()
    folder.chmod(0o755)
    for _ in range(2):
        with pytest.raises(SetupError, match=r"a folder of user .*, with mode 0755.*remove it"):
            make_private(folder)
    make_private(folder, others_may=0o055)


def test_a_symbolic_link_is_refused_whatever_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "own").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match=r"own must be .*a symbolic link of user"):
        make_private(tmp_path / "own")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").touch(mode=0o600)
    with pytest.raises(SetupError, match="a file of user"):
        make_private(tmp_path / "own")


@pytest.mark.parametrize("made_by", ["root", pytest.param("a stranger", marks=only_root)])
def test_one_of_another_user_is_refused(made_by: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    if made_by == "root" and not IS_ROOT:
        folder = Path("/usr")
    else:
        folder.mkdir(mode=0o700)
        os.chown(folder, STRANGER, -1)
    with pytest.raises(
        SetupError, match=f"a folder of user .*, with mode {mode(folder):04o}"
    ) as told:
        make_private(folder)
    assert told.value.exit_code == 7


def test_where_nothing_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be made: No such file or directory"):
        make_private(tmp_path / "missing" / "own")


def test_what_others_could_exchange(tmp_path: Path) -> None:
    assert risk(tmp_path) is None
    assert risk(Path("/tmp")) is None
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "mine").mkdir(mode=0o700)
    for bits in (0o777, 0o770):
        shared.chmod(bits)
        for folder in (shared, shared / "mine"):
            assert f"{shared} can be written by others" in (risk(folder) or "")
    shared.chmod(0o1777)
    assert risk(shared / "mine") is None
    assert "No such file" in (risk(tmp_path / "missing") or "")
    link = tmp_path / "link"
    shared.chmod(0o777)
    link.symlink_to(shared)
    assert f"{shared} can be written" in (risk(link) or "")


@only_root
def test_the_owner_of_a_folder_above_could_exchange_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "mine").mkdir(parents=True)
    os.chown(theirs, STRANGER, -1)
    assert f"{theirs} belongs to user" in (risk(theirs / "mine") or "")


@pytest.mark.heavy
@only_root
def test_a_second_user_gets_nowhere() -> None:
    """Where the folder is closed; into one that Ray opens, he gets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own are closed to him
        os.chmod(name, 0o755)
        make_private(Path(name, "own"))
        for folder in (Path(name, "own", "rays"), Path(name, "rays")):
            folder.mkdir()
            folder.chmod(0o777)
        assert as_stranger(f"touch {name}/rays/planted") == ""
        for command in (
            "ls {0}/own",
            "ls {0}/own/rays",
            "touch {0}/own/rays/x",
            "mv {0}/own {0}/x",
        ):
            assert "Permission denied" in as_stranger(command.format(name))
