"""The space of SleepMG: how strongly modalities are balanced, the gradient reversal, and training itself.

Reconstruction: SleepMG's own alphas, lambda and learning rate could not be obtained; the ranges go around the
values of the works that it builds on.
"""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.space import Choice, LogUniform, Params, Uniform
from trainables.settings import APPLICATIONS, GRL_SCHEDULES, RATIOS, SleepMGSettings

SPACE: Mapping[str, Uniform | LogUniform | Choice] = MappingProxyType(
    {
        # OGM-GE used 0.1 (VGGSound) and 0.8 (CREMA-D). 0 is no balance, that is NaiveMG; at 1, the leading one of two
        # modalities with scores 2 : 1 keeps 1 - tanh(2), 4 % of its step.
        "alpha_f": Uniform(0.0, 1.0),
        "alpha_y": Uniform(0.0, 1.0),
        "alpha_d": Uniform(0.0, 1.0),
        # Lambda: 0.001 in MSTGCN's configuration of 2021 and in JK-STGCN's, 0.01 in MSTGCN's of 2025, 1 in DANN.
        "grl_weight": LogUniform(1e-3, 1.0),
        # MSTGCN 1e-4, JK-STGCN 2e-4, SleepDG 1e-3.
        "learning_rate": LogUniform(1e-5, 1e-2),
        # FeatureNet 0.5.
        "dropout": Uniform(0.0, 0.8),
        # An author of OGM-GE suggests the mean of the pairs for more than two modalities; SleepMG's ratio is unknown.
        "ratio": Choice(RATIOS),
        # MSTGCN keeps lambda constant, DANN lets it grow.
        "schedule": Choice(GRL_SCHEDULES),
        # OGM-GE scales gradients, with SGD; Adam undoes a constant scaling of them.
        "apply_to": Choice(APPLICATIONS),
    }
)
"""What a sweep may vary, by name; a sweep file names those that it does vary."""

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "alpha_f": "modulation",
        "alpha_y": "modulation",
        "alpha_d": "modulation",
        "grl_weight": "adversary",
        "learning_rate": "training",
        "dropout": "network",
        "ratio": "modulation",
        "schedule": "adversary",
        "apply_to": "modulation",
    }
)
"""Section of ``SleepMGSettings`` that holds each parameter, under the same name."""

DEFAULTS: Params = MappingProxyType(
    {name: getattr(getattr(SleepMGSettings(), section), name) for name, section in SECTIONS.items()}
)
"""Value of each parameter where neither a sweep nor its file's own sections say another."""
