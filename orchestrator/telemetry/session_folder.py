"""Where Ray keeps its files on this machine: the code of jobs, sockets, logs, spilled objects.

Ray opens its folder to every user of the machine, so that another one could exchange the code of a job. A Ray of ours
is given one inside ``sleep-UID``, which only its owner can enter.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.telemetry.private_folder import make_parents, make_private, risk

SOCKET_BYTES_ON_LINUX = 107
SOCKET_BYTES = SOCKET_BYTES_ON_LINUX if sys.platform == "linux" else 103
"""How many bytes the path of a socket may have."""

_SESSION = "/session_2026-11-30_09-00-00_123456_1234567/sockets/"
"""What Ray makes in its folder; it ends with a time and a process id."""
SOCKET_OF_A_SESSION = f"{_SESSION}plasma_store"
SOCKET_OF_A_CLUSTER = f"{_SESSION}dash_TaskEventsHead"
"""The longest path of a socket in Ray's folder: without and with the dashboard."""

_NAME = re.compile(r"[0-9a-f]{4}")
"""Of a session's folder; those of clusters have a dash."""

_LONG_LIVED = (Path("/tmp"), Path("/var/tmp"))


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """Have a folder for Ray's files while a session of this process runs.

    It is removed at the end, after Ray has stopped. If the block ends with an error that is none of ours, it stays for
    Ray's logs, until the next session starts: that removes what sessions have left whose process is gone.

    Raises
    ------
    SetupError
        There is no place for it that is safe from other users, and short enough for sockets.
    """
    base = _own_folder(_temporary_folders(), "/0000", SOCKET_OF_A_SESSION)
    is_wanted = False
    with contextlib.ExitStack() as held:
        # Meanwhile nobody else may take ours for one that was left.
        with _locked(base, wait=True) as can_lock:
            if can_lock:
                _remove_left(base)
            folder = _new(base)
            held.enter_context(_locked(folder))
        try:
            yield folder
        except Exception as error:
            is_wanted = not isinstance(error, OrchestratorError)
            if is_wanted:
                error.add_note(
                    f"Ray's logs are in {folder}/session_latest/logs until the next session starts."
                )
            raise
        finally:
            if not is_wanted:
                remove(folder)


def cluster_folder(state_folder: Path) -> Path:
    """Return the folder for Ray's files of a cluster on this machine, by what this machine knows of the cluster.

    It does not depend on ``TMPDIR``: a cluster outlives the login, or the batch job, that has set it. ``RAY_TMPDIR`` is
    taken where it has room for a cluster's sockets, whose paths are longer than those of a session.

    Raises
    ------
    SetupError
        There is no place for it that is safe from other users.
    """
    key = hashlib.sha256(os.fsencode(state_folder.absolute())).hexdigest()[:6]
    name = f"{state_folder.name[:7]}-{key}"
    parents = (*_chosen_folder(), *_LONG_LIVED)
    return _own_folder(parents, f"/{name}", SOCKET_OF_A_CLUSTER) / name


def remove(folder: Path) -> None:
    """Remove a folder of Ray's; processes of Ray that are still ending may write into it meanwhile."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _own_folder(parents: Sequence[Path], *inside: str) -> Path:
    """Return this user's folder in the first of some folders that is safe and leaves room for what is to be inside."""
    name = f"sleep-{os.geteuid()}"
    room = SOCKET_BYTES - len("".join(inside)) - len(f"/{name}")
    elsewhere = f"set RAY_TMPDIR to a folder of your own whose path has at most {room} bytes."
    reasons = []
    for parent in map(Path.resolve, parents):  # a link in it could be led elsewhere by others
        folder = parent / name
        length = len(os.fsencode(parent))
        if length > room:
            reasons.append(
                f"{parent} has {length} bytes, and {room} are the most, because sockets are made below it whose paths "
                f"may have {SOCKET_BYTES}"
            )
        elif reason := risk(parent):
            reasons.append(reason)
        elif not os.path.lexists(folder) and not os.access(parent, os.W_OK | os.X_OK):
            reasons.append(f"{parent} is not writable")
        else:
            try:
                make_private(folder)
            except SetupError as error:
                raise SetupError(f"{error} Or {elsewhere}") from None
            return folder
    raise SetupError(
        f"there is no folder for the files of Ray: {'; '.join(reasons)}. S{elsewhere[1:]}"
    )


def _temporary_folders() -> Sequence[Path]:
    """Return where a session may have its files, best first."""
    if chosen := _chosen_folder():
        return chosen
    with contextlib.suppress(FileNotFoundError):  # there is none
        return tuple(dict.fromkeys((Path(tempfile.gettempdir()), *_LONG_LIVED)))
    return _LONG_LIVED


def _chosen_folder() -> Sequence[Path]:
    """Return the folder that the user has chosen for Ray, if any, in which case no other is taken."""
    chosen = os.environ.get("RAY_TMPDIR")
    if not chosen:
        return ()
    try:
        folder = Path(chosen).expanduser().absolute()
    except RuntimeError as error:  # ~ of a user who is not there
        raise SetupError(f"RAY_TMPDIR is {chosen}: {error} Give the path of a folder.") from error
    with contextlib.suppress(OSError):  # it is told what is wrong with it
        make_parents(folder)
    return (folder,)


def _new(base: Path) -> Path:
    while True:
        folder = base / secrets.token_hex(2)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _remove_left(base: Path) -> None:
    """Remove the folders of sessions whose process is gone: the system has freed the locks that it held."""
    for folder in base.iterdir():
        if _NAME.fullmatch(folder.name):
            with contextlib.suppress(OSError), _locked(folder) as is_left:  # it may be gone by now
                if is_left:
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder inside the block; give False if another process does, or its file system has none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _lock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True
