"""Sleep statistics of a hypnogram, and how well two hypnograms agree. Pure; defined as in YASA and scikit-learn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.psg.epoch_grid import EPOCH_S
from trainables.errors import EpochsError
from trainables.metrics import accuracy, confusion_matrix, kappa, macro_f1
from trainables.stages import UNSCORED, Stage

IntArray = NDArray[np.integer[Any]]

SLEEP_STAGES: tuple[Stage, ...] = (Stage.N1, Stage.N2, Stage.N3, Stage.REM)
"""All but W."""

PERSISTENT_MIN = 5
"""Minutes of unbroken sleep that count as persistent, as in YASA's ``SOL_5min``."""

_PER_MIN = 60 / EPOCH_S


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepStatistics:
    """Statistics of one hypnogram; its first epoch stands for lights out, its last one for lights on.

    Definitions and names are those of ``yasa.Hypnogram.sleep_statistics`` (Vallat & Walker, eLife 10, 2021), which
    follows the AASM manual but for the latency of REM. None where a number is undefined, as a latency without sleep.
    """

    tib_min: float
    """Time in bed: the whole hypnogram, epochs without a stage included."""
    spt_min: float
    """Sleep period time: from the first epoch of sleep to the end of the last one."""
    waso_min: float | None
    """Wake after sleep onset: W within the sleep period."""
    tst_min: float
    """Total sleep time: N1, N2, N3 and REM. Epochs without a stage are no sleep."""
    sleep_efficiency_percent: float
    """TST of TIB."""
    sleep_maintenance_percent: float | None
    """TST of SPT."""
    fragmentation_per_h: float | None
    """Sleep fragmentation index: changes from sleep to W in the epoch after, by hour of TST."""
    sol_min: float | None
    """Sleep onset latency: from the start to the first epoch of any sleep."""
    sol_persistent_min: float | None
    """From the start to the first sleep that lasts for `PERSISTENT_MIN` minutes without a break."""
    rem_latency_min: float | None
    """From the start to the first epoch of REM."""
    rem_latency_from_onset_min: float | None
    """From the first epoch of sleep to the first one of REM, which is the REM latency of the AASM manual."""
    stage_min: Mapping[Stage, float]
    """Time in each stage, W included."""
    stage_percent: Mapping[Stage, float | None]
    """Time in each stage of sleep, of TST."""
    unstaged_min: float
    """Time without a stage."""
    transitions: NDArray[np.int64]
    """(5, 5): pairs of neighbouring epochs, by stage of the first (row) and of the second (column). Pairs with an
    epoch that has no stage are left out."""

    @property
    def n_transitions(self) -> int:
        """Number of changes from one stage to another in the epoch after."""
        return int(self.transitions.sum() - np.trace(self.transitions))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How well stages agree with a scorer's, over the epochs to which both give a stage."""

    n_epochs: int
    """That both give a stage to."""
    accuracy: float
    macro_f1: float
    """Mean F1 of the stages that one of the two uses, as scikit-learn's default. A stage that the scorer uses and the
    model cannot say counts as 0."""
    kappa: float
    """Cohen's, without weights."""
    confusion: NDArray[np.int64]
    """(5, 5): row for the scorer's stage, column for the model's."""


