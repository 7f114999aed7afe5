"""Readings of tau: each turns a number of a sweep into the source batches that are kept.

A reading is an entry of :data:`READINGS` and of ``search_spaces.selective.PARAMETERS``, which has its range and its
words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.selection import (
    Selection,
    select_absolute,
    select_budget,
    select_quantile,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One way to speak of tau."""

    select: Callable[[NDArray[np.float64], float], Selection]
    """From the rewards of the selectable batches, (N,), and a value of tau to what is kept."""
    column: str
    """Column of the final table from which an earlier sweep's value can be read."""


READINGS: Mapping[str, Reading] = {
    "tau_quantile": Reading(select=select_quantile, column="tau_quantile"),
    "tau_budget": Reading(
        select=lambda reward_S, tau: select_budget(reward_S, int(tau)), column="n_kept"
    ),
    "tau_absolute": Reading(select=select_absolute, column="tau_absolute"),
}
"""All readings, by the name of the parameter that a sweep varies."""


def selected(reward_S: NDArray[np.float64], params: Mapping[str, float]) -> Selection:
    """Return the batches that tau keeps, in the reading that `params` have.

    Parameters
    ----------
    reward_S : (N,)
        Rewards of the selectable batches.
    params : mapping
        Sampled parameters; one of them is a reading of tau.

    Examples
    --------
    >>> selected(np.array([3.0, 1.0, 2.0, 4.0]), {"tau_budget": 3, "learning_rate": 1e-3}).kept
    array([0, 2, 3])
    """
    (name,) = params.keys() & READINGS.keys()
    return READINGS[name].select(reward_S, params[name])
