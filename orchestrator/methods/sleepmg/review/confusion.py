"""Confusion matrices and what follows from their counts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.methods.sleepmg.results import ConfusionRow
from orchestrator.methods.sleepmg.review.entries import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Test epochs of one entry by true (rows) and predicted stage (columns): all folds, seeds summed."""

    entry: Entry
    stages: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def share(self, true: int, predicted: int) -> float | None:
        """Share of the epochs of a true stage; None where there is none of it."""
        total = sum(self.counts[true])
        return self.counts[true][predicted] / total if total else None

    def f1(self, stage: int) -> float | None:
        """F1 of one stage, 2 TP / (2 TP + FP + FN); None where it is neither true nor predicted anywhere."""
        denominator = sum(self.counts[stage]) + sum(row[stage] for row in self.counts)
        return 2 * self.counts[stage][stage] / denominator if denominator else None


def matrix_of(entry: Entry, cells: Sequence[ConfusionRow], stages: Sequence[str]) -> Matrix:
    """Sum the counts of an entry's runs."""
    totals = {(true, predicted): 0 for true in stages for predicted in stages}
    for cell in cells:
        if cell.trial in entry.trials:
            totals[cell.true, cell.predicted] += cell.n
    return Matrix(
        entry=entry,
        stages=tuple(stages),
        counts=tuple(tuple(totals[true, predicted] for predicted in stages) for true in stages),
    )
