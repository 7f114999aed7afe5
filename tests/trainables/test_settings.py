import math
import subprocess
import sys
from typing import Any

import pytest

from trainables.errors import SettingsError
from trainables.settings import (
    COEFFICIENT_RULES,
    FUSIONS,
    RATIOS,
    AdversarySettings,
    EncoderSettings,
    FinetuneSettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    PretrainSettings,
    SleepMGSettings,
)


def test_defaults_are_those_of_attnsleep() -> None:
    pretrain = PretrainSettings()
    assert (pretrain.n_passes, pretrain.batch_size) == (100, 128)
    assert (pretrain.learning_rate, pretrain.weight_decay) == (1e-3, 1e-3)
    assert EncoderSettings().dropout == 0.5
    finetune = FinetuneSettings()
    assert (finetune.n_steps, finetune.learning_rate, finetune.weight_decay) == (30, 1e-4, 1e-3)


def test_training_defaults_are_those_of_mstgcn() -> None:
    training = FoldSettings()
    assert (training.n_passes, training.batch_size, training.patience) == (100, 256, 20)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adam", 1e-4, 0)
    assert training.clip_value == 1.0
    assert training.class_weights == (1.0, 1.2, 1.0, 1.0, 1.25)  # W, N1, N2, N3, REM
    network, adversary = NetworkSettings(), AdversarySettings()
    assert (network.channels, network.dropout, network.n_hidden) == ("shared", 0.5, 64)
    assert (adversary.grl_weight, adversary.schedule) == (0.01, "constant")


def test_default_is_sleepmg_itself() -> None:
    """Concatenated modalities with a discriminator, and balance of both heads: the row xvv of its ablation."""
    settings = SleepMGSettings()
    assert settings.network.multimodal
    assert settings.network.fusion == "concat"
    assert settings.adversary.enabled
    modulation = settings.modulation
    assert (modulation.mod_f, modulation.mod_y, modulation.mod_d) == (False, True, True)
    assert (modulation.ratio, modulation.rule) == ("mean_pairwise", "published")
    # Adam cancels scaled gradients.
    assert (settings.training.optimizer, modulation.apply_to) == ("adam", "update")
    assert not modulation.noise
    assert not modulation.invert


@pytest.mark.parametrize(
    ("cls", "field", "names"),
    [
        (NetworkSettings, "channels", ("shared", "planes")),
        (NetworkSettings, "fusion", FUSIONS),
        (AdversarySettings, "schedule", ("constant", "dann")),
        (AdversarySettings, "domains", ("subject", "group")),
        (ModulationSettings, "ratio", RATIOS),
        (ModulationSettings, "rule", COEFFICIENT_RULES),
        (ModulationSettings, "apply_to", ("gradient", "update")),
        (FoldSettings, "optimizer", ("adam", "sgd")),
        (FoldSettings, "precision", ("float32", "bfloat16")),
    ],
)
def test_names_that_are_allowed_are_accepted_and_listed(
    cls: type[Any], field: str, names: tuple[str, ...]
) -> None:
    for name in names:
        assert getattr(cls(**{field: name}), field) == name
    with pytest.raises(SettingsError) as caught:
        cls(**{field: "other"})
    assert str(caught.value) == f"{field} is 'other'; allowed: {', '.join(names)}."


MODULATION_OFF = ModulationSettings(mod_f=False, mod_y=False, mod_d=False)


