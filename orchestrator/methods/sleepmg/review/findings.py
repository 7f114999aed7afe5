"""Everything that a sleepmg review shows, found once for its page, figures and tables. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.methods.sleepmg.results import FoldRow
from orchestrator.methods.sleepmg.review.balance import (
    ModalitySummary,
    TracePoint,
    shown_in_figure,
    summaries,
    traces,
)
from orchestrator.methods.sleepmg.review.comparisons import Comparison, compare, ranking
from orchestrator.methods.sleepmg.review.confusion import Matrix, matrix_of
from orchestrator.methods.sleepmg.review.entries import (
    Entry,
    chosen_trial,
    row_entries,
    trial_entries,
    trial_entry,
)
from orchestrator.methods.sleepmg.review.parameters import sensitivities
from orchestrator.methods.sleepmg.review.recordings import ByRecording, by_recording
from orchestrator.methods.sleepmg.review.records import Sweep
from orchestrator.reviews.parameters import Contrast, Sensitivity


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What follows from the tables of a sweep."""

    sweep: Sweep
    chosen: Entry | None
    """Trial with the highest objective; None in an ablation, and where no trial has one."""
    rows: tuple[Entry, ...]
    """Rows in the order of the file, those without a finished run too."""
    ranked: tuple[Entry, ...]
    """Rows by mean test macro-F1."""
    reference: Entry | None
    """In an ablation the first row of the file that has a finished run: what the others are compared with."""
    comparisons: tuple[Comparison, ...]
    """In a search the chosen trial against each row, else each other row against the reference; in the file's order."""
    sensitivities: tuple[Sensitivity | Contrast, ...]
    """One for each searched parameter."""
    shown: tuple[Entry, ...]
    """Entries with matrices, modalities and recordings: the chosen trial, and the rows with a finished run."""
    matrices: tuple[Matrix, ...]
    modalities: tuple[ModalitySummary, ...]
    recordings: tuple[ByRecording, ...]
    domains: tuple[Entry, ...]
    """Finished trials and rows whose discriminator has an accuracy."""
    traced: Entry | None
    """Entry whose passes are drawn."""
    traces: tuple[TracePoint, ...]

    @property
    def is_search(self) -> bool:
        """Whether the sweep searched anything; otherwise it has rows alone."""
        return bool(self.sweep.manifest.searched)

    @property
    def n_trials(self) -> int:
        """Trials of the search, failed ones too."""
        return sum(not trial.is_row for trial in self.sweep.trials)


def find(sweep: Sweep) -> Findings:
    """Find what a sweep shows."""
    best = chosen_trial(sweep.trials)
    chosen = trial_entry(best) if best else None
    rows = row_entries(sweep)
    finished = tuple(row for row in rows if row.runs)
    ranked = ranking(finished)
    reference = None if sweep.manifest.searched else next(iter(finished), None)
    shown = finished if chosen is None else (chosen, *finished)
    traced = shown_in_figure(chosen, ranked, sweep.modalities)
    order = (*sweep.manifest.modalities, "all")
    stages = sweep.manifest.declared_stages
    return Findings(
        sweep=sweep,
        chosen=chosen,
        rows=rows,
        ranked=ranked,
        reference=reference,
        comparisons=_comparisons(sweep, chosen, reference, rows),
        sensitivities=sensitivities(sweep.manifest, sweep.trials, best),
        shown=shown,
        matrices=tuple(matrix_of(entry, sweep.confusion, stages) for entry in shown),
        modalities=tuple(
            summary
            for entry in shown
            for summary in summaries(entry, sweep.modalities, sweep.folds, order)
        ),
        recordings=tuple(by_recording(entry, sweep.recordings) for entry in shown),
        domains=tuple(
            entry
            for entry in (*trial_entries(sweep), *finished)
            if entry.mean("domain_accuracy") is not None
        ),
        traced=traced,
        traces=traces(traced, sweep.modalities) if traced else (),
    )


def folds_of(entry: Entry, folds: Sequence[FoldRow]) -> tuple[FoldRow, ...]:
    """Trainings of an entry, by seed and fold."""
    order = [run.trial for run in entry.runs]
    mine = [fold for fold in folds if fold.trial in entry.trials]
    return tuple(sorted(mine, key=lambda fold: (order.index(fold.trial), fold.fold)))


def steps_per_fold(entries: Sequence[Entry], folds: Sequence[FoldRow]) -> tuple[int, int] | None:
    """Fewest and most optimiser updates of one training; None without a training."""
    steps = [
        fold.n_steps
        for entry in entries
        for fold in folds_of(entry, folds)
        if fold.n_steps is not None
    ]
    return (min(steps), max(steps)) if steps else None


def _comparisons(
    sweep: Sweep, chosen: Entry | None, reference: Entry | None, rows: Sequence[Entry]
) -> tuple[Comparison, ...]:
    if chosen is not None:
        return tuple(compare(chosen, row, sweep.recordings) for row in rows)
    if reference is not None:
        others = [row for row in rows if row is not reference]
        return tuple(compare(row, reference, sweep.recordings) for row in others)
    return ()
