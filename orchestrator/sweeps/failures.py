"""Why trials fail: of themselves, with a process under them, or so that the whole sweep has to end.

A trial's own error counts as a failed trial. A process or node that was lost is no fault of the trial, which is tried
again from its last checkpoint. A label that may not be read, a full disk or a store that is gone are no matter of one
trial: the sweep ends, and can be taken up again.
"""

import contextlib
import json
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ray import exceptions as ray_exceptions

from orchestrator import errors
from orchestrator.errors import (
    IntegrityError,
    OrchestratorError,
    SetupError,
    StoreUnreachableError,
)
from trainables.errors import CheckpointError

MAX_RETRIES = 3
"""A trial that was lost so often with its process or node is tried once more; then it counts as failed."""

_ENDS_SWEEP = (IntegrityError, SetupError, StoreUnreachableError)

# Of Ray's own errors, those that another attempt meets again.
_NOT_LOST = (
    ray_exceptions.AuthenticationError,
    ray_exceptions.RuntimeEnvSetupError,
    ray_exceptions.TaskUnschedulableError,
    ray_exceptions.ActorUnschedulableError,
)
# What gloo and nccl say in the workers that are left, as RuntimeError.
_PEER_GONE = re.compile(r"gloo|nccl|connection (closed|reset) by peer|broken pipe", re.IGNORECASE)

_HINTS = (
    (r"DivergedError", "lower the upper end of the learning rate in search.space"),
    (
        r"CUDA out of memory|OutOfMemoryError|MemoryError|Unable to allocate",
        "lower the batch size or search.max_concurrent, or give each trial more of a GPU with gpus_per_worker",
    ),
    (
        r"process died|was lost",
        "most often the machine ran out of memory: lower search.max_concurrent, and look into the kernel's log",
    ),
    (
        r"not a number",
        "the predictions of these trials give no objective: look at their recordings",
    ),
)

T = TypeVar("T")

DIED = "the trial's process died, each time that it was tried"
"""Error of a trial under which no process lived to its end."""


class LostError(Exception):
    """A process or a node died under a trial; another attempt goes on from the last checkpoint."""


def is_lost(error: BaseException) -> bool:
    """Tell whether an error says that something died, and not what a trial did wrong."""
    if isinstance(error, ray_exceptions.RayTaskError):
        return error.cause is not None and is_lost(error.cause)
    if isinstance(error, LostError):
        return True
    if isinstance(error, ray_exceptions.RayError):
        return not isinstance(error, _NOT_LOST)
    if any(base.__name__ == "RayTrainError" for base in type(error).__mro__):  # not public
        return True  # of its own workers and controller: what ours raise arrives as it is
    return isinstance(error, RuntimeError) and bool(_PEER_GONE.search(str(error)))


def persistently(attempt: Callable[[], T], n_left: Callable[[], int] = lambda: 0) -> T:
    """Run what may lose a process of its own, again and again, and raise the last error if it never succeeds.

    Parameters
    ----------
    attempt : callable
        Goes on where the last one was.
    n_left : callable
        How many of its parts are not done; an attempt that has done one of them is none that failed.
    """
    n_lost, left = 0, n_left()
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_lost(error):
                raise
            before, left = left, n_left()
            n_lost = 1 if left < before else n_lost + 1
            if n_lost > MAX_RETRIES:
                raise


@contextlib.contextmanager
def naming_checkpoint(uri: str) -> Iterator[None]:
    """Say which file it is that a training cannot go on from."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f"{uri}: {error} Remove it, and the training starts again."
        ) from error


def described(error: BaseException) -> str:
    """Return the error and its trace as text; the first line says what, the last ones where."""
    trace = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{trace}"


def ends_sweep(error: BaseException) -> bool:
    """Tell whether no other trial could do better, or would be allowed to."""
    return isinstance(error, _ENDS_SWEEP)


def as_data(error: OrchestratorError) -> str:
    """Return an error of ours as text, so that it arrives as what it is in another process."""
    return json.dumps({"error": type(error).__name__, "arguments": error.args})


def from_data(text: str) -> OrchestratorError:
    """Return the error that :func:`as_data` wrote."""
    decoded = json.loads(text)
    error: OrchestratorError = getattr(errors, decoded["error"])(*decoded["arguments"])
    return error


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureGroup:
    """Trials that failed for the same reason."""

    cause: str
    """First line of the first error."""
    trials: tuple[str, ...]
    trace: str
    """Of the first of them; empty where its process died."""
    hint: str
    """What may help; empty where nothing is known."""


def digest(failed: Iterable[tuple[str, str]]) -> list[FailureGroup]:
    """Group failed trials by root cause: the same kind of error, raised at the same place.

    Parameters
    ----------
    failed : iterable of (trial, error)
        Errors as :func:`described` gives them.

    Returns
    -------
    list of FailureGroup
        The largest first.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for trial, error in failed:
        groups.setdefault(_root(error), []).append((trial, error))
    found = []
    for members in groups.values():
        cause, _, trace = members[0][1].partition("\n")
        found.append(
            FailureGroup(
                cause=cause,
                trials=tuple(trial for trial, _ in members),
                trace=trace.strip(),
                hint=next((hint for seen, hint in _HINTS if re.search(seen, cause)), ""),
            )
        )
    return sorted(found, key=lambda group: (-len(group.trials), group.trials))


def digest_text(groups: Iterable[FailureGroup]) -> str:
    """Return a digest for the terminal: a line or two for each cause."""
    lines = []
    for group in groups:
        shown = ", ".join(group.trials[:5]) + (" ..." if len(group.trials) > 5 else "")
        lines.append(f"{len(group.trials)} x {group.cause} ({shown})")
        if group.hint:
            lines.append(f"    {group.hint}")
    return "\n".join(lines)


def _root(error: str) -> tuple[str, str]:
    """Return what errors of the same cause have in common: the kind, the wording without numbers, and the place."""
    first, _, trace = error.partition("\n")
    places = re.findall(r'File "(.+?)", line (\d+)', trace)
    if places:
        file, line = places[-1]
        return first.partition(":")[0], f"{file}:{line}"
    return re.sub(r"\d[\d.e+-]*", "#", first), ""
