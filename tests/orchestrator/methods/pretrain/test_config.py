"""Sweep files of the method pretrain: mistakes at file:line:column, the space, what a trial is trained with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.config.sweep import dump, load_sweep
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.config import PretrainSweep, parameters
from search_spaces.pretrain import DEFAULTS, SPACE
from search_spaces.space import Integer, LogUniform, Uniform
from trainables.errors import SettingsError
from trainables.settings import EncoderSettings, PretrainSettings

FULL = """\
name: probe
method: pretrain
source:
  dataset: home
  validation: [v1, v2]
pretrain:
  batch_size: 32
  n_passes: 3
search:
  n_trials: 4
  space:
    dropout: {uniform: [0.1, 0.5]}
    batch_size: {integer: [16, 64]}
  enqueue:
    - {dropout: 0.2}
    - {dropout: 0.2, batch_size: 48.0}
"""

Load = Callable[..., PretrainSweep]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def load(*changes: tuple[str, str]) -> PretrainSweep:
        text = FULL
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "probe.yaml"
        path.write_text(text, encoding="utf-8")
        sweep = load_sweep(path)
        assert isinstance(sweep, PretrainSweep)
        return sweep

    return load


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  validation: [v1, v2]\n", "", "3:1: missing key 'validation' in source."),
        ("search:\n", "target: {dataset: clinic}\nsearch:\n", "9:1: unknown key 'target' in this file."),
        ("name: probe\n", "name: probe\nworkers: 2\n", "2:10: workers is 2: must be 1: a source encoder is "),
        ("name: probe\n", "name: probe\ngpus_per_worker: 1\n", "2:18: gpus_per_worker is 1: must be 0: a source"),
        ("dropout: {uniform", "drop: {uniform", "12:5: unknown key 'drop' in search.space. Did you mean 'dropout'?"),
        ("[0.1, 0.5]", "[0.1, 0.9]", "12:30: search.space.dropout.uniform[1] is 0.9: must lie in [0, 0.8], the range "
         "of search_spaces/pretrain.py; a range with 'extend: true' may go beyond it."),
        ("[16, 64]", "[64, 16]", "13:27: search.space.batch_size.integer is [64, 16]: must be [low, high] with low <"),
        ("[16, 64]", "[16.5, 64]", "13:28: search.space.batch_size.integer[0] is 16.5: must be a whole number."),
        ("[16, 64]", "[8, 64]", "13:28: search.space.batch_size.integer[0] is 8: must lie in [16, 512]"),
        ("[16, 64]}", "[0, 64], extend: true}", "13:28: search.space.batch_size.integer[0] is 0: is impossible: "),
        ("[0.1, 0.5]}", "[0.1, 1], extend: true}", "12:30: search.space.dropout.uniform[1] is 1: is impossible: "),
        ("    - {dropout: 0.2}\n", "    - {dropout: 0.6}\n", "15:17: search.enqueue[0].dropout is 0.6: lies outside "
         "space.dropout [0.1, 0.5]."),
        ("    - {dropout: 0.2}\n", "    - {weight_decay: 0.1}\n", "15:22: search.enqueue[0].weight_decay is 0.1: is "
         "not varied by this search; it varies dropout, batch_size."),
        ("    - {dropout: 0.2}\n", "    - {lr: 0.1}\n", "15:8: unknown key 'lr' in search.enqueue[0]."),
        ("48.0", "48.5", "16:34: search.enqueue[1].batch_size is 48.5: lies outside space.batch_size [16, 64]."),
        ("48.0", "32", "16:7: search.enqueue[1] is {\"dropout\": 0.2, \"batch_size\": 32}: is given twice."),
        ("batch_size: 32", "batch_size: 8", "15:7: search.enqueue[0] is {\"dropout\": 0.2}: leaves batch_size out, and "
         "its own value 8 in pretrain lies outside space.batch_size [16, 64]; give one inside."),
        ("n_trials: 4", "n_trials: 1", "search.enqueue is [{\"dropout\": 0.2}"),
        ("n_trials: 4", "n_trials: 4\n  replicates: 2", "11:15: search.replicates is 2: must be 1: a selective sweep"),
        ("n_trials: 4", "n_trials: 4\n  also: [cost]", "11:9: search.also is [\"cost\"]: must be empty: trials are"),
        ("n_trials: 4", "n_trials: 4\n  scheduler: {name: asha}", "11:21: search.scheduler.name is \"asha\": must be"),
        ("n_passes: 3", "n_passes: 0", "8:13: pretrain.n_passes is 0: allowed: an integer of at least 1."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place(
    old: str, new: str, message: str, loaded: Load, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded((old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'probe.yaml'}:")
    assert caught.value.exit_code == 2


def test_exactly_the_named_parameters_vary(loaded: Load) -> None:
    assert loaded().search.space.declared() == {
        "dropout": Uniform(0.1, 0.5),
        "batch_size": Integer(16, 64),
    }


def test_without_a_space_all_of_the_declared_one_is_searched(loaded: Load, tmp_path: Path) -> None:
    start, _, rest = FULL.partition("  space:")
    path = tmp_path / "whole.yaml"
    path.write_text(start, encoding="utf-8")
    sweep = load_sweep(path)
    assert isinstance(sweep, PretrainSweep)
    assert sweep.search.space.declared() == dict(SPACE)
    assert isinstance(sweep.search.space.declared()["learning_rate"], LogUniform)
    assert rest
    path.write_text(dump(sweep), encoding="utf-8")
    assert load_sweep(path) == sweep


def test_a_space_that_names_nothing_is_refused(loaded: Load) -> None:
    with pytest.raises(ConfigError, match="must name at least one parameter to vary"):
        loaded(
            (
                "space:\n    dropout: {uniform: [0.1, 0.5]}\n    batch_size: {integer: [16, 64]}",
                "space: {}",
            )
        )


def test_what_is_left_out_of_an_enqueued_trial_is_as_in_the_sections(loaded: Load) -> None:
    first, second = loaded().first_trials()
    assert first == {"dropout": 0.2, "batch_size": 32}
    assert second == {"dropout": 0.2, "batch_size": 48}
    assert type(second["batch_size"]) is int  # an encoder's id tells 48 from 48.0


def test_sampled_values_go_into_their_sections_and_the_others_stay(loaded: Load) -> None:
    sweep = loaded()
    own = (EncoderSettings(), PretrainSettings(n_passes=3, batch_size=32))
    assert sweep.settings_for({}) == own
    encoder, pretrain = sweep.settings_for(
        {"dropout": 0.25, "batch_size": 48.0, "learning_rate": 2e-3, "weight_decay": 0.0}
    )
    assert encoder == EncoderSettings(dropout=0.25)
    assert pretrain == PretrainSettings(
        n_passes=3, batch_size=48, learning_rate=2e-3, weight_decay=0.0
    )
    assert type(pretrain.batch_size) is int
    assert parameters(encoder, pretrain) == {
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "dropout": 0.25,
        "batch_size": 48,
    }
    assert parameters(EncoderSettings(), PretrainSettings()) == DEFAULTS
    with pytest.raises(SettingsError, match="parameter is 'tau'; allowed: learning_rate"):
        sweep.settings_for({"tau": 0.5})
    with pytest.raises(SettingsError, match="dropout is 1"):
        sweep.settings_for({"dropout": 1.0})


def test_one_trial_at_a_time_unless_the_file_says_otherwise(loaded: Load) -> None:
    assert loaded().search.max_concurrent == 1
    assert loaded(("n_trials: 4", "n_trials: 4\n  max_concurrent: 3")).search.max_concurrent == 3
