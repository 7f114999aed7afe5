"""What each modality contributed, and how far it was held back: ratios and coefficients over the passes. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.methods.sleepmg.results import FoldRow, ModalityRow, TrialRow
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.reviews import known

Quantity = Literal["rho_y", "k_y", "rho_d", "k_d", "k_f", "macro_f1"]
QUANTITIES: tuple[Quantity, ...] = ("rho_y", "k_y", "rho_d", "k_d", "k_f", "macro_f1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TracePoint:
    """One quantity of one modality after one pass, over the folds (and seeds) that reached the pass."""

    quantity: Quantity
    modality: str
    pass_: int
    n_folds: int
    mean: float
    sd: float | None
    """Over folds (n - 1); None with one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalitySummary:
    """One modality of one entry; means over passes, then over folds and seeds."""

    entry: str
    modality: str
    macro_f1: float | None
    """Of its own answers on the validation subjects, at the pass that was tested."""
    rho_y: float | None
    k_y: float | None
    """None also where the classifier is not balanced."""
    rho_d: float | None
    k_d: float | None
    """None also where the discriminator is not balanced."""
    k_f: float | None
    """None also where the extractors are not balanced."""
    n_folds: int
    """Trainings that went into it: folds times seeds."""
    n_starved: int | None
    """Of those, how many had a pass in which the modality was starved; None where nothing is balanced."""


def value_of(quantity: Quantity, trial: TrialRow, row: ModalityRow) -> float | None:
    """Value as it acted: a coefficient scales nothing where its switch is off."""
    switches = {"k_y": trial.mod_y, "k_d": trial.mod_d, "k_f": trial.mod_f}
    if not switches.get(quantity, True):
        return None
    value: float | None = getattr(row, quantity)
    return value


def traces(entry: Entry, passes: Sequence[ModalityRow]) -> tuple[TracePoint, ...]:
    """Means and spreads over folds by quantity, modality and pass; quantities without a value are left out.

    A fold that stopped early is missing from later passes.
    """
    trials = {run.trial: run for run in entry.runs}
    found: defaultdict[tuple[Quantity, str, int], list[float]] = defaultdict(list)
    for quantity in QUANTITIES:
        for row in passes:
            if row.trial in trials:
                value = value_of(quantity, trials[row.trial], row)
                if value is not None:
                    found[quantity, row.modality, row.pass_].append(value)
    return tuple(
        TracePoint(
            quantity=quantity,
            modality=modality,
            pass_=number,
            n_folds=len(values),
            mean=statistics.fmean(values),
            sd=known.sd(values),
        )
        for (quantity, modality, number), values in sorted(
            found.items(), key=lambda item: (QUANTITIES.index(item[0][0]), item[0][1], item[0][2])
        )
    )


def summaries(
    entry: Entry, passes: Sequence[ModalityRow], folds: Sequence[FoldRow], order: Sequence[str]
) -> tuple[ModalitySummary, ...]:
    """One line for each modality with records, in the order of `order`; none without modalities."""
    trials = {run.trial: run for run in entry.runs}
    tested = {(fold.trial, fold.seed, fold.fold): fold.best_pass for fold in folds}
    found = []
    for modality in order:
        trainings: defaultdict[tuple[str, int, int], list[ModalityRow]] = defaultdict(list)
        for row in passes:
            if row.trial in trials and row.modality == modality:
                trainings[row.trial, row.seed, row.fold].append(row)
        if not trainings:
            continue
        found.append(
            ModalitySummary(
                entry=entry.name,
                modality=modality,
                macro_f1=known.mean(
                    row.macro_f1
                    for key, rows in trainings.items()
                    for row in rows
                    if row.pass_ == tested.get(key)
                ),
                **{
                    quantity: known.mean(
                        known.mean(value_of(quantity, trials[trial], row) for row in rows)
                        for (trial, _, _), rows in trainings.items()
                    )
                    for quantity in QUANTITIES[:5]
                },
                n_folds=len(trainings),
                n_starved=sum(any(row.starved for row in rows) for rows in trainings.values())
                if any(run.mod_y or run.mod_d or run.mod_f for run in entry.runs)
                else None,
            )
        )
    return tuple(found)


def shown_in_figure(
    chosen: Entry | None, ranked: Sequence[Entry], passes: Sequence[ModalityRow]
) -> Entry | None:
    """Entry whose passes are drawn: the chosen trial; else of the ranked rows the first that balances, or the first."""
    recorded = {row.trial for row in passes}
    if chosen is not None:
        return chosen if chosen.trials & recorded else None
    with_modalities = [entry for entry in ranked if entry.trials & recorded]
    balanced = [entry for entry in with_modalities if any(run.balances for run in entry.runs)]
    return next(iter([*balanced, *with_modalities]), None)


def never_left_chance(entry: Entry, margin: float) -> bool:
    """Whether the discriminator was never right in more than chance plus `margin`, not even in its best pass."""
    best, chance = entry.mean("domain_accuracy_best"), entry.mean("domain_chance")
    return best is not None and chance is not None and best <= chance + margin
