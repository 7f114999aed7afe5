"""What the event log of a sweep says of it, from any shell, while it runs and after."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.lock import Holders
from orchestrator.sweep.watch.event_text import ended_text
from orchestrator.tables.shown import kept_by
from orchestrator.telemetry.events import naming_line, read_events

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
    holder, alive = (holders or Holders(store)).of(name)
    finished = store.exists(paths.sweep_trials(name))
    state: State = "finished" if finished else "running" if alive else "stopped"
    running = state == "running"
    return summary(
        name,
        events,
        state,
        where=store.uri_of(paths.sweep_events(name)),
        holder=holder if running else None,
        now=datetime.now(UTC) if running else None,
    )


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
    """Add up the events of a sweep; parameters as of :func:`tally_of` and :meth:`Tally.status`."""
    return tally_of(name, events, where).status(state, holder=holder, now=now)


def tally_of(name: str, events: Iterable[Mapping[str, Any]], where: str) -> "Tally":
    """Add up the events of a sweep.

    Parameters
    ----------
    name : str
        Of the sweep.
    events : iterable of mapping
        All of them, the one of line 1 first.
    where : str
        Their log, for the error.

    Raises
    ------
    IntegrityError
        An event lacks something.
    """
    tally = Tally(name)
    for line, event in enumerate(events, start=1):
        with naming_line(where, line, event):
            tally.add(event)
    return tally


@dataclass(frozen=True, kw_only=True, slots=True)
class _Started:
    """What is known of a trial from its beginning."""

    at: datetime
    params: Mapping[str, Any]
    kept: Mapping[str, Any] | None
    n_parts: int | None
    unit: str | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "_Started":
        return cls(
            at=datetime.fromisoformat(event["time"]),
            params=event["params"],
            kept=kept_by(event),
            n_parts=event.get("n_parts"),
            unit=event.get("unit"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """What came of a trial."""

    kind: str
    """Name of the event."""
    objective: float | None
    """None unless it is complete."""
    reused: bool
    said: str

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "_Ended":
        return cls(
            kind=event["event"],
            objective=event["objective"] if event["event"] == "trial_done" else None,
            reused=event["reused_from"] is not None,
            said=ended_text(event),
        )


class Tally:
    """Adds up the events of a sweep, one after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Mapping[str, Any] = {}
        self._ended: _Ended | None = None
        self._done: dict[str, _Ended] = {}
        self._started: dict[str, _Started] = {}
        self._running: dict[str, int] = {}  # trial -> how many parts of it are done
        self._fixed: set[str] = set()
        self._objective: str | None = None
        self._n_trials: int | None = None
        self._attempt_began: str | None = None
        self._search_began: str | None = None
        self._n_lost = 0
        self._n_trained = 0
        self._waited_s = self._trained_s = 0.0
        self._why: str | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        self._last = event
        self._waited_s += event.get("waited_s", 0.0)
        self._trained_s += event.get("trained_s", 0.0)
        match event["event"]:
            case "sweep_started":
                self._running, self._why = {}, None
                self._attempt_began = event["time"]
            case "search_started":
                self._n_trials = event["n_trials"] + event["n_finished"]
                self._objective = event.get("objective")
                self._search_began, self._n_trained = event["time"], 0
            case "arm_done" | "row_done":
                self._fixed.add(event.get("arm") or event["row"])
            case "trial_started":
                self._started[event["trial"]] = _Started.of(event)
                self._running[event["trial"]] = 0
            case "trial_progress" if event["trial"] in self._started:
                self._running[event["trial"]] = event["n_parts"]
            case "trial_lost":
                self._n_lost += 1
            case "trial_done" | "trial_failed" | "trial_stopped":
                self._running.pop(event["trial"], None)
                self._done[event["trial"]] = self._ended = ended = _Ended.of(event)
                self._n_trained += not ended.reused
            case "sweep_stopped":
                self._why, self._running = event["message"], {}

    def status(
        self, state: State, *, holder: str | None = None, now: datetime | None = None
    ) -> SweepStatus:
        """Return where the sweep stands.

        Parameters
        ----------
        state : str
        holder : str, optional
            Which process runs it.
        now : datetime, optional
            That of the last event by default.
        """
        complete = {
            name: ended.objective
            for name, ended in self._done.items()
            if ended.objective is not None
        }
        best = max(complete, key=complete.__getitem__, default=None)
        started = self._started.get(best) if best else None
        last_event_at = self._last["time"]
        now = now or datetime.fromisoformat(last_event_at)
        left = None
        if state == "running" and self._n_trials and self._search_began and self._n_trained:
            passed_s = _seconds(self._search_began, datetime.fromisoformat(last_event_at))
            left = passed_s / 60 / self._n_trained * (self._n_trials - len(self._done))
        return SweepStatus(
            name=self._name,
            state=state,
            holder=holder,
            objective=self._objective,
            n_trials=self._n_trials,
            n_complete=len(complete),
            n_reused=sum(self._done[name].reused for name in complete),
            n_stopped=sum(ended.kind == "trial_stopped" for ended in self._done.values()),
            n_failed=sum(ended.kind == "trial_failed" for ended in self._done.values()),
            n_lost=self._n_lost,
            running=tuple(self._trials_at(now)) if state == "running" else (),
            n_fixed=len(self._fixed),
            best_trial=best,
            best_objective=complete[best] if best else None,
            best_params=started.params if started else None,
            best_kept=started.kept if started else None,
            last_ended=self._ended.said if self._ended else None,
            last_event=self._last["event"],
            last_event_at=last_event_at,
            minutes_run=_seconds(self._attempt_began or last_event_at, now) / 60,
            minutes_left=left,
            data_wait=self._waited_s / self._trained_s if self._trained_s else None,
            stopped_because=self._why if state == "stopped" else None,
        )

    def _trials_at(self, now: datetime) -> Iterator[RunningTrial]:
        for trial, n_done in self._running.items():
            started = self._started[trial]
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
