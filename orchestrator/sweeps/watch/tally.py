"""What the events of a sweep add up to: the one place that reads an event log from its first line to its last."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import InterruptedSweepError
from orchestrator.sweeps.watch.event_text import ended_text
from orchestrator.tables.shown import kept_by
from orchestrator.telemetry.events import naming_line

NEVER = datetime.min.replace(tzinfo=UTC)
"""When a sweep without a search was last heard of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """What is known of a trial from its beginning."""

    at: datetime
    params: Mapping[str, Any]
    kept: Mapping[str, Any] | None
    n_parts: int | None
    unit: str | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Started":
        """Read it off the event ``trial_started``."""
        return cls(
            at=datetime.fromisoformat(event["time"]),
            params=event["params"],
            kept=kept_by(event),
            n_parts=event.get("n_parts"),
            unit=event.get("unit"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What came of a trial."""

    kind: str
    """Name of the event."""
    objective: float | None
    """None unless it is complete."""
    reused: bool
    said: str

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Ended":
        """Read it off the event with which the trial ended."""
        return cls(
            kind=event["event"],
            objective=event["objective"] if event["event"] == "trial_done" else None,
            reused=event["reused_from"] is not None,
            said=ended_text(event),
        )


@dataclass(slots=True)
class Tally:
    """Adds up the events of a sweep, one after the other."""

    last: Mapping[str, Any] = field(default_factory=dict)
    """The latest event."""
    objective: str | None = None
    n_trials: int | None = None
    """Of the search; None before it began."""
    started: dict[str, Started] = field(default_factory=dict)
    """Every trial that began."""
    running: dict[str, int] = field(default_factory=dict)
    """Trial under way -> how many parts of it are done."""
    signatures: dict[str, str] = field(default_factory=dict)
    """Trial of the latest search that has not ended -> under which name it says how it is doing."""
    done: dict[str, Ended] = field(default_factory=dict)
    ended: Ended | None = None
    """The trial that ended last."""
    fixed: set[str] = field(default_factory=set)
    """Arms or rows that are done."""
    attempt_began: str | None = None
    search_began: str | None = None
    heard: datetime = NEVER
    """When the latest search said something."""
    progress_at: float = 0.0
    """When the sweep last came further, in seconds since 1970."""
    n_lost: int = 0
    """How often a trial lost its process or node and went on."""
    n_trained: int = 0
    """Trials of this attempt that did not share another one's training."""
    seconds: list[float] = field(default_factory=list)
    """Of each training that ended."""
    trained_s: float = 0.0
    """How long all trainings took together."""
    waited_s: float = 0.0
    """Of that, waiting for batches."""
    causes: Counter[str] = field(default_factory=Counter)
    """Of failed trials, by kind of error."""
    usd: float | None = None
    """What the machines have cost, of a search with a limit in money."""
    max_usd: float | None = None
    why: str | None = None
    """Why the last attempt ended early."""
    interrupted: bool = False
    """Whether that was because somebody stopped it."""
    _searching: bool = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        self.last = event
        kind = event["event"]
        if "trained_s" in event:
            self.seconds.append(event["trained_s"])
            self.trained_s += event["trained_s"]
            self.waited_s += event.get("waited_s", 0.0)
        match kind:
            case "sweep_started":  # an attempt that may end before its search
                self.running, self.why, self.interrupted, self._searching = {}, None, False, False
                self.attempt_began = event["time"]
            case "search_started":
                self.n_trials = event["n_trials"] + event["n_finished"]
                self.objective = event.get("objective")
                self.search_began, self.n_trained = event["time"], 0
                self.heard, self.signatures, self._searching = NEVER, {}, True
            case "arm_done" | "row_done":
                self.fixed.add(event.get("arm") or event["row"])
            case "trial_started":
                self.started[event["trial"]] = Started.of(event)
                self.running[event["trial"]] = 0
                if "signature" in event:  # older versions did not tell it
                    self.signatures[event["trial"]] = event["signature"]
            case "trial_progress" if event["trial"] in self.started:
                self.running[event["trial"]] = event["n_parts"]
            case "trial_lost":
                self.n_lost += 1
            case "trial_done" | "trial_failed" | "trial_stopped":
                self._add_ended(event)
            case "spent":
                self.usd, self.max_usd = event["usd"], event["max_usd"]
            case "sweep_stopped":
                self.why, self.running = event["message"], {}
                self.interrupted = event.get("reason") == InterruptedSweepError.__name__
        at = datetime.fromisoformat(event["time"])
        if self._searching:
            self.heard = max(self.heard, at.astimezone(UTC))
        if kind.startswith(_PROGRESS) and kind != "trial_lost":
            self.progress_at = at.timestamp()

    def _add_ended(self, event: Mapping[str, Any]) -> None:
        trial = event["trial"]
        self.running.pop(trial, None)
        self.signatures.pop(trial, None)
        self.done[trial] = self.ended = ended = Ended.of(event)
        self.n_trained += not ended.reused
        if ended.kind == "trial_failed":
            self.causes[_cause(event["error"])] += 1


_PROGRESS = ("trial_", "arm_", "row_", "refit_", "sweep_", "search_")
"""How the events begin with which a sweep comes further, but for a trial that lost its process."""


def tally_of(events: Iterable[Mapping[str, Any]], where: str) -> Tally:
    """Add up the events of a sweep.

    Parameters
    ----------
    events : iterable of mapping
        All of them, the one of line 1 first.
    where : str
        Their log, for the error.

    Raises
    ------
    IntegrityError
        An event lacks something.
    """
    tally = Tally()
    for line, event in enumerate(events, start=1):
        with naming_line(where, line, event):
            tally.add(event)
    return tally


def _cause(error: str) -> str:
    """Return the kind of an error, as :func:`orchestrator.sweeps.failures.described` begins with it."""
    first = error.partition("\n")[0]
    kind, colon, _ = first.partition(": ")
    return kind if colon and kind.isidentifier() else first[:60]
