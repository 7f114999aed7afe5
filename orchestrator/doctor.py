"""Check a machine before it is trusted with a night's work: versions, memory, Ray, and the store."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version

from packaging.requirements import Requirement

from orchestrator.errors import OrchestratorError
from orchestrator.store.store import Store
from orchestrator.telemetry.limits import (
    SMALLEST_STORE,
    free_memory,
    free_shared_memory,
    has_memory_limit,
    n_usable_cpus,
)
from orchestrator.telemetry.session import ray_session

_DISTRIBUTION = "sleep-orchestrator"
_OUR_PACKAGES = ("orchestrator", "search_spaces", "trainables")
_ENOUGH_MEMORY = 4 * 2**30  # the demo takes 3 GB
_ENOUGH_DISK = 2 * 2**30


class Status(StrEnum):
    """Outcome of a check; only `FAIL` makes the machine unfit."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    """The value found and, unless it is fine, what to do."""
    error: OrchestratorError | None = None
    """Of ours, where one was raised."""


def examine(store_uri: str) -> Iterator[Finding]:
    """Look at everything that a command needs, one finding after another; starts Ray for a moment."""
    yield _python()
    yield _requirements()
    yield _owners()
    yield _processors()
    yield _memory()
    yield _accelerator()
    yield from _guarded("ray", _ray)
    yield from _guarded("store", lambda: _store(store_uri))


def _guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """Turn whatever a library raises into a finding: the other checks still tell something."""
    try:
        yield check()
    except OrchestratorError as error:
        yield Finding(name=name, status=Status.FAIL, detail=str(error), error=error)
    except Exception as error:  # any failure of Ray on this machine is the finding
        yield Finding(name=name, status=Status.FAIL, detail=f"{type(error).__name__}: {error}")


def _python() -> Finding:
    return Finding(
        name="python",
        status=Status.OK,
        detail=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    )


def _requirements() -> Finding:
    wrong, right = [], []
    for text in requires(_DISTRIBUTION) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            right.append(f"{requirement.name} {found}")
        else:
            wrong.append(f"{requirement.name} is {found}, needed: {requirement.specifier}")
    if wrong:
        advice = "; ".join(wrong) + ". Install the package again, in an environment of its own."
        return Finding(name="versions", status=Status.FAIL, detail=advice)
    return Finding(name="versions", status=Status.OK, detail=", ".join(right))


def _owners() -> Finding:
    """Two installed distributions that ship a folder of the same name would overwrite each other's files."""
    owners = packages_distributions()
    clashes = [
        f"{name} belongs to {', '.join(sorted(set(owners[name])))}"
        for name in _OUR_PACKAGES
        if set(owners.get(name, [_DISTRIBUTION])) != {_DISTRIBUTION}
    ]
    if clashes:
        return Finding(
            name="packages",
            status=Status.FAIL,
            detail=f"{'; '.join(clashes)}. Use an environment of its own for {_DISTRIBUTION}.",
        )
    return Finding(
        name="packages", status=Status.OK, detail=f"{_DISTRIBUTION} {version(_DISTRIBUTION)}"
    )


def _processors() -> Finding:
    n_cpus, n_there = n_usable_cpus(), os.cpu_count() or 1
    detail = str(n_cpus) if n_cpus == n_there else f"{n_cpus} of {n_there} may be used"
    if n_cpus < 2:
        return Finding(
            name="cpus", status=Status.WARN, detail=f"{n_cpus} CPU: tasks run one after the other"
        )
    return Finding(name="cpus", status=Status.OK, detail=detail)


def _memory() -> Finding:
    available, shared = free_memory(), free_shared_memory()
    detail = f"{available / 2**30:.1f} GiB free"
    if has_memory_limit():
        detail += ", as far as a cgroup lets this process (a container's limit, a job's)"
    problems = []
    if available < _ENOUGH_MEMORY:
        problems.append("the demo takes about 3 GB")
    if shared is not None and shared < SMALLEST_STORE:
        problems.append(
            f"/dev/shm has {shared / 2**20:.0f} MiB free, so what tasks share goes over the disk: start a "
            "container with --shm-size=2g"
        )
    status = Status.WARN if problems else Status.OK
    return Finding(name="memory", status=status, detail="; ".join([detail, *problems]))


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        detail = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    else:
        detail = "no GPU: training runs on the CPU"
    return Finding(name="gpu", status=Status.OK, detail=detail)


def _ray() -> Finding:
    started = time.monotonic()
    with ray_session():
        import ray

        pid = ray.get(ray.remote(_worker_pid).remote())
        detail = f"{version('ray')} started and ran a task (worker {pid}) in {time.monotonic() - started:.1f} s"
        return Finding(name="ray", status=Status.OK, detail=detail)


def _worker_pid() -> int:
    return os.getpid()


def _store(uri: str) -> Finding:
    store = Store.open(uri, writable=True)
    free = store.free_bytes()
    if free is None:
        return Finding(name="store", status=Status.OK, detail=f"{store.uri} is writable")
    detail = f"{store.uri} is writable, {free / 2**30:.0f} GiB free"
    status = Status.OK if free >= _ENOUGH_DISK else Status.WARN
    return Finding(name="store", status=status, detail=detail)
