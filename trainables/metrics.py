"""Agreement between scored and predicted stages: confusion matrix, macro-F1, accuracy, kappa.

Every number is a function of the pooled confusion matrix. Epochs whose true stage is not among the
declared ones are left out, so unscored epochs never count. A metric is never NaN unless its name or
an argument says so: where epochs of several subjects are pooled, an undefined one counts as 0; of a
single subject, who may have no REM, it says nothing and is left out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import EpochsError
from trainables.stages import Stage

IntArray = NDArray[np.integer[Any]]

ALL_STAGES: tuple[Stage, ...] = tuple(Stage)


def confusion_matrix(true: IntArray, predicted: IntArray, n: int = len(Stage)) -> NDArray[np.int64]:
    """Count pairs of true and predicted stage.

    Parameters
    ----------
    true, predicted : (n_epochs,)
        Stage values in ``0 .. n - 1``.
    n : int
        Number of stages.

    Returns
    -------
    (n, n) int64
        Row: true stage; column: predicted stage. All zero without epochs.

    Raises
    ------
    EpochsError
        The arrays differ in length or hold a value outside ``0 .. n - 1``, UNSCORED included.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), n=2).tolist()
    [[1, 1], [0, 1]]
    """
    _check_pair(true, predicted)
    for name, stages in (("true", true), ("predicted", predicted)):
        outside = stages[(stages < 0) | (stages >= n)]
        if outside.size:
            raise EpochsError(f"{name} stages hold {int(outside[0])}; allowed: 0 to {n - 1}.")
    pairs = true.astype(np.int64) * n + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=n * n).reshape(n, n).astype(np.int64)


def macro_f1(true: IntArray, predicted: IntArray, declared: Sequence[Stage]) -> float:
    """Plain mean of the F1 of each declared stage.

    The F1 of a stage is 2 TP / (2 TP + FP + FN), and 0 where that is undefined: a declared stage
    that neither scorer nor model uses lowers the mean.

    Parameters
    ----------
    true, predicted : (n_epochs,)
        Stage values; ``true`` may hold UNSCORED.
    declared : sequence of Stage
        Stages to average over; epochs with another true stage are left out.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    EpochsError
        No epoch has a declared true stage, or the arrays do not fit.
    """
    counts = _declared_counts(true, predicted, declared)
    hits = np.diag(counts)
    denominator = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    f1 = 2 * hits / np.maximum(denominator, 1)
    return float(f1[list(declared)].mean())


def stage_f1(
    true: IntArray, predicted: IntArray, declared: Sequence[Stage] = ALL_STAGES
) -> NDArray[np.float64]:
    """F1 of each stage by itself, NaN where it is undefined: in neither truth nor prediction.

    Parameters, errors and what is left out: see `macro_f1`.

    Returns
    -------
    (5,) float64
        Between 0 and 1, or NaN; in the order of `Stage`. A predicted stage has an F1, declared or not.

    Examples
    --------
    >>> stage_f1(np.array([0, 0, 2]), np.array([0, 1, 2])).round(2).tolist()
    [0.67, 0.0, 1.0, nan, nan]
    """
    counts = _declared_counts(true, predicted, declared)
    used = counts.sum(axis=0) + counts.sum(axis=1)  # 2 TP + FP + FN
    return np.where(used > 0, 2 * np.diag(counts) / np.maximum(used, 1), np.nan)


def macro_f1_of_used(
    true: IntArray, predicted: IntArray, declared: Sequence[Stage] = ALL_STAGES
) -> float:
    """Plain mean of the F1 of each stage in truth or prediction.

    For a single subject: one without REM, all of whose epochs are right, has 1, where `macro_f1`
    gives 0.8. A stage that is predicted but never true counts with 0.

    Parameters, errors and what is left out: see `macro_f1`.

    Returns
    -------
    float
        Between 0 and 1; what scikit-learn's ``f1_score(true, predicted, average="macro")`` gives.
    """
    return float(np.nanmean(stage_f1(true, predicted, declared)))


def accuracy(true: IntArray, predicted: IntArray, declared: Sequence[Stage] = ALL_STAGES) -> float:
    """Share of epochs with the right stage, among epochs with a declared true stage.

    Parameters, errors and what is left out: see `macro_f1`.
    """
    counts = _declared_counts(true, predicted, declared)
    return float(np.trace(counts) / counts.sum())


def kappa(
    true: IntArray,
    predicted: IntArray,
    declared: Sequence[Stage] = ALL_STAGES,
    *,
    undefined: float = 0.0,
) -> float:
    """Cohen's kappa: agreement beyond what the two stage distributions give by chance.

    Other parameters, errors and what is left out: see `macro_f1`.

    Parameters
    ----------
    undefined : float
        What stands for it where a single stage fills both arrays, so that chance explains everything
        whoever scores: 0, or NaN as in scikit-learn.

    Returns
    -------
    float
        At most 1; 0 where the agreement is that of chance.

    Notes
    -----
    Definition: Cohen, Educational and Psychological Measurement 20(1), 1960.
    """
    counts = _declared_counts(true, predicted, declared)
    total = counts.sum()
    observed = np.trace(counts) / total
    by_chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / float(total) ** 2
    if by_chance == 1.0:
        return undefined
    return float((observed - by_chance) / (1.0 - by_chance))


def _declared_counts(
    true: IntArray, predicted: IntArray, declared: Sequence[Stage]
) -> NDArray[np.int64]:
    """Confusion matrix of the epochs whose true stage is declared; at least one."""
    _check_pair(true, predicted)
    kept = np.isin(true, list(declared))
    if not kept.any():
        names = ", ".join(Stage(stage).name for stage in declared) or "none"
        raise EpochsError(
            f"none of {true.size} epochs has a declared true stage (declared: {names}); "
            "a metric needs at least one."
        )
    return confusion_matrix(true[kept], predicted[kept])


def _check_pair(true: IntArray, predicted: IntArray) -> None:
    """Both arrays are one-dimensional, of integers and equally long."""
    if true.ndim != 1 or true.shape != predicted.shape:
        raise EpochsError(
            f"true stages have shape {true.shape} and predicted ones {predicted.shape}; "
            "allowed: (n_epochs,) twice."
        )
    for name, stages in (("true", true), ("predicted", predicted)):
        if not np.issubdtype(stages.dtype, np.integer):
            raise EpochsError(f"{name} stages are {stages.dtype}; allowed: integers.")
