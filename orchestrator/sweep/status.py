"""What the event log of a sweep says of it, from any shell, while it runs and after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.lock import holder_of
from orchestrator.telemetry.events import read_events

State = Literal["running", "stopped", "finished"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """Where a sweep stands."""

    name: str
    state: State
    """``stopped``: begun, without a final table, and nobody runs it."""
    holder: str | None
    """Which process runs it."""
    n_trials: int | None
    """Of the search; None before it began."""
    n_complete: int
    n_reused: int
    """Of the complete ones, those that share the training of another trial."""
    n_failed: int
    n_lost: int
    """How often a trial lost its process or node and went on."""
    running: tuple[str, ...]
    """Trials under way."""
    n_fixed: int
    """Arms or rows that are done."""
    best_trial: str | None
    best_objective: float | None
    last_event: str
    last_event_at: str
    minutes_left: float | None
    """At the pace of this attempt."""
    stopped_because: str | None


def sweep_status(store: Store, name: str) -> SweepStatus:
    """Return where a sweep stands.

    Raises
    ------
    ConfigError
        There is no such sweep.
    """
    events = sweep_events(store, name)
    holder, alive = holder_of(store, name)
    finished = store.exists(paths.sweep_trials(name))
    state: State = "finished" if finished else "running" if alive else "stopped"
    return summary(name, events, state, holder if state == "running" else None)


def sweep_events(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the event log of a sweep, oldest first.

    Raises
    ------
    ConfigError
        There is no such sweep.
    """
    events = read_events(store, paths.sweep_events(name))
    if not events:
        known = store.folders(paths.SWEEPS)
        raise ConfigError(
            f"there is no sweep {name!r} in {store.uri}.{did_you_mean(name, known)} "
            f"Begun: {', '.join(known) or 'none'}."
        )
    return events


def summary(
    name: str, events: Iterable[Mapping[str, Any]], state: State, holder: str | None
) -> SweepStatus:
    """Add up the events of a sweep."""
    done: dict[str, Mapping[str, Any]] = {}
    running: dict[str, None] = {}
    fixed: set[str] = set()
    n_trials = began = why = None
    n_lost = n_since = 0
    event: Mapping[str, Any] = {}
    for event in events:
        match event["event"]:
            case "sweep_started":
                running, why = {}, None
            case "search_started":
                n_trials = event["n_trials"] + event["n_finished"]
                began, n_since = event["time"], 0
            case "arm_done" | "row_done":
                fixed.add(event.get("arm") or event["row"])
            case "trial_started":
                running[event["trial"]] = None
            case "trial_lost":
                n_lost += 1
            case "trial_done" | "trial_failed":
                running.pop(event["trial"], None)
                done[event["trial"]] = event
                n_since += event["reused_from"] is None
            case "sweep_stopped":
                why, running = event["message"], {}
    complete = [e for e in done.values() if e["event"] == "trial_done"]
    best = max(complete, key=lambda e: e["objective"], default=None)
    left = None
    if state == "running" and n_trials and began and n_since:
        passed = datetime.fromisoformat(event["time"]) - datetime.fromisoformat(began)
        left = passed.total_seconds() / 60 / n_since * (n_trials - len(done))
    return SweepStatus(
        name=name,
        state=state,
        holder=holder,
        n_trials=n_trials,
        n_complete=len(complete),
        n_reused=sum(e["reused_from"] is not None for e in complete),
        n_failed=len(done) - len(complete),
        n_lost=n_lost,
        running=tuple(running) if state == "running" else (),
        n_fixed=len(fixed),
        best_trial=best["trial"] if best else None,
        best_objective=best["objective"] if best else None,
        last_event=event["event"],
        last_event_at=event["time"],
        minutes_left=left,
        stopped_because=why if state == "stopped" else None,
    )


def status_text(status: SweepStatus) -> str:
    """Return a status for people."""
    lines = [f"sweep {status.name}: {status.state}{f', {status.holder}' if status.holder else ''}"]
    if status.n_fixed:
        lines.append(f"fixed configurations: {status.n_fixed} done")
    if status.n_trials is not None:
        n_done = status.n_complete + status.n_failed
        reused = f" ({status.n_reused} reused)" if status.n_reused else ""
        lines.append(
            f"trials: {n_done} of {status.n_trials} done, {status.n_complete} complete{reused}, "
            f"{status.n_failed} failed"
        )
    if status.n_lost:
        lines.append(f"lost processes: {status.n_lost}; their trials went on")
    if status.running:
        lines.append(f"running: {', '.join(status.running)}")
    if status.best_trial is not None:
        lines.append(f"best: {status.best_trial}, objective {status.best_objective:.3f}")
    if status.minutes_left is not None:
        lines.append(f"left: about {status.minutes_left:.0f} min at this pace")
    if status.stopped_because:
        lines.append(f"because: {status.stopped_because}")
    lines.append(f"last event: {status.last_event}, {status.last_event_at}")
    return "\n".join(lines)


def event_text(event: Mapping[str, Any]) -> str:
    """Return an event as a line for people."""
    shown = {
        key: value
        for key, value in event.items()
        if key not in ("time", "event", "host", "pid") and value is not None
    }
    fields = " ".join(f"{key}={_short(value)}" for key, value in shown.items())
    return f"{event['time']} {event['event']} {fields}".rstrip()


def _short(value: object) -> str:
    text = str(value).partition("\n")[0]
    return text if len(text) <= 80 else f"{text[:77]}..."
