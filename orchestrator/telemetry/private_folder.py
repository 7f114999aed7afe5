"""Folders of this user's that no other user of the machine can enter, or exchange for one of their own."""

import os
import pwd
import stat
from pathlib import Path

from orchestrator.errors import SetupError


def make_private(folder: Path, *, others_may: int = 0) -> None:
    """Make a folder that only its owner can enter, or see that one which is there already is such a folder.

    One that others can enter is refused, and not closed: what is in it by now may be theirs.

    Parameters
    ----------
    folder : Path
        Its parent is there, and passes :func:`risk`.
    others_may : int
        Rights that others may have, as bits of a mode; none by default.

    Raises
    ------
    SetupError
        Something else is there: another user's, a symbolic link, a file, a folder that is open to others.
    """
    try:
        os.mkdir(folder, 0o700)  # closed from the beginning, whatever the umask
    except FileExistsError:
        pass
    except OSError as error:
        raise SetupError(f"{folder} cannot be made: {error.strerror}.") from error
    found = folder.lstat()
    if (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & 0o077 & ~others_may
    ):
        return
    raise SetupError(
        f"{folder} must be a folder of {_name(os.geteuid())} that nobody else can enter, because code that runs as "
        f"{_name(os.geteuid())} lies in it. It is {_kind(found.st_mode)} of {_name(found.st_uid)}, with mode "
        f"{stat.S_IMODE(found.st_mode):04o}; somebody else may have put it, or something into it, there. Look into it, "
        "and remove it, or have it removed by its owner or by root."
    )


def make_parents(folder: Path) -> None:
    """Make a folder and what is missing above it, all closed to others; what is there already stays as it is."""
    for path in (*reversed(folder.parents), folder):
        path.mkdir(mode=0o700, exist_ok=True)


def risk(folder: Path) -> str | None:
    """Return how another user could exchange what lies in a folder; None if none but root can.

    A folder that all can write, such as ``/tmp``, is no risk if it has the sticky bit: only the owner of what is in it
    can rename or remove it.
    """
    resolved = folder.resolve()
    # Whoever owns the root folder can do anything: also where root is another number, as in some containers.
    trusted = {0, os.geteuid(), Path("/").stat().st_uid}
    for path in (resolved, *resolved.parents):
        try:
            found = path.stat()
        except OSError as error:
            return f"{path}: {error.strerror}"
        if found.st_uid not in trusted:
            return f"{path} belongs to {_name(found.st_uid)}, who could exchange what is in it"
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            return (
                f"{path} can be written by others, who could exchange what is in it: it has mode "
                f"{stat.S_IMODE(found.st_mode):04o}, without the sticky bit"
            )
    return None


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a folder" if stat.S_ISDIR(mode) else "a file"


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