def sleep_statistics(stages: IntArray) -> SleepStatistics:
    """Return the sleep statistics of a hypnogram.

    Parameters
    ----------
    stages : (n_epochs,)
        W N1 N2 N3 REM = 0..4, -1 without a stage. The first epoch should be lights out and the last one lights on:
        latencies count from the start, and the efficiency is of the whole.

    Raises
    ------
    EpochsError
        There is no epoch, or a value is no stage.

    Examples
    --------
    >>> found = sleep_statistics(np.array([0, 0, 1, 2, 2, 0, 4, 0]))
    >>> found.tib_min, found.tst_min, found.waso_min, found.sol_min, found.rem_latency_min
    (4.0, 2.0, 0.5, 1.0, 3.0)
    """
    _check(stages)
    is_sleep = np.isin(stages, SLEEP_STAGES)
    asleep = np.flatnonzero(is_sleep)
    period = slice(asleep[0], asleep[-1] + 1) if asleep.size else slice(0, 0)
    spt_min = (period.stop - period.start) / _PER_MIN
    tst_min = asleep.size / _PER_MIN
    sol_min, rem_latency_min = _latency(is_sleep), _latency(stages == Stage.REM)
    stage_min = {stage: int((stages == stage).sum()) / _PER_MIN for stage in Stage}
    n_awakenings = int((is_sleep[:-1] & (stages[1:] == Stage.W)).sum())
    return SleepStatistics(
        tib_min=stages.size / _PER_MIN,
        spt_min=float(spt_min),
        waso_min=int((stages[period] == Stage.W).sum()) / _PER_MIN if asleep.size else None,
        tst_min=tst_min,
        sleep_efficiency_percent=100 * asleep.size / stages.size,
        sleep_maintenance_percent=_ratio(100 * tst_min, spt_min),
        fragmentation_per_h=_ratio(n_awakenings, tst_min / 60),
        sol_min=sol_min,
        sol_persistent_min=_latency(_persistent(is_sleep)),
        rem_latency_min=rem_latency_min,
        rem_latency_from_onset_min=None
        if rem_latency_min is None or sol_min is None
        else rem_latency_min - sol_min,
        stage_min=stage_min,
        stage_percent={stage: _ratio(100 * stage_min[stage], tst_min) for stage in SLEEP_STAGES},
        unstaged_min=int((stages == UNSCORED).sum()) / _PER_MIN,
        transitions=_transitions(stages),
    )


def agreement(reference: IntArray, stages: IntArray) -> Agreement | None:
    """Compare stages with those of a scorer.

    Parameters
    ----------
    reference, stages : (n_epochs,)
        W N1 N2 N3 REM = 0..4, -1 without a stage; epochs where one of them has none are left out.

    Returns
    -------
    Agreement or None
        None if no epoch is left.

    Raises
    ------
    EpochsError
        The two differ in length, or a value is no stage.
    """
    _check(reference)
    _check(stages)
    if reference.shape != stages.shape:
        raise EpochsError(
            f"the reference has {reference.size} epochs and the staged recording {stages.size}; allowed: as many."
        )
    both = (reference != UNSCORED) & (stages != UNSCORED)
    if not both.any():
        return None
    true, said = reference[both], stages[both]
    present = [stage for stage in Stage if stage in true or stage in said]
    return Agreement(
        n_epochs=int(both.sum()),
        accuracy=accuracy(true, said),
        macro_f1=macro_f1(true, said, present),
        kappa=kappa(true, said),
        confusion=confusion_matrix(true, said),
    )


def bouts(values: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield first and one-past-last index of each run of equal values.

    >>> list(bouts(np.array([0, 0, 1, 0])))
    [(0, 2), (2, 3), (3, 4)]
    """
    if not values.size:
        return
    inner = np.flatnonzero(values[1:] != values[:-1]) + 1
    edges = [0, *inner.tolist(), values.size]
    yield from pairwise(edges)


def _latency(is_there: NDArray[np.bool_]) -> float | None:
    """Minutes from the start to the first epoch of a kind."""
    return int(is_there.argmax()) / _PER_MIN if is_there.any() else None


def _persistent(is_sleep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which epochs lie in a run of sleep that is long enough."""
    kept = np.zeros_like(is_sleep)
    for start, stop in bouts(is_sleep):
        if stop - start >= PERSISTENT_MIN * _PER_MIN:
            kept[start:stop] = is_sleep[start:stop]
    return kept


def _transitions(stages: IntArray) -> NDArray[np.int64]:
    first, second = stages[:-1], stages[1:]
    both = (first != UNSCORED) & (second != UNSCORED)
    return confusion_matrix(first[both], second[both])


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _check(stages: IntArray) -> None:
    """Refuse what is no hypnogram."""
    if stages.ndim != 1 or not stages.size or not np.issubdtype(stages.dtype, np.integer):
        raise EpochsError(
            f"stages are {stages.dtype} of shape {stages.shape}; allowed: integers, (n_epochs,), at least one."
        )
    outside = stages[(stages < UNSCORED) | (stages >= len(Stage))]
    if outside.size:
        raise EpochsError(f"stages hold {int(outside[0])}; allowed: -1 (no stage) to 4 (REM).")
