"""Prometheus metrics of everything in a store, from its event logs.

One exporter serves all sweeps of a store, wherever they run, and goes on when a driver dies; trials open no port. What
a trial says of itself lies in the store while it trains. docs/operations.md documents the names.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from orchestrator.errors import OrchestratorError, StoreUnreachableError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.lock import Holders
from orchestrator.sweeps.watch.live_metrics import live_metrics
from orchestrator.sweeps.watch.metric_names import Gauges, failed_looks, trainings
from orchestrator.sweeps.watch.status import SweepStatus, status_of
from orchestrator.sweeps.watch.tally import Tally
from orchestrator.tables.shown import gauge_of
from orchestrator.telemetry.follow import Follower
from orchestrator.telemetry.progress import note

MAX_CAUSES = 10
"""Causes of failure that have a series of their own; the others are counted together."""


@dataclass(slots=True)
class WorkMetrics:
    """What the events of a scoring or an ingest add up to."""

    n_wanted: int = 0
    done: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    began: float = 0.0
    last: float = 0.0

    def add(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        now = datetime.fromisoformat(event["time"]).timestamp()
        match event["event"]:
            case "scoring_started":
                self.n_wanted, self.done, self.pairs = event["n_tiles"], Counter(), 0
                self.began = self.last = now
            case "tile_scored":
                self.done["tile"] += 1
                self.pairs += event["n_pairs"]
                self.last = now
            case "ingest_started":
                self.n_wanted, self.done = event["n_recordings"], Counter()
            case "recording_done":
                self.done[event["status"]] += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _LogMetrics:
    """What a log came to when it was last read."""

    gauges: Gauges
    trainings: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Sweep -> seconds of each training that ended."""
    again_at: float = 0.0
    """When it is to be read again, by the collector's clock."""


