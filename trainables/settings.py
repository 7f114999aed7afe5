"""Settings of every method: frozen, checked on construction, and free of torch.

A default that comes from a paper or its code names the place; one that had to be chosen because the
paper is silent says ``Reconstruction:``.
"""

import math
from dataclasses import dataclass, field

from trainables.errors import SettingsError
from trainables.stages import Stage

_N_STAGES = len(Stage)

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
        for name in ("n_passes", "batch_size", "n_full_rate_passes", "patience", "min_passes"):
            _require_count(name, getattr(self, name))
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
    """Optimiser steps: of every arm of a sweep, and of every trial unless the sweep varies them.

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


FUSIONS = ("concat", "sum", "gated", "film", "attention")
"""Ways to join the modalities' features, see :mod:`trainables.models.fusion`."""

RATIOS = ("mean_pairwise", "mean_others")
"""Ways to compare the modalities' scores, see :mod:`trainables.modulation`."""

COEFFICIENT_RULES = ("published", "continuous")
"""Ways to slow a leading modality down, see :mod:`trainables.modulation`."""

GRL_SCHEDULES = ("constant", "dann")
"""Ways that lambda may take over the training, see ``AdversarySettings.schedule``."""

APPLICATIONS = ("gradient", "update")
"""What a coefficient may scale, see ``ModulationSettings.apply_to``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """The network of SleepMG and of its ablations. FeatureNet: Jia et al., MSTGCN, IEEE TNSRE 29, 2021."""

    multimodal: bool = True
    """One extractor for each modality; without, one over the channels of all (FeatureNet itself)."""

    channels: str = "shared"
    """``shared``: each channel goes through the extractor of its modality by itself, 256 features a channel;
    ``planes``: channels enter the first convolutions together, 256 features a modality.

    Reconstruction: the supplement fits both; ``shared`` is what FeatureNet does.
    """

    fusion: str = "concat"
    """One of ``FUSIONS``. SleepMG concatenates."""

    dropout: float = 0.5
    """Probability of every dropout layer (FeatureNet: 0.5)."""

    n_hidden: int = 64
    """Width between the two dense layers of classifier and discriminator (FeatureNet: 64)."""

    def __post_init__(self) -> None:
        _require_one_of("channels", self.channels, ("shared", "planes"))
        _require_one_of("fusion", self.fusion, FUSIONS)
        _require_number("dropout", self.dropout, at_least=0.0, below=1.0)
        _require_count("n_hidden", self.n_hidden)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarySettings:
    """The subject discriminator behind a gradient reversal layer (GRL). Ganin et al., JMLR 17, 2016."""

    enabled: bool = True
    """Without, there is no discriminator (FeatureNet, FeatureNet+M)."""

    grl_weight: float = 0.01
    """Lambda: what the reversed gradient is multiplied by (MSTGCN: 0.01). 0 trains the discriminator and lets the
    extractors be."""

    schedule: str = "constant"
    """``constant`` (MSTGCN), or ``dann``: ``grl_weight * (2 / (1 + exp(-10 p)) - 1)`` for the share p of the training
    that is done, so that ``grl_weight`` is the cap."""

    domains: str = "subject"
    """What the discriminator tells apart: each training ``subject``, or each ``group`` of subjects that are tested
    together, as MSTGCN's generator does. Reconstruction: SleepMG says subject-level."""

    def __post_init__(self) -> None:
        _require_number("grl_weight", self.grl_weight, at_least=0.0)
        _require_one_of("schedule", self.schedule, GRL_SCHEDULES)
        _require_one_of("domains", self.domains, ("subject", "group"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModulationSettings:
    """Per-modality balance. OGM-GE (Peng et al., CVPR 2022) carried over to SleepMG's two heads.

    Reconstruction: every default; SleepMG's own equations and numbers could not be obtained.
    """

    mod_f: bool = False
    """Scale the gradients of each modality's extractor (SleepMG's ablation row vxx: OGM)."""

    mod_y: bool = True
    """Scale those of each modality's slice of the classifier (row xvx)."""

    mod_d: bool = True
    """Scale those of each modality's slice of the discriminator (row xxv); needs the discriminator."""

    alpha_f: float = 0.2
    """How strongly extractors are slowed, by their classification scores; 0: not at all."""

    alpha_y: float = 0.2
    """How strongly classifier slices are slowed; 0: not at all (OGM-GE: 0.1 and 0.8, by data set)."""

    alpha_d: float = 0.2
    """How strongly discriminator slices are slowed; 0: not at all."""

    ratio: str = "mean_pairwise"
    """One of ``RATIOS``: how one modality's score is compared to those of the others."""

    rule: str = "published"
    """One of ``COEFFICIENT_RULES``: from that ratio to the coefficient."""

    apply_to: str = "update"
    """``gradient`` scales gradients before the optimiser's step, as published with SGD; ``update`` scales the change of
    the weights after it. Adam undoes a constant scaling of gradients, so ``update`` goes with Adam."""

    score_memory: float = 0.0
    """Decay of the exponential moving average of scores over steps; 0: each batch by itself."""

    noise: bool = False
    """Add Gaussian noise with each gradient's own spread to the modulated weights (the GE of OGM-GE)."""

    invert: bool = False
    """Slow the modalities that lag instead of those that lead: a control."""

    def __post_init__(self) -> None:
        for name in ("alpha_f", "alpha_y", "alpha_d"):
            _require_number(name, getattr(self, name), at_least=0.0)
        _require_one_of("ratio", self.ratio, RATIOS)
        _require_one_of("rule", self.rule, COEFFICIENT_RULES)
        _require_one_of("apply_to", self.apply_to, APPLICATIONS)
        _require_number("score_memory", self.score_memory, at_least=0.0, below=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldSettings:
    """Training on the subjects of one fold, with early stop on its validation subjects."""

    n_passes: int = 100
    """Most passes through the training epochs (MSTGCN: 100)."""

    batch_size: int = 256
    """Epochs in one step, over all workers (MSTGCN: 256)."""

    optimizer: str = "adam"
    """``adam`` (MSTGCN), or ``sgd`` with momentum 0.9 (OGM-GE)."""

    learning_rate: float = 1e-4
    """Step size (MSTGCN: 1e-4)."""

    weight_decay: float = 0.0
    """L2 penalty inside the optimiser (MSTGCN: 0)."""

    clip_value: float = 1.0
    """Gradients are clipped to this absolute value, after modulation (MSTGCN: 1)."""

    patience: int = 20
    """Stop after so many passes without a better validation macro-F1 (MSTGCN: 20, by accuracy)."""

    class_weights: tuple[float, ...] = (1.0, 1.2, 1.0, 1.0, 1.25)
    """How much a W, N1, N2, N3 and REM epoch weighs in the loss (MSTGCN)."""

    sync_batch_norm: bool = True
    """Several workers: batch-norm takes the statistics of the whole batch, as one worker would; without, each worker
    takes those of its own part, which is faster."""

    precision: str = "float32"
    """``float32``, or ``bfloat16``: forward and loss in mixed precision."""

    compile: bool = False
    """Compile the network with ``torch.compile`` first."""

    def __post_init__(self) -> None:
        for name in ("n_passes", "batch_size", "patience"):
            _require_count(name, getattr(self, name))
        _require_one_of("optimizer", self.optimizer, ("adam", "sgd"))
        _require_number("learning_rate", self.learning_rate, above=0.0)
        _require_number("weight_decay", self.weight_decay, at_least=0.0)
        _require_number("clip_value", self.clip_value, above=0.0)
        if len(self.class_weights) != _N_STAGES:
            raise SettingsError(
                f"class_weights has {len(self.class_weights)} numbers; allowed: {_N_STAGES}, one for each stage."
            )
        for weight in self.class_weights:
            _require_number("class_weights", weight, above=0.0)
        _require_one_of("precision", self.precision, ("float32", "bfloat16"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepMGSettings:
    """A whole configuration of SleepMG or of one of its ablations."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Extractors and heads."""

    adversary: AdversarySettings = field(default_factory=AdversarySettings)
    """Subject discriminator."""

    modulation: ModulationSettings = field(default_factory=ModulationSettings)
    """Per-modality balance."""

    training: FoldSettings = field(default_factory=FoldSettings)
    """How a fold is trained."""

    def __post_init__(self) -> None:
        modulation = self.modulation
        if modulation.mod_d and not self.adversary.enabled:
            raise SettingsError(
                "mod_d is on, but adversary.enabled is off: there is no discriminator to modulate. Turn one of them."
            )
        if not self.network.multimodal and self.network.fusion != "concat":
            raise SettingsError(
                f"fusion is {self.network.fusion!r}, but network.multimodal is off: with one extractor for all "
                "channels there is nothing to join. Turn it on, or leave fusion at 'concat'."
            )
        if not self.network.multimodal and (
            modulation.mod_f or modulation.mod_y or modulation.mod_d
        ):
            raise SettingsError(
                "mod_f, mod_y or mod_d is on, but network.multimodal is off: with one extractor for all "
                "channels there are no modalities to balance. Turn them off."
            )


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


def _require_one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{field} is {value!r}; allowed: {', '.join(allowed)}.")
