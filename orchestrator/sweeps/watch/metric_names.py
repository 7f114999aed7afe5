"""Names, labels and meanings of all metrics, as Prometheus sees them and docs/operations.md lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from orchestrator.tables.shown import gauges

PREFIX = "sleep_orchestrator"

TRAINING_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
"""Upper bounds of the histogram of trainings: from a finetuning of seconds to a cross-validation of hours."""

_SWEEP, _TRIAL = ("sweep",), ("sweep", "trial")
_SCORE = ("score",)
_CLUSTER = ("cluster",)

GAUGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "sweep_running": (_SWEEP, "1 while a process runs the sweep."),
    "sweep_finished": (_SWEEP, "1 once its final table is written, whatever ended the search."),
    "sweep_interrupted": (
        _SWEEP,
        "1 while it stands because somebody stopped it: Ctrl-C, or orchestrator stop.",
    ),
    "sweep_progress_timestamp_seconds": (
        _SWEEP,
        "When the sweep last came further: a trial, arm or row, or a step that one of them took; now, while it is "
        "prepared. In seconds since 1970.",
    ),
    "sweep_trials": (
        (*_SWEEP, "state"),
        "Trials that are complete, ended_early, failed or running; reused ones are among the complete.",
    ),
    "sweep_trials_wanted": (_SWEEP, "Trials of the search."),
    "sweep_best_objective": (_SWEEP, "Highest objective so far."),
    "sweep_failures": ((*_SWEEP, "cause"), "Failed trials by kind of error."),
    "sweep_lost_processes": (_SWEEP, "Processes and nodes lost under trials, which went on."),
    "sweep_data_wait_seconds": (_SWEEP, "Time that trainings waited for batches."),
    "sweep_training_seconds": (_SWEEP, "Time that trainings took in all."),
    "sweep_spent_usd": (_SWEEP, "What the machines have cost, where search.max_usd is set."),
    "sweep_limit_usd": (_SWEEP, "What they may cost: search.max_usd."),
    "trial_steps": (_TRIAL, "Steps that a running trial has taken in what it trains now."),
    "trial_loss": (_TRIAL, "Mean loss of the last seconds of a running trial."),
    "trial_epochs_per_second": (_TRIAL, "Epochs that a running trial trains on in a second."),
    "trial_data_wait_ratio": (_TRIAL, "Share of its time that a running trial waits for batches."),
    "trial_memory_bytes": (
        (*_TRIAL, "device"),
        "Most memory that a running trial has held: of the GPU, or of its process.",
    ),
    **{gauge.name: ((*_TRIAL, *gauge.labels), gauge.meaning) for gauge in gauges().values()},
    "scoring_tiles_left": (_SCORE, "Tiles left of a score table."),
    "scoring_pairs": (_SCORE, "Pairs of batches that the last attempt has solved."),
    "scoring_pairs_per_second": (_SCORE, "Its pace."),
    "ingest_recordings": (("dataset", "status"), "Recordings of the last ingest."),
    "cluster_up": (
        _CLUSTER,
        "1 while the job server of the cluster of --cluster answers; no value once it was to end.",
    ),
    "cluster_nodes": (
        (*_CLUSTER, "state"),
        "Its machines that are alive, have ended as they were told to, or were lost.",
    ),
}
"""Name without prefix -> labels and meaning."""

TRAININGS = (
    "training_seconds",
    _SWEEP,
    "Trainings that ended, by how long they took: a histogram.",
)
FAILED_LOOKS: tuple[str, tuple[str, ...], str] = (
    "looks_failed_total",
    (),
    "Looks at which the store, or something in it, could not be read.",
)


@dataclass(slots=True)
class Gauges:
    """Values of gauges, as they come."""

    _values: dict[str, list[tuple[tuple[str, ...], float]]]

    @classmethod
    def none(cls) -> "Gauges":
        """Return none yet."""
        return cls({})

    def set(self, name: str, value: float, *labels: str) -> None:
        """Give a gauge its value for some labels."""
        self._values.setdefault(name, []).append((labels, value))

    def add(self, others: "Gauges") -> None:
        """Take the values of others, too."""
        for name, values in others._values.items():
            self._values.setdefault(name, []).extend(values)

    @property
    def families(self) -> list[Metric]:
        """All that have a value."""
        return [_family(name, values) for name, values in self._values.items()]


def _family(name: str, values: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    names, meaning = GAUGES[name]
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=names)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def trainings(seconds: Mapping[str, Sequence[float]]) -> Metric:
    """Return the histogram of trainings, from how long each of a sweep took."""
    name, labels, meaning = TRAININGS
    family = HistogramMetricFamily(f"{PREFIX}_{name}", meaning, labels=labels)
    for sweep, took in seconds.items():
        counts = [(str(float(top)), float(sum(s <= top for s in took))) for top in TRAINING_SECONDS]
        family.add_metric([sweep], [*counts, ("+Inf", float(len(took)))], sum(took))
    return family


def failed_looks(n: int) -> Metric:
    """Return the counter of looks that failed."""
    name, _, meaning = FAILED_LOOKS
    family = CounterMetricFamily(f"{PREFIX}_{name.removesuffix('_total')}", meaning)
    family.add_metric([], n)
    return family


def reference() -> str:
    """Return the table of all metrics, in Markdown."""
    others: Mapping[str, tuple[tuple[str, ...], str]] = {
        name: (labels, meaning) for name, labels, meaning in (TRAININGS, FAILED_LOOKS)
    }
    lines = ["| name | labels | meaning |", "| --- | --- | --- |"]
    for name, (labels, meaning) in {**GAUGES, **others}.items():
        named = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{PREFIX}_{name}` | {named} | {meaning} |")
    return "\n".join(lines)
