import math
import subprocess
import sys
from typing import Any

import pytest

from trainables.errors import SettingsError
from trainables.settings import EncoderSettings, FinetuneSettings, PretrainSettings


def test_defaults_are_those_of_attnsleep() -> None:
    pretrain = PretrainSettings()
    assert (pretrain.n_passes, pretrain.batch_size) == (100, 128)
    assert (pretrain.learning_rate, pretrain.weight_decay) == (1e-3, 1e-3)
    assert EncoderSettings().dropout == 0.5
    finetune = FinetuneSettings()
    assert (finetune.n_steps, finetune.learning_rate, finetune.weight_decay) == (30, 1e-4, 1e-3)


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
