"""The space of pretraining: how the source encoder of SelectiveFinetuning is trained.

Reconstruction: the paper (arXiv 2501.03764) publishes none of these numbers; the ranges go around the values of
AttnSleep, from which the encoder comes, and of other networks for one channel of EEG.
"""

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.space import Integer, LogUniform, Parameter, Uniform
from trainables.settings import EncoderSettings, PretrainSettings

PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        # AttnSleep 1e-3, and a tenth of it after ten passes; TinySleepNet 1e-4.
        "learning_rate": Parameter(
            declared=LogUniform(1e-5, 1e-2),
            what="Step size of the first passes.",
            section="pretrain",
            title="learning rate",
            format=".2e",
        ),
        # AttnSleep and TinySleepNet 1e-3. For none at all, a file's own section says 0.
        "weight_decay": Parameter(
            declared=LogUniform(1e-6, 1e-1),
            what="L2 penalty.",
            section="pretrain",
            title="weight decay",
            format=".2e",
        ),
        # AttnSleep and DeepSleepNet 0.5.
        "dropout": Parameter(
            declared=Uniform(0.0, 0.8),
            what="Probability of every dropout layer.",
            section="encoder",
            format=".3f",
        ),
        # AttnSleep 128, DeepSleepNet 100. Any whole number, as the setting itself.
        "batch_size": Parameter(
            declared=Integer(16, 512),
            what="Epochs in one step.",
            section="pretrain",
            title="batch size",
            format="d",
        ),
    }
)
"""What a sweep may vary, by name; all of it unless the sweep file names some."""

SPACE = MappingProxyType({name: parameter.declared for name, parameter in PARAMETERS.items()})
"""Range of each parameter."""

SECTIONS = MappingProxyType({name: parameter.section for name, parameter in PARAMETERS.items()})
"""Section of a sweep file, its own or one of method ``selective``, that holds each parameter under the same name."""

_OWN = {"encoder": EncoderSettings(), "pretrain": PretrainSettings()}

DEFAULTS: Mapping[str, float] = MappingProxyType(
    {name: getattr(_OWN[section], name) for name, section in SECTIONS.items()}
)
"""Value of each parameter where neither a sweep nor its file's own sections say another."""
