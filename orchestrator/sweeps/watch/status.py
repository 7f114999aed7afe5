"""What the event log of a sweep says of it, from any shell, while it runs and after."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.lock import Holders
from orchestrator.sweeps.watch.tally import Tally, tally_of
from orchestrator.telemetry.events import read_events

State = Literal["running", "stopped", "finished"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTrial:
    """A trial under way."""

    trial: str
    params: Mapping[str, Any]
    kept: Mapping[str, Any] | None
    """Its selection, in the fields of its method; None where that selects nothing."""
    n_parts_done: int
    n_parts: int | None
    unit: str | None
    """What a part is, in the words of the method; None where it has none."""
    running_s: float
    """Since it was proposed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """Where a sweep stands."""

    name: str
    state: State
    """``stopped``: begun, without a final table, and nobody runs it."""
    holder: str | None
    """Which process runs it."""
    objective: str | None
    """Name of what the search maximises; None before it began."""
    n_trials: int | None
    """Of the search; None before it began."""
    n_complete: int
    n_reused: int
    """Of the complete ones, those that share the training of another trial."""
    n_stopped: int
    """Ended by the scheduler."""
    n_failed: int
    n_lost: int
    """How often a trial lost its process or node and went on."""
    running: tuple[RunningTrial, ...]
    n_fixed: int
    """Arms or rows that are done."""
    best_trial: str | None
    best_objective: float | None
    best_params: Mapping[str, Any] | None
    best_kept: Mapping[str, Any] | None
    last_ended: str | None
    """Of the trials, with what came of it."""
    last_event: str
    last_event_at: str
    minutes_run: float
    """This attempt at the sweep."""
    minutes_left: float | None
    """At the pace of this attempt."""
    data_wait: float | None
    """Share of the time of all trainings in which they waited for batches; None before the first one ended."""
    stopped_because: str | None


def sweep_status(store: Store, name: str, holders: Holders | None = None) -> SweepStatus:
    """Return where a sweep stands.

    Parameters
    ----------
    store : Store
    name : str
    holders : Holders, optional
        For who looks again and again: the same one each time.

    Raises
    ------
    ConfigError
        There is no such sweep.
    IntegrityError
        Its log or its lock is damaged.
    """
    events = sweep_events(store, name)
    state, holder = state_of(store, name, holders or Holders(store))
    running = state == "running"
    return summary(
        name,
        events,
        state,
        where=store.uri_of(paths.sweep_events(name)),
        holder=holder if running else None,
        now=datetime.now(UTC) if running else None,
    )


def state_of(store: Store, name: str, holders: Holders) -> tuple[State, str]:
    """Return in which state a sweep is, and which process holds its lock; empty where none does.

    Raises
    ------
    IntegrityError
        Its lock is damaged.
    """
    holder, alive = holders.of(name)
    finished = store.exists(paths.sweep_trials(name))
    return "finished" if finished else "running" if alive else "stopped", holder


def sweep_events(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the event log of a sweep, oldest first.

    Raises
    ------
    ConfigError
        There is no such sweep.
    IntegrityError
        A line of the log holds no event.
    """
    events = read_events(store, paths.sweep_events(name))
    if not events:
        known = store.folders(paths.SWEEPS)
        if name in known:  # it has a lock, but no Ray yet
            raise ConfigError(
                f"sweep {name!r} in {store.uri} has told of nothing yet: it is about to begin, or ended before it did. "
                "Ask again in a few seconds."
            )
        raise ConfigError(
            f"there is no sweep {name!r} in {store.uri}.{did_you_mean(name, known)} "
            f"Begun: {', '.join(known) or 'none'}."
        )
    return events


def summary(
    name: str,
    events: Iterable[Mapping[str, Any]],
    state: State,
    *,
    where: str = "events.jsonl",
    holder: str | None = None,
    now: datetime | None = None,
) -> SweepStatus:
    """Return where a sweep stands by its events; parameters as of :func:`tally_of` and :func:`status_of`."""
    return status_of(tally_of(events, where), name, state, holder=holder, now=now)


def status_of(
    tally: Tally,
    name: str,
    state: State,
    *,
    holder: str | None = None,
    now: datetime | None = None,
) -> SweepStatus:
    """Return where a sweep stands.

    Parameters
    ----------
    tally : Tally
        Of its events.
    name : str
    state : str
    holder : str, optional
        Which process runs it.
    now : datetime, optional
        That of the last event by default.
    """
    complete = {
        trial: ended.objective for trial, ended in tally.done.items() if ended.objective is not None
    }
    best = max(complete, key=complete.__getitem__, default=None)
    started = tally.started.get(best) if best else None
    last_event_at = tally.last["time"]
    now = now or datetime.fromisoformat(last_event_at)
    left = None
    if state == "running" and tally.n_trials and tally.search_began and tally.n_trained:
        passed_s = _seconds(tally.search_began, datetime.fromisoformat(last_event_at))
        left = passed_s / 60 / tally.n_trained * (tally.n_trials - len(tally.done))
    return SweepStatus(
        name=name,
        state=state,
        holder=holder,
        objective=tally.objective,
        n_trials=tally.n_trials,
        n_complete=len(complete),
        n_reused=sum(tally.done[trial].reused for trial in complete),
        n_stopped=sum(ended.kind == "trial_stopped" for ended in tally.done.values()),
        n_failed=sum(ended.kind == "trial_failed" for ended in tally.done.values()),
        n_lost=tally.n_lost,
        running=tuple(_trials_at(tally, now)) if state == "running" else (),
        n_fixed=len(tally.fixed),
        best_trial=best,
        best_objective=complete[best] if best else None,
        best_params=started.params if started else None,
        best_kept=started.kept if started else None,
        last_ended=tally.ended.said if tally.ended else None,
        last_event=tally.last["event"],
        last_event_at=last_event_at,
        minutes_run=_seconds(tally.attempt_began or last_event_at, now) / 60,
        minutes_left=left,
        data_wait=tally.waited_s / tally.trained_s if tally.trained_s else None,
        stopped_because=tally.why if state == "stopped" else None,
    )


def _trials_at(tally: Tally, now: datetime) -> Iterator[RunningTrial]:
    for trial, n_done in tally.running.items():
        started = tally.started[trial]
        yield RunningTrial(
            trial=trial,
            params=started.params,
            kept=started.kept,
            n_parts_done=n_done,
            n_parts=started.n_parts,
            unit=started.unit,
            running_s=max(0.0, (now - started.at).total_seconds()),
        )


def _seconds(began: str, now: datetime) -> float:
    """Return how long it is since the time of an event; not below 0 where clocks of two machines disagree."""
    return max(0.0, (now - datetime.fromisoformat(began)).total_seconds())
