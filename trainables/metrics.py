"""Agreement between scored and predicted stages: confusion matrix, macro-F1, accuracy, kappa.

Every number is a function of the pooled confusion matrix. Epochs whose true stage is not among the
declared ones are left out, so unscored epochs never count. A metric is never NaN.
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


def accuracy(true: IntArray, predicted: IntArray, declared: Sequence[Stage] = ALL_STAGES) -> float:
    """Share of epochs with the right stage, among epochs with a declared true stage.

    Parameters, errors and what is left out: see `macro_f1`.
    """
    counts = _declared_counts(true, predicted, declared)
    return float(np.trace(counts) / counts.sum())


def kappa(true: IntArray, predicted: IntArray, declared: Sequence[Stage] = ALL_STAGES) -> float:
    """Cohen's kappa: agreement beyond what the two stage distributions give by chance.

    Parameters, errors and what is left out: see `macro_f1`.

    Returns
    -------
    float
        At most 1; 0 where chance explains everything, which includes the undefined case of a single
        stage in both arrays.

    Notes
    -----
    Definition: Cohen, Educational and Psychological Measurement 20(1), 1960.
    """
    counts = _declared_counts(true, predicted, declared)
    total = counts.sum()
    observed = np.trace(counts) / total
    by_chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / float(total) ** 2
    if by_chance == 1.0:
        return 0.0
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
