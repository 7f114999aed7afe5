"""What a sweep measured: each tau, the chosen trial minus each arm, and what may explain both. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config.objectives import MACRO_F1
from orchestrator.methods.selective.config.arms import ARMS, DEFAULT, RANDOM
from orchestrator.methods.selective.results import BatchRow, TrialRow
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.reviews.verdicts import NO_DIFFERENCE, rank_correlation
from trainables.stages import STAGE_NAMES

STRONG_SENSITIVITY = 0.05
"""Range of macro-F1 over the enqueued taus from which staging is called strongly sensitive (a convention)."""

STRONG_CONFOUND = 0.3
"""|rank correlation| between stage share and EMD from which the stage mix is said to steer the
selection (a convention: a medium effect in Cohen, Statistical Power Analysis, 1988)."""

CEILING = 0.98
"""Target macro-F1 without adaptation from which there is nothing to gain (a convention)."""

FEW_SOURCE_BATCHES = 20
"""Below this many source batches a quantile of rewards is too coarse to be trusted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The chosen trial against one arm, in target macro-F1."""

    arm: str
    state: str
    """``complete``, ``failed`` or ``not run``."""
    n_kept: int | None
    n_steps: int | None
    learning_rate: float | None
    target_macro_f1: float | None
    """Of the arm."""
    difference: float | None
    """Chosen trial minus arm; None when either value is missing."""
    mixes: tuple[str, ...]
    """Which of ``steps`` and ``learning rate`` differ, too: the difference mixes selection with these. Empty for an
    arm that was not finetuned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TauRange:
    """How far the target macro-F1 moves while only tau changes."""

    n_points: int
    lowest: float
    highest: float
    seed_width: float | None
    """Width of the widest 95 % interval of a mean objective over seeds among these trials: the spread over seeds that
    is known, as the target macro-F1 is stored as a mean. None with one run each, or for an objective in other units."""

    @property
    def width(self) -> float:
        """Highest minus lowest target macro-F1."""
        return self.highest - self.lowest

    @property
    def sensitivity(self) -> str | None:
        """The width as an adverb; None where the spread over seeds is unknown or explains it."""
        if self.seed_width is None or self.width <= self.seed_width:
            return None
        if self.width < NO_DIFFERENCE:
            return "hardly"
        return "moderately" if self.width < STRONG_SENSITIVITY else "strongly"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageShare:
    """One stage in the source, in the selection and in the target, and how it goes with the EMD."""

    stage: str
    all_share: float | None
    """Of the epochs of all selectable batches."""
    kept_share: float | None
    """Of the epochs of the kept batches; None when nothing was kept."""
    target_share: float | None
    """Of the target epochs that the metric is computed on."""
    emd_correlation: float | None
    """Spearman correlation, over selectable batches, of the stage's share with the EMD.
    Negative: batches with more of this stage are closer to the target. None when constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Whether the objective ranks the trials as the target metric does."""

    n_trials: int
    correlation: float | None
    """Spearman; None with fewer than three trials or a constant side."""
    best_trial: str
    """The trial with the highest target macro-F1, known only in hindsight."""
    best_macro_f1: float
    best_minus_chosen: float | None
    """Its target macro-F1 minus that of the chosen trial, >= 0; by chance alone above 0."""


def chosen_trial(trials: Sequence[TrialRow]) -> TrialRow | None:
    """Return the trial that a user would deploy: highest objective, the first id among equals that are on the front.

    Target metrics play no part. None when no trial has an objective.
    """
    ranked = [t for t in _searched(trials) if t.objective is not None]
    return min(
        ranked,
        key=lambda t: (-_known(t.objective), t.on_front is False, len(t.trial), t.trial),
        default=None,
    )


def n_runs(trials: Sequence[TrialRow]) -> int:
    """How many runs each number of a finished trial is the mean of; one where there is none.

    The arm that is not finetuned has one in any case: there, seeds do not matter.
    """
    return max((trial.n_replicates for trial in trials if trial.is_complete), default=1)


def compare_with_arms(
    trials: Sequence[TrialRow], chosen: TrialRow | None
) -> tuple[Comparison, ...]:
    """Compare the chosen trial with each arm that ran or runs by default; missing and failed ones have no values."""
    arms = {trial.arm: trial for trial in trials if trial.is_arm}
    return tuple(
        _compare(name, arms.get(name), chosen) for name in ARMS if name in arms or name in DEFAULT
    )


def ranking_against_chance(trials: Sequence[TrialRow]) -> tuple[TrialRow, float] | None:
    """Effect of the EMD ranking alone: the trial that differs from ``random`` in nothing else.

    The chosen trial differs from the random arm in the number of batches and in the learning rate too, and perhaps
    in its steps. This is the enqueued trial with the same of all three, and its target macro-F1 minus that of the arm.
    None when there is no such pair.
    """
    arms = [t for t in trials if t.arm == RANDOM and t.is_complete]
    for arm in arms:
        for trial in _searched(trials):
            same = all(
                getattr(trial, name) == getattr(arm, name)
                for name in ("n_kept", "learning_rate", "n_steps")
            )
            if trial.on_line and same and None not in (trial.target_macro_f1, arm.target_macro_f1):
                return trial, _known(trial.target_macro_f1) - _known(arm.target_macro_f1)
    return None


def other_steps(trials: Sequence[TrialRow], n_steps: int) -> tuple[int, int] | None:
    """Fewest and most steps of the finished trials that took others than the arms; None where all took the same."""
    others = [trial.n_steps for trial in _searched(trials) if trial.n_steps != n_steps]
    return (min(others), max(others)) if others else None


