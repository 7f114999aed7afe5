"""The space of SleepMG: how strongly modalities are balanced, the gradient reversal, and training itself.

Reconstruction: SleepMG's own alphas, lambda and learning rate could not be obtained; the ranges go around the
values of the works that it builds on.
"""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.space import Choice, LogUniform, Parameter, Params, Uniform
from trainables.settings import APPLICATIONS, GRL_SCHEDULES, RATIOS, SleepMGSettings


def _alpha(head: str, slowed: str) -> Parameter:
    """Return how strongly one head is balanced.

    OGM-GE used 0.1 (VGGSound) and 0.8 (CREMA-D). 0 is no balance, that is NaiveMG; at 1, the leading one of two
    modalities with scores 2 : 1 keeps 1 - tanh(2), 4 % of its step.
    """
    return Parameter(
        declared=Uniform(0.0, 1.0),
        what=f"How strongly {slowed} are slowed.",
        section="modulation",
        matters_if=f"mod_{head}",
        format=".3f",
    )


PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "alpha_f": _alpha("f", "extractors"),
        "alpha_y": _alpha("y", "classifier slices"),
        "alpha_d": _alpha("d", "discriminator slices"),
        # Lambda: 0.001 in MSTGCN's configuration of 2021 and in JK-STGCN's, 0.01 in MSTGCN's of 2025, 1 in DANN.
        "grl_weight": Parameter(
            declared=LogUniform(1e-3, 1.0),
            what="Lambda of the gradient reversal.",
            section="adversary",
            title="lambda",
            matters_if="adversary",
            format=".3g",
        ),
        # MSTGCN 1e-4, JK-STGCN 2e-4, SleepDG 1e-3.
        "learning_rate": Parameter(
            declared=LogUniform(1e-5, 1e-2),
            what="Step size.",
            section="training",
            title="learning rate",
            format=".2e",
        ),
        # FeatureNet 0.5.
        "dropout": Parameter(
            declared=Uniform(0.0, 0.8),
            what="Probability of every dropout layer.",
            section="network",
        ),
        # An author of OGM-GE suggests the mean of the pairs for more than two modalities; SleepMG's ratio is unknown.
        "ratio": Parameter(
            declared=Choice(RATIOS),
            what="How one modality's score is compared to those of the others.",
            section="modulation",
            matters_if="balances",
            note="What rho is of a modality: with mean_pairwise, the mean of its score over that of each other one; "
            "with mean_others, its score over the mean of the others'.",
        ),
        # MSTGCN keeps lambda constant, DANN lets it grow.
        "schedule": Parameter(
            declared=Choice(GRL_SCHEDULES),
            what="How lambda goes over the training.",
            section="adversary",
            title="schedule of lambda",
            matters_if="adversary",
            note="With constant, lambda is the same all through the training; with dann, it grows from 0 up to the "
            "lambda of the trial.",
        ),
        # OGM-GE scales gradients, with SGD; Adam undoes a constant scaling of them.
        "apply_to": Parameter(
            declared=Choice(APPLICATIONS),
            what="What the coefficients scale.",
            section="modulation",
            title="applied to",
            matters_if="balances",
            note="With gradient, k multiplies the gradient before the optimiser's step; with update, the change of "
            "the weights after it. Adam undoes a constant scaling of gradients.",
        ),
    }
)
"""What a sweep may vary, by name; a sweep file names those that it does vary."""

SPACE = MappingProxyType({name: parameter.declared for name, parameter in PARAMETERS.items()})
"""Range or options of each parameter."""

SECTIONS = MappingProxyType({name: parameter.section for name, parameter in PARAMETERS.items()})
"""Section of ``SleepMGSettings`` that holds each parameter, under the same name."""

DEFAULTS: Params = MappingProxyType(
    {name: getattr(getattr(SleepMGSettings(), section), name) for name, section in SECTIONS.items()}
)
"""Value of each parameter where neither a sweep nor its file's own sections say another."""
