"""The sweeps of a store, one line each: where each stands, and which of them cannot be read."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from orchestrator.errors import IntegrityError, SetupError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import stored_sweep
from orchestrator.sweeps.lock import Holders
from orchestrator.sweeps.watch.live_metrics import AT, live_metrics
from orchestrator.sweeps.watch.status import State, state_of, status_of
from orchestrator.sweeps.watch.tally import tally_of
from orchestrator.telemetry.events import read_events


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedSweep:
    """A sweep in short. Whatever is not known of it is None or 0."""

    name: str
    state: State | Literal["unreadable"]
    """``unreadable``: a file of it is damaged, or this user may not read it; nothing else is told then."""
    method: str | None = None
    """None before its data are prepared."""
    n_trials: int | None = None
    """Of the search; None before it began, and where there is none."""
    n_done: int = 0
    """Of the trials, those that came to an end, failed ones included."""
    n_failed: int = 0
    n_fixed: int = 0
    """Arms or rows that are done."""
    objective: str | None = None
    """Name of what the search maximises."""
    best_objective: float | None = None
    last_sign_of_life: str | None = None
    """Of its last event, or of a training that said something later; in UTC, as ISO 8601 has it."""
    because: str | None = None
    """Why it stopped, where it could say so, or why it cannot be read."""


def sweeps_of(store: Store) -> list[ListedSweep]:
    """Return all sweeps of a store in the order of their names.

    Who runs a sweep on another machine counts as alive: only several looks can tell that it is not.

    Raises
    ------
    StoreUnreachableError
        The store does not answer, or refuses the credentials.
    """
    holders = Holders(store)
    return [_listed(store, name, holders) for name in store.folders(paths.SWEEPS)]


def _listed(store: Store, name: str, holders: Holders) -> ListedSweep:
    try:
        return _read(store, name, holders)
    except (IntegrityError, SetupError) as error:  # the others can be told of
        return ListedSweep(name=name, state="unreadable", because=str(error))


def _read(store: Store, name: str, holders: Holders) -> ListedSweep:
    state, _ = state_of(store, name, holders)
    begun = stored_sweep(store, name)
    method = begun.method if begun else None
    where = paths.sweep_events(name)
    events = read_events(store, where)
    if not events:  # it has a lock, but no Ray yet
        return ListedSweep(name=name, state=state, method=method)
    status = status_of(tally_of(events, store.uri_of(where)), name, state)
    return ListedSweep(
        name=name,
        state=state,
        method=method,
        n_trials=status.n_trials,
        n_done=status.n_complete + status.n_stopped + status.n_failed,
        n_failed=status.n_failed,
        n_fixed=status.n_fixed,
        objective=status.objective,
        best_objective=status.best_objective,
        last_sign_of_life=_last_sign(store, name, status.last_event_at),
        because=status.stopped_because,
    )


def _last_sign(store: Store, name: str, last_event_at: str) -> str:
    """Return when a sweep was last heard of: a part of a trial may take hours without an event."""
    heard = datetime.fromisoformat(last_event_at).astimezone(UTC)
    for path in store.files(paths.sweep_live(name), recursive=False):
        if said := live_metrics(store, path, AT):
            with contextlib.suppress(ArithmeticError, OSError, ValueError):  # no time
                heard = max(heard, datetime.fromtimestamp(said["at"], UTC))
    return heard.isoformat(timespec="milliseconds")


_TITLES = ("sweep", "method", "state", "trials", "best", "objective", "last sign of life")


def sweeps_text(sweeps: Iterable[ListedSweep]) -> str:
    """Return the sweeps of a store for people: a table, and below it why some stopped or cannot be read."""
    sweeps = list(sweeps)
    rows = [_TITLES, *(_cells(sweep) for sweep in sweeps)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *(f"{s.name}: {s.because}" for s in sweeps if s.because)])


def _cells(sweep: ListedSweep) -> tuple[str, ...]:
    best, heard = sweep.best_objective, sweep.last_sign_of_life
    return (
        sweep.name,
        sweep.method or "-",
        sweep.state,
        _trials_text(sweep),
        "-" if best is None else f"{best:.3f}",
        sweep.objective or "-",
        f"{datetime.fromisoformat(heard):%Y-%m-%d %H:%M} UTC" if heard else "-",
    )


def _trials_text(sweep: ListedSweep) -> str:
    if sweep.n_trials is None:
        return f"{sweep.n_fixed} fixed" if sweep.n_fixed else "-"
    failed = f", {sweep.n_failed} failed" if sweep.n_failed else ""
    return f"{sweep.n_done} of {sweep.n_trials}{failed}"