@pytest.mark.parametrize("multimodal", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_rows_of_the_ablation_without_modulation(multimodal: bool, enabled: bool) -> None:
    """FeatureNet, FeatureNet+G, FeatureNet+M and NaiveMG."""
    settings = SleepMGSettings(
        network=NetworkSettings(multimodal=multimodal),
        adversary=AdversarySettings(enabled=enabled),
        modulation=MODULATION_OFF,
    )
    assert settings.network.multimodal == multimodal


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"adversary": AdversarySettings(enabled=False)},
            "mod_d is on, but adversary.enabled is off",
        ),
        (
            {"network": NetworkSettings(multimodal=False)},
            "mod_f, mod_y or mod_d is on, but network.multimodal is off",
        ),
        (
            {
                "network": NetworkSettings(multimodal=False),
                "modulation": ModulationSettings(mod_f=True, mod_y=False, mod_d=False),
            },
            "mod_f, mod_y or mod_d is on, but network.multimodal is off",
        ),
        (
            {
                "network": NetworkSettings(multimodal=False, fusion="film"),
                "modulation": MODULATION_OFF,
            },
            "fusion is 'film', but network.multimodal is off",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        SleepMGSettings(**sections)


@pytest.mark.parametrize("n", [0, 4, 6])
def test_class_weights_are_one_for_each_stage(n: int) -> None:
    with pytest.raises(SettingsError, match=f"class_weights has {n} numbers; allowed: 5"):
        FoldSettings(class_weights=(1.0,) * n)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_every_class_weight_is_above_zero(weight: float) -> None:
    with pytest.raises(SettingsError, match="class_weights is "):
        FoldSettings(class_weights=(1.0, 1.0, weight, 1.0, 1.0))


def test_learning_rate_falls_to_a_tenth_after_pass_10() -> None:
    settings = PretrainSettings()
    assert [settings.learning_rate_at(n) for n in (1, 10, 11, 100)] == [1e-3, 1e-3, 1e-4, 1e-4]


@pytest.mark.parametrize(
    ("cls", "field", "value", "allowed"),
    [
        (EncoderSettings, "architecture", "resnet", "mrcnn"),
        (EncoderSettings, "dropout", 1.0, "at least 0 and below 1"),
        (EncoderSettings, "dropout", -0.1, "at least 0 and below 1"),
        (PretrainSettings, "n_passes", 0, "an integer of at least 1"),
        (PretrainSettings, "batch_size", 2.5, "an integer of at least 1"),
        (PretrainSettings, "patience", True, "an integer of at least 1"),
        (PretrainSettings, "n_full_rate_passes", -1, "an integer of at least 1"),
        (PretrainSettings, "min_passes", 101, "at most n_passes, 100"),
        (PretrainSettings, "weight_decay", -1e-3, "at least 0"),
        (PretrainSettings, "learning_rate", "fast", "above 0"),
        (FinetuneSettings, "n_steps", 0, "an integer of at least 1"),
        (FinetuneSettings, "learning_rate", 0.0, "above 0"),
        (FinetuneSettings, "learning_rate", math.nan, "above 0"),
        (FinetuneSettings, "learning_rate", math.inf, "above 0"),
        (FinetuneSettings, "weight_decay", math.inf, "at least 0"),
        (NetworkSettings, "dropout", 1.0, "at least 0 and below 1"),
        (NetworkSettings, "n_hidden", 0, "an integer of at least 1"),
        (AdversarySettings, "grl_weight", -0.01, "at least 0"),
        (AdversarySettings, "grl_weight", math.nan, "at least 0"),
        (ModulationSettings, "alpha_f", -0.1, "at least 0"),
        (ModulationSettings, "alpha_y", -0.1, "at least 0"),
        (ModulationSettings, "alpha_d", math.inf, "at least 0"),
        (ModulationSettings, "score_memory", 1.0, "at least 0 and below 1"),
        (FoldSettings, "n_passes", 0, "an integer of at least 1"),
        (FoldSettings, "batch_size", 0, "an integer of at least 1"),
        (FoldSettings, "patience", 1.5, "an integer of at least 1"),
        (FoldSettings, "learning_rate", 0.0, "above 0"),
        (FoldSettings, "weight_decay", -1e-3, "at least 0"),
        (FoldSettings, "clip_value", 0.0, "above 0"),
    ],
)
def test_wrong_value_is_refused_with_field_value_and_what_is_allowed(
    cls: type[Any], field: str, value: object, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        cls(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field} is {value!r}; allowed: ")
    assert allowed in message


def test_settings_and_spaces_load_without_torch() -> None:
    code = (
        "import sys, search_spaces.selective, trainables.settings, trainables.stages\n"
        "sys.exit(bool({'torch', 'ray', 'optuna', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
