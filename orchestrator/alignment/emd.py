"""Exact Earth Mover's Distance between batches of epoch features. Pure NumPy and POT; knows nothing of Ray.

Every epoch of a batch weighs the same. The plan is found by POT's network simplex on a cost matrix made by
one matrix product, which is fast but loses digits where two epochs nearly coincide or lie far from the origin.
So the value is summed again, in float64, from the epoch pairs that the plan uses; where the two sums disagree,
the costs misled the solver, and it solves once more on distances taken epoch by epoch. Identical batches give
exactly 0, and the value does not depend on how the work was cut into tiles.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from orchestrator.errors import FeatureMismatchError, SolverError

FloatArray = NDArray[np.floating]
Metric = Literal["euclidean", "sqeuclidean"]
"""Ground cost: ``euclidean`` gives W1, ``sqeuclidean`` gives the square of W2."""

_MAX_PIVOTS = 10**8
_TRUSTED = 1e-10
"""Relative disagreement between the two sums of a plan below which the fast costs were good enough."""


def emd(source: FloatArray, target: FloatArray, metric: Metric = "euclidean") -> float:
    """Earth mover's distance between two clouds of epoch features.

    Parameters
    ----------
    source, target : (n_source_epochs, feature_dim), (n_target_epochs, feature_dim)
        One row per 30-s epoch, as written by ``orchestrator.alignment.encode``. Unitless.
    metric : {"euclidean", "sqeuclidean"}
        Ground cost between two epochs.

    Returns
    -------
    float
        In feature units (squared for ``sqeuclidean``), >= 0; 0 only for identical clouds. Not comparable
        between encoders or between batch sizes.

    Raises
    ------
    FeatureMismatchError
        The clouds differ in ``feature_dim``, so they came from different encoders.
    SolverError
        A value is not finite, or the network simplex did not converge.

    Notes
    -----
    Memory O(n_source_epochs * n_target_epochs): 0.8 GB at 10 000 epochs a side.
    Definition: Rubner, Tomasi & Guibas, IJCV 40(2), 2000. Solver: Bonneel et al., ACM ToG 30(6), 2011.

    Examples
    --------
    >>> emd(np.float32([[0], [1]]), np.float32([[5], [6]]))
    5.0
    """
    return float(emd_matrix(source[None], target[None], metric)[0, 0])


def emd_matrix(
    sources: FloatArray, targets: FloatArray, metric: Metric = "euclidean"
) -> NDArray[np.float64]:
    """Earth mover's distance of every source batch to every target batch.

    Parameters
    ----------
    sources, targets : (s, n, d), (t, m, d)
        Batches of epoch features; n and m may differ.
    metric : {"euclidean", "sqeuclidean"}

    Returns
    -------
    (s, t)
        See :func:`emd`, which also lists the errors.
    """
    _check(sources, targets, metric)
    sources = np.asarray(sources, np.float64)
    targets = np.asarray(targets, np.float64)
    source_weights = np.full(sources.shape[1], 1 / sources.shape[1])
    target_weights = np.full(targets.shape[1], 1 / targets.shape[1])
    source_norms = np.einsum("snd,snd->sn", sources, sources)
    target_norms = np.einsum("tmd,tmd->tm", targets, targets)
    values = np.empty((len(sources), len(targets)))
    for i, source in enumerate(sources):
        for j, target in enumerate(targets):
            # One product per pair, never one for a tile: BLAS may round differently for other shapes.
            cost = source_norms[i][:, None] + target_norms[j] - 2 * (source @ target.T)
            np.maximum(cost, 0, out=cost)
            if metric == "euclidean":
                np.sqrt(cost, out=cost)
            plan, planned = _solve(source_weights, target_weights, cost)
            value = _value(plan, source, target, metric)
            if abs(value - planned) > _TRUSTED * value:
                plan, _ = _solve(source_weights, target_weights, cdist(source, target, metric))
                value = _value(plan, source, target, metric)
            values[i, j] = value
    return values


def _solve(
    source_weights: NDArray[np.float64],
    target_weights: NDArray[np.float64],
    cost: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Return the best plan for a cost matrix, and what it costs there."""
    import ot  # here: 1.3 s that a process which solves nothing, as those of trials, need not pay

    plan, log = ot.emd(source_weights, target_weights, cost, numItermax=_MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        raise SolverError(f"the network simplex stopped early: {log['warning']}")
    return plan, float(log["cost"])


def _value(
    plan: NDArray[np.float64],
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    metric: Metric,
) -> float:
    """Sum of mass times distance over the pairs that the plan uses, in a fixed order."""
    rows, columns = np.nonzero(plan)
    difference = source[rows] - target[columns]
    squared = np.einsum("kd,kd->k", difference, difference)
    distance = np.sqrt(squared) if metric == "euclidean" else squared
    return float(np.sum(plan[rows, columns] * distance))


def _check(sources: FloatArray, targets: FloatArray, metric: str) -> None:
    if metric not in get_args(Metric):
        raise ValueError(f"metric {metric!r} is unknown; allowed: {', '.join(get_args(Metric))}")
    if sources.ndim != 3 or targets.ndim != 3:
        raise ValueError(
            f"expected batches of shape (batch, epoch, feature), got {sources.shape} and {targets.shape}"
        )
    if sources.shape[2] != targets.shape[2]:
        raise FeatureMismatchError(
            f"source features have {sources.shape[2]} dimensions, target features {targets.shape[2]}: they come "
            "from different encoders or layers. Encode both with the same one."
        )
    if 0 in sources.shape[1:] or targets.shape[1] == 0:
        raise ValueError(f"empty batches: {sources.shape} and {targets.shape}")
    if not (np.isfinite(sources).all() and np.isfinite(targets).all()):
        raise SolverError(
            "features hold NaN or infinity: no distance is defined. Encode them again."
        )
