"""Lines of a sleepmg review: a trial of the search, or a row with its seeds. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.methods.sleepmg.review.records import Sweep
from orchestrator.reviews import known

Metric = Literal[
    "objective",
    "test_macro_f1",
    "test_accuracy",
    "test_kappa",
    "domain_accuracy",
    "domain_accuracy_best",
    "domain_chance",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A configuration with its finished runs: one for a trial, one for each seed of a row."""

    name: str
    """Id of the trial, or name of the row."""
    runs: tuple[TrialRow, ...]
    """Complete ones, seeds ascending; none where all failed."""
    n_planned: int
    ours: str | None
    """What about a row is a reconstruction."""

    @property
    def is_row(self) -> bool:
        """Whether this is a fixed configuration and not one of the search."""
        return any(run.is_row for run in self.runs)

    @property
    def trials(self) -> frozenset[str]:
        """Ids of the runs."""
        return frozenset(run.trial for run in self.runs)

    def mean(self, metric: Metric) -> float | None:
        """Mean over runs; None without a value."""
        return known.mean(getattr(run, metric) for run in self.runs)

    def sd(self, metric: Metric) -> float | None:
        """Standard deviation over runs (n - 1); None with fewer than two."""
        return known.sd(getattr(run, metric) for run in self.runs)


def chosen_trial(trials: Sequence[TrialRow]) -> TrialRow | None:
    """Return the trial with the highest objective, the first id among equals.

    Test metrics play no part. None when no trial of a search has an objective.
    """
    best: tuple[float, TrialRow] | None = None
    for trial in sorted((t for t in trials if not t.is_row and t.is_complete), key=_id):
        if trial.objective is not None and (best is None or trial.objective > best[0]):
            best = trial.objective, trial
    return best[1] if best else None


def trial_entry(trial: TrialRow) -> Entry:
    """A trial of the search as an entry."""
    return Entry(name=trial.trial, runs=(trial,), n_planned=1, ours=None)


def row_entries(sweep: Sweep) -> tuple[Entry, ...]:
    """The rows in the order of the sweep file, each with its finished runs."""
    entries = []
    for planned in sweep.manifest.rows:
        runs = sorted((t for t in sweep.trials if t.row == planned.name), key=lambda t: t.seed)
        entries.append(
            Entry(
                name=planned.name,
                runs=tuple(run for run in runs if run.is_complete),
                n_planned=len(runs),
                ours=planned.ours,
            )
        )
    return tuple(entries)


def trial_entries(sweep: Sweep) -> tuple[Entry, ...]:
    """Finished trials of the search, each by itself."""
    return tuple(trial_entry(t) for t in sweep.trials if not t.is_row and t.is_complete)


def _id(trial: TrialRow) -> str:
    return trial.trial
