"""From the score table to the source batches that a tau keeps. Pure decisions on small arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Aggregate = Literal["mean", "median", "min"]
"""How the distances of one source batch to all target batches become one number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The batches that a tau keeps, and that tau in all readings."""

    kept: NDArray[np.intp]
    """Positions of the kept batches, ascending; empty where no reward lies above tau."""
    tau_quantile: float
    """As given, or the share of the batches that are dropped."""
    tau_absolute: float
    """As given, or the largest float below the lowest kept reward: exactly the kept batches have R > tau_absolute."""

    @property
    def n_kept(self) -> int:
        """Number of kept batches."""
        return len(self.kept)


def rewards(
    emd_ST: NDArray[np.float64], aggregate: Aggregate = "mean"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distance and reward of every source batch.

    Parameters
    ----------
    emd_ST : (n_source_batches, n_target_batches)
    aggregate : {"mean", "median", "min"}
        Over the target batches. Reconstruction: the SelectiveFinetuning paper does not say which target batch a
        source batch faces.

    Returns
    -------
    emd_S, reward_S : (n_source_batches,), (n_source_batches,)
        Reward R = 1/EMD as in the paper, infinite where the distance is 0.
    """
    reduce: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median, "min": np.min}
    emd_S = np.asarray(reduce[aggregate](emd_ST, axis=1), np.float64)
    with np.errstate(divide="ignore"):
        return emd_S, 1 / emd_S


def select_quantile(reward_S: NDArray[np.float64], tau_quantile: float) -> Selection:
    """Keep the ceil((1 - tau_quantile) * N) batches of highest reward, and all that tie with the last of them.

    Parameters
    ----------
    reward_S : (N,)
        N >= 1; may hold infinity, not NaN.
    tau_quantile : float
        In [0, 1); 0 keeps all.

    Examples
    --------
    >>> select_quantile(np.array([3.0, 1.0, 2.0, 4.0]), 0.5).kept
    array([0, 3])
    """
    if not 0 <= tau_quantile < 1:
        raise ValueError(f"tau_quantile is {tau_quantile}; allowed: 0 <= tau_quantile < 1")
    _check_rewards(reward_S)
    # Rounded before the ceiling: (1 - 0.9) * 10 is 0.9999999999999998, and (1 - 0.7) * 10 is more than 3.
    n_kept = max(1, math.ceil(round((1 - tau_quantile) * len(reward_S), 9)))
    lowest = np.sort(reward_S)[::-1][n_kept - 1]
    return Selection(
        kept=np.flatnonzero(reward_S >= lowest),
        tau_quantile=tau_quantile,
        tau_absolute=float(np.nextafter(lowest, -np.inf)),
    )


def select_budget(reward_S: NDArray[np.float64], tau_budget: int) -> Selection:
    """Keep at most `tau_budget` batches, those of highest reward.

    Batches that tie at the cut are left out together, unless nothing would remain: then they are kept together.

    Parameters
    ----------
    reward_S : (N,)
        N >= 1; may hold infinity, not NaN.
    tau_budget : int
        At least 1; N or more keeps all.

    Examples
    --------
    >>> select_budget(np.array([3.0, 1.0, 2.0, 4.0]), 3).kept
    array([0, 2, 3])
    >>> select_budget(np.array([3.0, 1.0, 3.0, 4.0]), 2).kept
    array([3])
    """
    if tau_budget < 1 or tau_budget != int(tau_budget):
        raise ValueError(f"tau_budget is {tau_budget}; allowed: a whole number of at least 1")
    _check_rewards(reward_S)
    levels, n_of_level = np.unique(reward_S, return_counts=True)  # from the lowest
    n_from_level = n_of_level[::-1].cumsum()[::-1]
    fits = np.flatnonzero(n_from_level <= tau_budget)
    lowest = levels[fits[0] if len(fits) else -1]
    kept = np.flatnonzero(reward_S >= lowest)
    return Selection(
        kept=kept,
        tau_quantile=_share_dropped(kept, reward_S),
        tau_absolute=float(np.nextafter(lowest, -np.inf)),
    )


def select_absolute(reward_S: NDArray[np.float64], tau_absolute: float) -> Selection:
    """Keep the batches with R > `tau_absolute`, as the paper writes it; there may be none.

    Parameters
    ----------
    reward_S : (N,)
        N >= 1; may hold infinity, not NaN.
    tau_absolute : float
        In the unit of the rewards, 1 / EMD.

    Examples
    --------
    >>> select_absolute(np.array([3.0, 1.0, 2.0, 4.0]), 2.0).kept
    array([0, 3])
    """
    if not math.isfinite(tau_absolute):
        raise ValueError(f"tau_absolute is {tau_absolute}; allowed: a finite number")
    _check_rewards(reward_S)
    kept = np.flatnonzero(reward_S > tau_absolute)
    return Selection(
        kept=kept, tau_quantile=_share_dropped(kept, reward_S), tau_absolute=tau_absolute
    )


def _share_dropped(kept: NDArray[np.intp], reward_S: NDArray[np.float64]) -> float:
    return 1 - len(kept) / len(reward_S)


def _check_rewards(reward_S: NDArray[np.float64]) -> None:
    if not len(reward_S) or np.isnan(reward_S).any():
        raise ValueError("rewards must be at least one number and not NaN")