class StoreCollector(Collector):
    """Reads the logs of a store in the background, so that a scrape only writes down what is known.

    Parameters
    ----------
    store : Store
    clock : callable
        Seconds of this machine's own, for tests.
    """

    every_s = 5.0
    """Between two looks."""
    finished_every_s = 60.0
    """Between two at a finished sweep: it changes only if it is removed and begun anew."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._holders = Holders(store, clock=clock)
        self._sweeps = Follower(
            store,
            begin=lambda _: Tally(),
            add=Tally.add,
        )
        self._scores = Follower(store, begin=lambda _: WorkMetrics(), add=WorkMetrics.add)
        self._ingests = Follower(store, begin=lambda _: WorkMetrics(), add=WorkMetrics.add)
        self._found: dict[str, _LogMetrics] = {}
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._looks_failed = 0

    def look(self) -> None:
        """Read what is new. What cannot be read stays as it was known, and the look is counted as a failed one."""
        failed = False
        try:
            logs = self._logs()
            self._found = {path: self._found[path] for path in logs if path in self._found}
            for path, read in logs.items():
                if path in self._found and self._clock() < self._found[path].again_at:
                    continue
                try:
                    if (found := read(path)) is not None:
                        self._found[path] = found
                    else:
                        self._found.pop(path, None)
                except StoreUnreachableError:
                    raise  # it was asked for a minute, and would be for each of the others
                except Exception as error:  # whatever it is, the others can be told of
                    failed = True
                    note(f"{path} was not read: {type(error).__name__}: {error}")
        except OrchestratorError:  # the next look may succeed
            failed = True
        self._looks_failed += failed
        gauges, seconds = Gauges.none(), dict[str, Sequence[float]]()
        for known in self._found.values():
            gauges.add(known.gauges)
            seconds.update(known.trainings)
        with self._lock:
            self._families = [trainings(seconds), *gauges.families]

    def collect(self) -> Iterable[Metric]:
        """Give what is known, as Prometheus wants it."""
        with self._lock:
            return [*self._families, failed_looks(self._looks_failed)]

    def _of_sweep(self, path: str) -> _LogMetrics | None:
        for _, known in self._sweeps.look([path]):
            name = path.split("/")[1]
            gauges = Gauges.none()
            status = self._status(name, known)
            _sweep(gauges, name, known, status)
            if status.state == "running":
                said = self._said(name)
                came_further = [known.progress_at, *(each["at"] for each in said.values())]
                if status.last_event == "sweep_started":  # what it prepares has logs of its own
                    came_further.append(time.time())
                known.progress_at = max(came_further)
                for running in status.running:
                    if of_trial := said.get(known.signatures.get(running.trial, "")):
                        _trial(gauges, name, running.trial, of_trial)
            gauges.set("sweep_progress_timestamp_seconds", known.progress_at, name)
            is_over = status.state == "finished"
            return _LogMetrics(
                gauges=gauges,
                trainings={name: known.seconds},
                again_at=self._clock() + self.finished_every_s if is_over else 0.0,
            )
        return None

    def _status(self, name: str, known: Tally) -> SweepStatus:
        finished = self._store.exists(paths.sweep_trials(name))
        _, alive = ("", False) if finished else self._holders.of(name)
        return status_of(known, name, "finished" if finished else "running" if alive else "stopped")

    def _said(self, sweep: str) -> Mapping[str, Mapping[str, Any]]:
        """Return what the trainings that run say of themselves, by signature: those of arms and rows, too."""
        found = {}
        for path in self._store.files(paths.sweep_live(sweep), recursive=False):
            if said := live_metrics(self._store, path):
                found[PurePosixPath(path).stem] = said
        return found

    def _of_score(self, path: str) -> _LogMetrics | None:
        for _, known in self._scores.look([path]):
            score, gauges = path.split("/")[1], Gauges.none()
            gauges.set("scoring_tiles_left", known.n_wanted - known.done["tile"], score)
            gauges.set("scoring_pairs", known.pairs, score)
            passed = known.last - known.began
            if passed > 0:
                gauges.set("scoring_pairs_per_second", known.pairs / passed, score)
            return _LogMetrics(gauges=gauges)
        return None

    def _of_ingest(self, path: str) -> _LogMetrics | None:
        for _, known in self._ingests.look([path]):
            gauges = Gauges.none()
            for status, n in known.done.items():
                gauges.set("ingest_recordings", n, path.split("/")[1], status)
            return _LogMetrics(gauges=gauges)
        return None

    def _logs(self) -> dict[str, Callable[[str], _LogMetrics | None]]:
        """Return the logs of the store, and what reads each."""
        readers = {
            paths.SWEEPS: self._of_sweep,
            "scores": self._of_score,
            paths.EPOCHS: self._of_ingest,
        }
        return {
            f"{folder}/{name}/events.jsonl": read
            for folder, read in readers.items()
            for name in self._store.folders(folder)
        }


def _sweep(gauges: Gauges, name: str, known: Tally, status: SweepStatus) -> None:
    values = {
        "sweep_running": status.state == "running",
        "sweep_finished": status.state == "finished",
        "sweep_interrupted": status.state == "stopped" and known.interrupted,
        "sweep_trials_wanted": status.n_trials,
        "sweep_best_objective": status.best_objective,
        "sweep_lost_processes": status.n_lost,
        "sweep_data_wait_seconds": known.waited_s,
        "sweep_training_seconds": known.trained_s,
        "sweep_spent_usd": known.usd,
        "sweep_limit_usd": known.max_usd,
    }
    for metric, value in values.items():
        if value is not None:
            gauges.set(metric, value, name)
    for state, n in {
        "complete": status.n_complete,
        "reused": status.n_reused,
        "ended_early": status.n_stopped,
        "failed": status.n_failed,
        "running": len(status.running),
    }.items():
        gauges.set("sweep_trials", n, name, state)
    named = known.causes.most_common(MAX_CAUSES)
    rest = sum(known.causes.values()) - sum(n for _, n in named)
    for cause, n in [*named, *([("other", rest)] if rest else [])]:
        gauges.set("sweep_failures", n, name, cause)


def _trial(gauges: Gauges, sweep: str, trial: str, said: Mapping[str, Any]) -> None:
    gauges.set("trial_steps", said["n_steps"], sweep, trial)
    gauges.set("trial_loss", said["loss"], sweep, trial)
    gauges.set("trial_epochs_per_second", said["epochs_per_s"], sweep, trial)
    gauges.set("trial_data_wait_ratio", said["data_wait"], sweep, trial)
    gauges.set("trial_memory_bytes", said["memory_bytes"], sweep, trial, said["device"])
    for key, value in said["modalities"].items():
        gauge, labels = gauge_of(key)
        gauges.set(gauge.name, value, sweep, trial, *labels)
