"""The space of SelectiveFinetuning: the cut on the reward, and the rate and length of finetuning.

Reconstruction: the paper (arXiv 2501.03764) publishes neither tau nor the learning rate nor the steps.
"""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.space import Integer, LogUniform, Parameter, Uniform
from trainables.settings import FinetuneSettings

PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        # Quantile p keeps the ceil((1 - p) n) batches of highest reward: from all to one in twenty.
        "tau_quantile": Parameter(
            declared=Uniform(0.0, 0.95),
            what="Share of source batches with the lowest rewards that a trial drops; the reading unless another one "
            "is given.",
            title="tau quantile",
            format=".3f",
        ),
        "tau_budget": Parameter(
            declared=Integer(1, 100_000),
            what="Most source batches that a trial keeps, those of the highest rewards.",
        ),
        # R > tau with R = 1 / EMD, whose scale is that of the features: an untold number of decades.
        "tau_absolute": Parameter(
            declared=LogUniform(1e-9, 1e9),
            what="Tau as the paper has it: a trial keeps the source batches with R > tau, perhaps none.",
            title="tau (R)",
            format=".4g",
        ),
        "learning_rate": Parameter(
            declared=LogUniform(1e-5, 1e-2),
            what="Step size of finetuning.",
            title="learning rate",
            format=".2e",
        ),
        # Varied only by a sweep file that says so: with equal steps, trials and arms differ in their batches.
        "n_steps": Parameter(
            declared=Integer(1, 100_000),
            what="Optimiser updates of a trial. Unless given, all take ``search.n_steps``, so that trials differ in "
            "tau and rate only; with it, the arms stay at ``search.n_steps``, and the review compares with them only "
            "what took as many.",
        ),
    }
)
"""What a sweep may vary, by name; tau in one of its readings."""

SPACE = MappingProxyType({name: parameter.declared for name, parameter in PARAMETERS.items()})
"""Range of each parameter."""

TAU_READINGS = tuple(name for name in PARAMETERS if name.startswith("tau_"))
"""How a sweep may speak of tau; the first unless it says otherwise."""

DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"tau_quantile": 0.5, "learning_rate": FinetuneSettings().learning_rate}
)
"""Value of each parameter where a sweep does not vary it; a sweep file always gives ``n_steps``."""

ENQUEUED_TAU_QUANTILES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Tried first, at the default learning rate, so that the curves of all sweeps have these points."""
