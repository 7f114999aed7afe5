"""The space of SelectiveFinetuning: the cut on the reward, and the rate and length of finetuning.

Reconstruction: the paper (arXiv 2501.03764) publishes neither tau nor the learning rate nor the steps.
"""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.space import Integer, LogUniform, Uniform
from trainables.settings import FinetuneSettings

SPACE: Mapping[str, Uniform | LogUniform | Integer] = MappingProxyType(
    {
        # Quantile p keeps the ceil((1 - p) n) batches of highest reward: from all to one in twenty.
        "tau_quantile": Uniform(0.0, 0.95),
        # At most so many batches.
        "tau_budget": Integer(1, 100_000),
        # R > tau with R = 1 / EMD, whose scale is that of the features: an untold number of decades.
        "tau_absolute": LogUniform(1e-9, 1e9),
        "learning_rate": LogUniform(1e-5, 1e-2),
        # Varied only by a sweep file that says so: with equal steps, trials and arms differ in their batches.
        "n_steps": Integer(1, 100_000),
    }
)
"""What a sweep may vary, by name; tau in one of its readings."""

TAU_READINGS = ("tau_quantile", "tau_budget", "tau_absolute")
"""How a sweep may speak of tau; the first unless it says otherwise."""

DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"tau_quantile": 0.5, "learning_rate": FinetuneSettings().learning_rate}
)
"""Value of each parameter where a sweep does not vary it; a sweep file always gives ``n_steps``."""

ENQUEUED_TAU_QUANTILES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Tried first, at the default learning rate, so that the curves of all sweeps have these points."""
