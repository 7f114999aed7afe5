"""Which process is which: an id alone is given again to another one."""

import os
import socket
from pathlib import Path

import psutil

_ANY_BYTES = "latin-1"
"""A process may have any bytes for a name, and that stands in its file."""


def this_machine() -> str:
    """Return what is the same for processes that see each other's ids: this boot, this namespace of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():  # not Linux
        return socket.gethostname()
    return f"{boot.read_text(encoding='utf-8').strip()} {os.stat('/proc/self/ns/pid').st_ino}"


def started_at(pid: int) -> str | None:
    """Return when a process began, in the system's own count (where that is told); None where it is gone."""
    try:
        if not Path("/proc").is_dir():  # not Linux
            return _told_by_psutil(pid)
        fields = Path(f"/proc/{pid}/stat").read_text(encoding=_ANY_BYTES).rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _told_by_psutil(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def having(variable: str, value: str) -> set[int]:
    """Return the processes whose environment has a variable with this value; none where the system does not tell.

    A process that has given itself a title may have overwritten its environment with it.
    """
    wanted = f"{variable}={value}".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def in_session(leader: int) -> set[int]:
    """Return the processes of the session that a process leads, or led; none where the system does not tell."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding=_ANY_BYTES).rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found