def other_rates(trials: Sequence[TrialRow], learning_rate: float) -> bool:
    """Whether finished trials took another learning rate than the arms."""
    return any(trial.learning_rate != learning_rate for trial in _searched(trials))


def tau_range(trials: Sequence[TrialRow], manifest: Manifest) -> TauRange | None:
    """Range of the target macro-F1 over the enqueued taus; None with fewer than two values."""
    points = [t for t in _searched(trials) if t.on_line and t.target_macro_f1 is not None]
    if len(points) < 2:
        return None
    values = [_known(trial.target_macro_f1) for trial in points]
    return TauRange(
        n_points=len(points),
        lowest=min(values),
        highest=max(values),
        seed_width=_seed_width(points) if manifest.about_objective.measure == MACRO_F1 else None,
    )


def objective_agreement(trials: Sequence[TrialRow], chosen: TrialRow | None) -> Agreement | None:
    """Agreement of objective and target macro-F1 over finished trials; None where no trial has both."""
    both = [
        (trial, trial.objective, trial.target_macro_f1)
        for trial in _searched(trials)
        if trial.objective is not None and trial.target_macro_f1 is not None
    ]
    if not both:
        return None
    best, _, best_f1 = min(both, key=lambda row: (-row[2], row[0].trial))
    reached = None if chosen is None else chosen.target_macro_f1
    return Agreement(
        n_trials=len(both),
        correlation=rank_correlation([row[1] for row in both], [row[2] for row in both]),
        best_trial=best.trial,
        best_macro_f1=best_f1,
        best_minus_chosen=None if reached is None else best_f1 - reached,
    )


def stage_shares(
    batches: Sequence[BatchRow], chosen: TrialRow | None, target_counts: Mapping[str, int]
) -> tuple[StageShare, ...]:
    """Stage mix of selectable batches, of the chosen selection and of the target, per stage.

    Consecutive epochs share their stages, so a batch can be close to the target merely because it has
    the same mix: the stage-mix confound. Batches without an EMD are left out of the correlation.
    """
    selectable = [batch for batch in batches if batch.selectable]
    scored = [batch for batch in selectable if batch.emd is not None and any(batch.epochs.values())]
    emds = [_known(batch.emd) for batch in scored]
    total = [sum(b.epochs[stage] for b in selectable) for stage in STAGE_NAMES]
    kept = [chosen.kept[stage] for stage in STAGE_NAMES] if chosen else []
    target = [target_counts.get(stage, 0) for stage in STAGE_NAMES]
    return tuple(
        StageShare(
            stage=stage,
            all_share=_share(total, index),
            kept_share=_share(kept, index),
            target_share=_share(target, index),
            emd_correlation=rank_correlation(
                [batch.epochs[stage] / sum(batch.epochs.values()) for batch in scored], emds
            ),
        )
        for index, stage in enumerate(STAGE_NAMES)
    )


def strongest_confound(shares: Sequence[StageShare]) -> StageShare | None:
    """Return the stage whose share goes most with the EMD, of either sign; None when all are constant."""
    known = [share for share in shares if share.emd_correlation is not None]
    return max(known, key=lambda share: abs(_known(share.emd_correlation)), default=None)


def moved_mix(shares: Sequence[StageShare]) -> float | None:
    """Share of the kept epochs that would need another stage to restore the mix of all batches.

    Total variation distance, 0 (same mix) to 1 (nothing in common).
    """
    pairs = [
        (share.all_share, share.kept_share)
        for share in shares
        if share.all_share is not None and share.kept_share is not None
    ]
    if not pairs:
        return None
    return sum(abs(before - after) for before, after in pairs) / 2


def _searched(trials: Sequence[TrialRow]) -> list[TrialRow]:
    return [trial for trial in trials if trial.is_complete and not trial.is_arm]


def _seed_width(trials: Sequence[TrialRow]) -> float | None:
    """Width of the widest interval of the objective over seeds; None where a trial has none."""
    ends = [(trial.objective_low, trial.objective_high) for trial in trials]
    if any(low is None or high is None for low, high in ends):
        return None
    return max(_known(high) - _known(low) for low, high in ends)


def _compare(name: str, arm: TrialRow | None, chosen: TrialRow | None) -> Comparison:
    if arm is None or not arm.is_complete:
        return Comparison(
            arm=name,
            state="not run" if arm is None else arm.state,
            n_kept=None,
            n_steps=None,
            learning_rate=None,
            target_macro_f1=None,
            difference=None,
            mixes=(),
        )
    reached = chosen.target_macro_f1 if chosen else None
    difference = (
        None if reached is None or arm.target_macro_f1 is None else reached - arm.target_macro_f1
    )
    return Comparison(
        arm=name,
        state=arm.state,
        n_kept=arm.n_kept,
        n_steps=arm.n_steps,
        learning_rate=arm.learning_rate,
        target_macro_f1=arm.target_macro_f1,
        difference=difference,
        mixes=_mixes(chosen, arm) if chosen else (),
    )


def _mixes(chosen: TrialRow, arm: TrialRow) -> tuple[str, ...]:
    """What differs besides the batches of two finetunings."""
    if not arm.n_steps:
        return ()
    settings = {"steps": "n_steps", "learning rate": "learning_rate"}
    return tuple(
        said for said, name in settings.items() if getattr(chosen, name) != getattr(arm, name)
    )


def _share(counts: Sequence[int], index: int) -> float | None:
    total = sum(counts)
    return counts[index] / total if total else None


def _known(value: float | None) -> float:
    """Value that an earlier filter has shown to be there."""
    assert value is not None
    return value
