"""What this process may use of its machine: memory and CPUs, as far as its cgroups (a container's, a job's) let it.

Where the system has no cgroups, as macOS, the machine itself is the only limit. Functions read below `root`, which is
another folder in tests.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

SMALLEST_STORE = 256 * 2**20
"""Bytes."""
_LARGEST_STORE = 8 * 2**30
_MAC_STORE = 2 * 2**30  # Ray refuses a larger one there

_ROOT = Path("/")
_MOUNT = "sys/fs/cgroup"
_V2 = ""
"""What ``/proc/self/cgroup`` calls the one tree of cgroups v2; the trees of v1 have the names of their controllers."""


def free_memory(root: Path = _ROOT) -> int:
    """Return the bytes that this process can still take: what the machine has free, less in a cgroup with a limit."""
    return max(0, min([int(psutil.virtual_memory().available), *_rooms(root)]))


def has_memory_limit(root: Path = _ROOT) -> bool:
    """Tell whether a cgroup lets this process take less than the machine has."""
    return any(room < psutil.virtual_memory().available for room in _rooms(root))


def n_usable_cpus(root: Path = _ROOT) -> int:
    """Return how many CPUs this process may use at a time, rounded down; at least one."""
    known = hasattr(os, "sched_getaffinity")  # not to macOS
    n_allowed = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, int(min([n_allowed, *_quotas(root)])))


def object_store_bytes(root: Path = _ROOT) -> int:
    """Return the size of the object store of a Ray session here: a fifth of the free memory, at most 8 GiB.

    It holds epochs of a sweep, and is no page cache. A smaller ``/dev/shm`` limits it, unless that is tiny, as in a
    container of Docker's: Ray then keeps objects on the disk.
    """
    wanted = min(_MAC_STORE if sys.platform == "darwin" else _LARGEST_STORE, free_memory(root) // 5)
    shared = free_shared_memory(root)
    if shared is not None and shared >= SMALLEST_STORE:
        wanted = min(wanted, shared)
    return max(SMALLEST_STORE, wanted)


def free_shared_memory(root: Path = _ROOT) -> int | None:
    """Return the bytes of ``/dev/shm`` that may be used; None where the system has none."""
    try:
        found = os.statvfs(root / "dev/shm")
    except FileNotFoundError:
        return None
    return found.f_frsize * found.f_bavail * 19 // 20  # as Ray leaves some


def _rooms(root: Path) -> Iterator[int]:
    """Yield what each cgroup has left of its limit; file pages that are not in use count, as they are given up."""
    for group in _groups(root, _MOUNT, _V2):
        yield from _room(group, "memory.max", "memory.current", "inactive_file")
    for group in _groups(root, f"{_MOUNT}/memory", "memory"):
        files = "memory.limit_in_bytes", "memory.usage_in_bytes"
        yield from _room(group, *files, "total_inactive_file")


def _room(group: Path, limit: str, usage: str, unused: str) -> Iterator[int]:
    most, used = _number(group / limit), _number(group / usage)
    if most is not None and used is not None:
        yield most - used + _statistic(group / "memory.stat", unused)


def _quotas(root: Path) -> Iterator[float]:
    """Yield how many CPUs each cgroup may use at a time."""
    for group in _groups(root, _MOUNT, _V2):
        yield from _quota(_number(group / "cpu.max"), _number(group / "cpu.max", word=1))
    for group in _groups(root, f"{_MOUNT}/cpu", "cpu"):
        files = group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us"
        yield from _quota(*map(_number, files))


def _quota(busy_us: int | None, period_us: int | None) -> Iterator[float]:
    if busy_us is not None and busy_us > 0 and period_us:  # v1 says -1 where there is none
        yield busy_us / period_us


def _groups(root: Path, mount: str, controller: str) -> Iterator[Path]:
    """Yield the folders of this process' cgroup and of those around it.

    Some need not exist: a container may have its own cgroup as the root of the mount, and know itself by the path that
    its host sees.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return
    top = root / mount
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            group = top / path.lstrip("/")
            yield from (g for g in (group, *group.parents) if g.is_relative_to(top))


def _number(file: Path, word: int = 0) -> int | None:
    """Return a number of a file; None where there is no such file, or where it says ``max``."""
    try:
        return int(file.read_text(encoding="utf-8").split()[word])
    except (IndexError, OSError, ValueError):
        return None


def _statistic(file: Path, name: str) -> int:
    """Return a value of a file of names and values; 0 where it is not told."""
    try:
        values = dict(
            line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()
        )
    except OSError:
        return 0
    return int(values.get(name, 0))
