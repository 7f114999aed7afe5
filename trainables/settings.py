"""Settings of every method: frozen, checked on construction, and free of torch.

A default that comes from a paper or its code names the place; one that had to be chosen because the
paper is silent says ``Reconstruction:``.
"""

import math
from dataclasses import dataclass

from trainables.errors import SettingsError

ARCHITECTURES = ("mrcnn",)
"""Encoders that ``EncoderSettings.architecture`` may name."""

FEATURE_LAYERS = ("afr_gap", "afr_flat", "concat_gap")
"""Layers of an MRCNN whose output can serve as features.

``afr_gap`` is the output of the recalibration block averaged over time (30 values), ``afr_flat``
the same output flattened (2400 values for 3000 times), ``concat_gap`` the two concatenated
branches averaged over time (128 values). Reconstruction: the SelectiveFinetuning paper names no
layer; ``afr_gap`` comes first because the EMD of finite batches tells little about domains in
thousands of dimensions.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSettings:
    """Which network turns epochs into features."""

    architecture: str = "mrcnn"
    """One of ``ARCHITECTURES``; MRCNN is what SelectiveFinetuning names."""

    dropout: float = 0.5
    """Probability of every dropout layer, the one before the head included (AttnSleep: 0.5)."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SettingsError(
                f"architecture is {self.architecture!r}; allowed: {', '.join(ARCHITECTURES)}."
            )
        _require_number("dropout", self.dropout, at_least=0.0, below=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSettings:
    """Training of a source encoder: Adam with amsgrad, early stop on held-out source subjects."""

    n_passes: int = 100
    """Most passes through the training epochs (AttnSleep: 100)."""

    batch_size: int = 128
    """Epochs in one step (AttnSleep: 128)."""

    learning_rate: float = 1e-3
    """Of the first ``n_full_rate_passes`` passes (AttnSleep: 1e-3)."""

    n_full_rate_passes: int = 10
    """Passes after this many take a tenth of ``learning_rate`` (AttnSleep: 1e-4 after pass 10)."""

    weight_decay: float = 1e-3
    """L2 penalty inside Adam (AttnSleep: 1e-3)."""

    patience: int = 10
    """Stop after so many passes without a better validation.

    Reconstruction: AttnSleep takes the pass that is best on its test fold; held-out source subjects
    stand in for that fold here.
    """

    min_passes: int = 1
    """Passes that are taken whatever the validation says. Reconstruction: no minimum."""

    def __post_init__(self) -> None:
        for field in ("n_passes", "batch_size", "n_full_rate_passes", "patience", "min_passes"):
            _require_count(field, getattr(self, field))
        _require_number("learning_rate", self.learning_rate, above=0.0)
        _require_number("weight_decay", self.weight_decay, at_least=0.0)
        if self.min_passes > self.n_passes:
            raise SettingsError(
                f"min_passes is {self.min_passes}; allowed: at most n_passes, {self.n_passes}."
            )

    def learning_rate_at(self, pass_number: int) -> float:
        """Return the learning rate of one pass, counted from 1."""
        if pass_number <= self.n_full_rate_passes:
            return self.learning_rate
        return self.learning_rate / 10


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneSettings:
    """Finetuning of a pretrained model on the kept source batches: Adam with amsgrad."""

    n_steps: int = 30
    """Optimiser steps, the same for every trial and arm of a sweep.

    Reconstruction: the paper gives no number. With equal steps a curve over tau shows the
    selection, not the number of updates.
    """

    learning_rate: float = 1e-4
    """Reconstruction: the rate that AttnSleep's training ends with; the paper gives none."""

    weight_decay: float = 1e-3
    """Reconstruction: as in pretraining."""

    def __post_init__(self) -> None:
        _require_count("n_steps", self.n_steps)
        _require_number("learning_rate", self.learning_rate, above=0.0)
        _require_number("weight_decay", self.weight_decay, at_least=0.0)


def _require_count(field: str, value: object) -> None:
    """Accept an integer of at least 1; True and False are no counts."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{field} is {value!r}; allowed: an integer of at least 1.")


def _require_number(
    field: str,
    value: object,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Accept a finite number with ``at_least <= value``, ``above < value < below``."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and at_least <= value
        and above < value < below  # false for NaN, and for infinity with the default limits
    ):
        return
    limits = {"at least": at_least, "above": above, "below": below}
    allowed = " and ".join(f"{word} {x:g}" for word, x in limits.items() if math.isfinite(x))
    raise SettingsError(f"{field} is {value!r}; allowed: a finite number {allowed}.")
