"""Sweep files of the method sleepmg: configurations of trials and rows, and mistakes at file:line:column."""

import dataclasses
import pickle
import re
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.config.sweep import dump, load_sweep
from orchestrator.errors import ConfigError
from orchestrator.methods.sleepmg.config.rows import SETTINGS_SECTIONS, Row
from orchestrator.methods.sleepmg.config.search import FirstTrial, Space
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep, parameters
from search_spaces.sleepmg import DEFAULTS, SPACE
from search_spaces.space import Choice, LogUniform, Uniform
from tests.orchestrator.config.sweep_files import SLEEPMG
from trainables.errors import SettingsError
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.stages import Stage

SHORT = """\
name: probe
method: sleepmg
dataset: clinic
rows: [{name: SleepMG}]
"""

GOOD = """\
name: probe
method: sleepmg
dataset: clinic
modalities: [emg, eeg]
scale: microvolts
folds: {kind: k_fold, n_folds: 3}
network:
  dropout: 0.25
adversary:
  grl_weight: 0.05
modulation:
  mod_f: true
  alpha_y: 0.25
training:
  n_passes: 20
  batch_size: 64
search:
  n_trials: 12
  space:
    alpha_y: {uniform: [0.2, 0.5]}
    grl_weight: {log_uniform: [2e-3, 0.1]}
  enqueue: [{alpha_y: 0.5}]
rows:
  - name: NaiveMG
    ours: a reading
    modulation: {mod_f: false, mod_y: false, mod_d: false}
  - {name: FiLM, network: {fusion: film}, training: {n_passes: 30}}
seeds: [5, 3]
figure: A title
"""

RATIO = "ratio: {choice: [mean_others, mean_pairwise]}"
PLAIN = "mod_f: false, mod_y: false, mod_d: false"
FILM = "{name: FiLM, network: {fusion: film}, training: {n_passes: 30}}"
UNBALANCED = "mod_f: false\n  mod_y: false\n  mod_d: false"
ALPHA_Y = "alpha_y: {uniform: [0.2, 0.5]}"
K_FOLD = "{kind: k_fold, n_folds: 3}"


def write(folder: Path, text: str) -> Path:
    path = folder / "probe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, *changes: tuple[str, str], text: str = GOOD) -> SleepMGSweep:
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    sweep = load_sweep(write(folder, text))
    assert isinstance(sweep, SleepMGSweep)
    return sweep


def place(text: str, part: str, start: int = 0) -> str:
    """Line and column of a part of a text, the first after ``start``."""
    before = text[: text.index(part, start)]
    return f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


# --- what a file means ---------------------------------------------------------------------------


def test_a_range_that_says_so_goes_beyond_the_declared_one(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, ("[2e-3, 0.1]}", "[1e-4, 5], extend: true}"))
    assert sweep.search is not None
    assert sweep.search.space.declared()["grl_weight"] == LogUniform(1e-4, 5)


def test_a_short_file_is_sleepmg_as_its_settings_have_it(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, text=SHORT)
    assert sweep.settings() == SleepMGSettings()
    assert sweep.row_settings(sweep.rows[0]) == SleepMGSettings()
    assert (sweep.seed, sweep.seeds, sweep.figure, sweep.search) == (1, (1,), None, None)
    assert (sweep.workers, sweep.cpus_per_worker) == (1, 1.0)
    assert sweep.stages == tuple(Stage)
    assert (sweep.subjects, sweep.exclude, sweep.scale) == (("*",), (), "recording")
    assert sweep.modalities == ("eeg", "eog", "emg", "ecg")
    assert sweep.folds.model_dump() == {"kind": "leave_one_subject_out", "n_validation": 1}
    assert sweep.first_trials() == ()


def test_a_file_says_everything_a_sweep_needs(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    assert sweep.modalities == ("eeg", "emg")  # in the order of the store
    assert sweep.scale == "microvolts"
    assert sweep.folds.model_dump() == {"kind": "k_fold", "n_folds": 3, "n_validation": 1}
    assert sweep.settings() == SleepMGSettings(
        network=NetworkSettings(dropout=0.25),
        adversary=AdversarySettings(grl_weight=0.05),
        modulation=ModulationSettings(mod_f=True, alpha_y=0.25),
        training=FoldSettings(n_passes=20, batch_size=64),
    )
    assert sweep.search is not None
    assert sweep.search.space.declared() == {
        "alpha_y": Uniform(0.2, 0.5),
        "grl_weight": LogUniform(2e-3, 0.1),
    }
    assert (sweep.search.objective, sweep.search.max_concurrent) == ("validation", 2)
    # A parameter that the first trial leaves out takes the file's own value.
    assert sweep.first_trials() == ({"alpha_y": 0.5, "grl_weight": 0.05},)
    assert sweep.seeds == (5, 3)
    assert sweep.figure == "A title"
    assert [(row.name, row.slug, row.ours) for row in sweep.rows] == [
        ("NaiveMG", "naivemg", "a reading"),
        ("FiLM", "film", None),
    ]


def test_sampled_parameters_go_to_their_sections(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    own = sweep.settings()
    assert sweep.settings_for({}) == own
    chosen = {
        "alpha_f": 0.1,
        "alpha_y": 0.2,
        "alpha_d": 0.3,
        "grl_weight": 0.4,
        "learning_rate": 5e-3,
        "dropout": 0.6,
        "ratio": "mean_others",
        "schedule": "dann",
        "apply_to": "gradient",
    }
    settings = sweep.settings_for(chosen)
    modulation = settings.modulation
    assert (modulation.alpha_f, modulation.alpha_y, modulation.alpha_d) == (0.1, 0.2, 0.3)
    assert (settings.adversary.grl_weight, settings.network.dropout) == (0.4, 0.6)
    assert settings.training == dataclasses.replace(own.training, learning_rate=5e-3)
    assert parameters(settings) == chosen
    assert parameters(sweep.settings_for({"dropout": 0.1})) == {**parameters(own), "dropout": 0.1}
    assert parameters(SleepMGSettings()) == DEFAULTS


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": 0.1}, "parameter is 'alpha'; allowed: alpha_f"),
        ({"alpha_y": -1.0}, "alpha_y is"),
        ({"ratio": "mean"}, "ratio is 'mean'; allowed: mean_pairwise, mean_others"),
    ],
)
def test_impossible_parameters_are_refused(
    tmp_path: Path, params: dict[str, float | str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        loaded(tmp_path).settings_for(params)


def test_a_row_changes_single_keys_of_the_sections(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    own = sweep.settings()
    naive, film = map(sweep.row_settings, sweep.rows)
    assert naive == dataclasses.replace(
        own, modulation=ModulationSettings(mod_y=False, mod_d=False, alpha_y=0.25)
    )
    assert film == dataclasses.replace(
        own,
        network=NetworkSettings(dropout=0.25, fusion="film"),
        training=FoldSettings(n_passes=30, batch_size=64),
    )


def test_a_row_may_set_a_key_back_to_its_default(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, ("fusion: film", "dropout: 0.5"))
    assert sweep.settings().network.dropout == 0.25
    assert sweep.row_settings(sweep.rows[1]).network.dropout == 0.5


def test_rows_know_every_key_of_every_section() -> None:
    own = dataclasses.asdict(SleepMGSettings())
    assert tuple(own) == SETTINGS_SECTIONS
    for name, keys in own.items():
        row = Row.model_validate({"name": "all", name: keys})
        assert row.overrides() == {name: keys}
        overrides, _ = get_args(Row.model_fields[name].annotation)
        assert list(overrides.model_fields) == list(keys)


def test_a_row_is_named_in_trials_by_its_slug() -> None:
    assert Row(name="FeatureNet+M (ours)").slug == "featurenet-m-ours"
    assert Row(name="Été 2").slug == "t-2"


def test_the_names_of_parameters_are_those_of_the_space() -> None:
    assert tuple(FirstTrial.model_fields) == tuple(SPACE) == tuple(Space.model_fields)
    kinds = {Uniform: "uniform", LogUniform: "log_uniform", Choice: "choice"}
    for name, declared in SPACE.items():
        range_class, _ = get_args(Space.model_fields[name].annotation)
        assert set(range_class.model_fields) - {"extend"} == {kinds[type(declared)]}


def test_the_options_of_choices_are_those_of_the_space() -> None:
    for name, declared in SPACE.items():
        if isinstance(declared, Choice):
            (range_class, _), (first, _) = (
                get_args(model.model_fields[name].annotation) for model in (Space, FirstTrial)
            )
            option, _ = get_args(range_class.model_fields["choice"].annotation)
            assert get_args(option) == get_args(first) == declared.options


CHOICES = (
    ("[emg, eeg]", "[emg, eeg, ecg]"),
    ("alpha_y: {uniform", "ratio: {choice: [mean_others, mean_pairwise]}\n    alpha_y: {uniform"),
    ("[2e-3, 0.1]}", "[2e-3, 0.1]}\n    schedule: {choice: [constant, dann]}"),
    ("{alpha_y: 0.5}", "{alpha_y: 0.5}, {ratio: mean_others, alpha_y: 0.2}"),
)


def test_a_search_over_choices(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, *CHOICES)
    assert sweep.search is not None
    space = sweep.search.space.declared()
    assert list(space) == ["alpha_y", "grl_weight", "ratio", "schedule"]
    assert space["ratio"] == Choice(("mean_others", "mean_pairwise"))
    own = {"alpha_y": 0.5, "grl_weight": 0.05, "ratio": "mean_pairwise", "schedule": "constant"}
    assert sweep.first_trials() == (own, {**own, "alpha_y": 0.2, "ratio": "mean_others"})
    settings = sweep.settings_for(
        {"ratio": "mean_others", "schedule": "dann", "apply_to": "gradient"}
    )
    assert (settings.modulation.ratio, settings.modulation.apply_to) == ("mean_others", "gradient")
    assert settings.adversary.schedule == "dann"
    again = load_sweep(write(tmp_path, dump(sweep)))
    assert again == sweep


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("dataset: clinic", "datset: clinic", "datset", "unknown key 'datset' in this file. Did you mean 'dataset'?"),
        ("microvolts", "uv", "uv", 'scale is "uv": not allowed. Allowed: recording, microvolts'),
        ("[emg, eeg]", "[eeg, eeeg]", "eeeg", "modalities[1] is \"eeeg\": not allowed. Did you mean 'eeg'?"),
        ("[emg, eeg]", "[]", "[]", "modalities is []: must name at least one modality, each once"),
        ("[emg, eeg]", "[eeg, emg, eeg]", "[eeg, emg, eeg]", "must name at least one modality, each once"),
        ("clinic", "clinic\nsubjects: []", "[]", "subjects is []: must have at least 1 item"),
        ("clinic", "clinic\nseed: -1", "-1", "seed is -1: must be greater than or equal to 0"),
        ("clinic", "clinic\nworkers: 0", "0", "workers is 0: must be greater than or equal to 1"),
        ("clinic", "clinic\nworkers: 65", "65", "workers is 65: must divide the 64 epochs"),
        ("clinic", "clinic\ncpus_per_worker: 0", "0", "cpus_per_worker is 0: must be greater than 0"),
        ("[5, 3]", "[]", "[]", "seeds is []: must name at least one seed, each once"),
        ("[5, 3]", "[5, 5]", "[5, 5]", "must name at least one seed, each once"),
        ("[5, 3]", "[5, -3]", "-3", "seeds[1] is -3: must be greater than or equal to 0"),
        ("A title", "''", "''", "figure is \"\""),
        # folds
        (K_FOLD, "{kind: loso}", "loso", 'folds.kind is "loso": not allowed. Allowed: leave_one_subject_out, k_fold'),
        (K_FOLD, "{n_folds: 3}", "folds: {n", "missing key 'kind' in folds"),
        (K_FOLD, "{kind: k_fold}", "folds: ", "missing key 'n_folds' in folds"),
        (K_FOLD, "{kind: k_fold, n_folds: 1}", "1", "folds.n_folds is 1: must be greater than or equal to 2"),
        (K_FOLD, "{kind: k_fold, n_folds: 3, n_validation: 0}", "0", "folds.n_validation is 0: must be greater"),
        (K_FOLD, "{kind: leave_one_subject_out, n_folds: 3}", "n_folds", "unknown key 'n_folds' in folds. Allowed: ki"),
        # sections
        ("dropout: 0.25", "dropuot: 0.25", "dropuot", "unknown key 'dropuot' in network. Did you mean 'dropout'?"),
        ("dropout: 0.25", "dropout: 1", "1", "network.dropout is 1: allowed: a finite number at least 0 and below"),
        ("dropout: 0.25", "fusion: cat", "cat", 'network.fusion is "cat": allowed: concat, sum'),
        ("grl_weight: 0.05", "grl_weight: -0.05", "-0.05", "adversary.grl_weight is -0.05: allowed: a finite number a"),
        ("grl_weight: 0.05", "grl_weight: .nan", ".nan", "adversary.grl_weight is NaN: "),
        ("alpha_y: 0.25", "alpha_y: -0.25", "-0.25", "modulation.alpha_y is -0.25: allowed: a finite number at least"),
        ("alpha_y: 0.25", "mod_y: 1", "1", "modulation.mod_y is 1: must be true or false"),
        ("n_passes: 20", "n_epochs: 20", "n_epochs", "unknown key 'n_epochs' in training. "),
        ("n_passes: 20", "class_weights: [1, 1, 1, 1]", "class_w", "class_weights has 4 numbers; allowed: 5"),
        ("n_passes: 20", "class_weights: [1, 1, 1, 1, 0]", "[1, 1", "training.class_weights is [1, 1, 1, 1, 0]: al"),
        ("batch_size: 64", "batch_size: 0", "0", "training.batch_size is 0: allowed: an integer of at least 1"),
        ("grl_weight: 0.05", "enabled: false", "false", "adversary.enabled is false: mod_d is on, but adversary.en"),
        ("dropout: 0.25", "multimodal: false", "false", "network.multimodal is false: mod_f, mod_y or mod_d is"),
        ("[emg, eeg]", "[eeg]", "[eeg]", "modalities is [\"eeg\"]: has one modality, but network.multimodal is on"),
        ("clinic", "clinic\nrefit: 1", "1", "refit is 1: must be true or false"),
        ("clinic", "clinic\nrefit: true\nkeep_models: none", "true", "refit is true: trains a model, but keep_models"),
        # search
        ("n_trials: 12", "n_trials: 0", "0", "search.n_trials is 0: must be greater than or equal to 1"),
        ("n_trials: 12", "n_trials: 12\n  objective: test", "test", 'search.objective is "test": not allowed.'),
        ("n_trials: 12", "n_trials: 12\n  n_steps: 3", "n_steps", "unknown key 'n_steps' in search"),
        ("alpha_y: {uniform", "alpha_z: {uniform", "alpha_z", "unknown key 'alpha_z' in search.space. Did you mean"),
        ("{uniform", "{log_uniform", "log_uniform: [0.2", "unknown key 'log_uniform' in search.space.alpha_y. Did"),
        ("[0.2, 0.5]", "[0.5, 0.2]", "[0.5, 0.2]", "uniform is [0.5, 0.2]: must be [low, high] with low < high"),
        ("[0.2, 0.5]", "[-0.2, 0.5]", "-0.2", "alpha_y.uniform[0] is -0.2: must lie in [0, 1], the range of search_s"),
        ("[2e-3, 0.1]", "[2e-3, 2]", "2]", "grl_weight.log_uniform[1] is 2: must lie in [0.001, 1], the range of"),
        ("[2e-3, 0.1]", "[2e-3, 2]", "2]", "search_spaces/sleepmg.py; a range with 'extend: true' may go beyond it."),
        ("[2e-3, 0.1]}", "[0, 2], extend: true}", "0,", "log_uniform[0] is 0: must be greater than 0"),
        ("[0.2, 0.5]}", "[-1, 0.5], extend: true}", "-1", "uniform[0] is -1: is impossible: alpha_y is -1.0"),
        ("[0.2, 0.5]}", "[0.2, 0.5], extend: yes please}", "yes", 'extend is "yes please": must be true or false'),
        ("[2e-3, 0.1]", "[2e-3]", "[2e-3]", "has too few items"),
        ("{alpha_y: 0.5}", "{alpha_y: 0.6}", "0.6", "search.enqueue[0].alpha_y is 0.6: lies outside space.alpha_y [0"),
        ("{alpha_y: 0.5}", "{alpha_d: 0.5}", "0.5", "enqueue[0].alpha_d is 0.5: is not varied by this search; it va"),
        ("{alpha_y: 0.5}", "{alpha_x: 0.5}", "alpha_x", "unknown key 'alpha_x' in search.enqueue[0]. Did you mean 'a"),
        ("{alpha_y: 0.5}", "{alpha_y: high}", "high", 'search.enqueue[0].alpha_y is "high": must be a number'),
        ("{alpha_y: 0.5}", "{ratio: mean_others}", "mean_others", "0].ratio is \"mean_others\": is not varied by"),
        ("{alpha_y: 0.5}", "{ratio: 1}", "1", "enqueue[0].ratio is 1: not allowed. Allowed: mean_pairwise, mean_oth"),
        (ALPHA_Y, RATIO.replace("rs,", "r,"), "mean_other,", 'ratio.choice[0] is "mean_other": not allowed. Did you'),
        (ALPHA_Y, RATIO.replace("rs,", "r,"), "mean_other,", "mean 'mean_others'? Allowed: mean_pairwise, mean_o"),
        (ALPHA_Y, "ratio: {choice: [mean_others]}", "[mean_others]", '["mean_others"]: must name at least two options'),
        (ALPHA_Y, "ratio: {choice: [mean_others, mean_others]}", "[mean_others", "must name at least two options"),
        (ALPHA_Y, "ratio: {choice: []}", "[]", "search.space.ratio.choice is []: must name at least two options"),
        (ALPHA_Y, "ratio: {choice: mean_others}", "mean_others", "must be a list, as in [mean_others]"),
        (ALPHA_Y, RATIO.replace("ce:", "ces:"), "choices", "key 'choices' in search.space.ratio. Did you mean 'ch"),
        (ALPHA_Y, "apply_to: {choice: [update, gradients]}", "gradients", "Did you mean 'gradient'? Allowed: gr"),
        (ALPHA_Y, "schedule: {uniform: [0, 1]}", "uniform", "key 'uniform' in search.space.schedule. Allowed: choice"),
        ("{alpha_y: 0.5}", "{}, {alpha_y: 0.25}", "{alpha_y: 0.25}", "search.enqueue[1] is {\"alpha_y\": 0.25}: is gi"),
        # rows
        ("name: NaiveMG", "name: film", "FiLM", "rows[1].name is \"FiLM\": names its trials 'film', as 'film' does"),
        ("name: NaiveMG", "name: FiLM", "FiLM, ", 'rows[1].name is "FiLM": is given twice'),
        ("name: NaiveMG", "name: '+'", "'+'", "needs a letter a-z or a digit: it names a trial"),
        ("ours: a reading", "our: a reading", "our:", "unknown key 'our' in rows[0]. Did you mean 'ours'?"),
        ("fusion: film", "fusoin: film", "fusoin", "unknown key 'fusoin' in rows[1].network. Did you mean 'fusion'?"),
        ("fusion: film", "fusion: flim", "flim", 'rows[1].network.fusion is "flim": allowed: concat, sum'),
        ("fusion: film", "fusion: 3", "3", "rows[1].network.fusion is 3: must be text"),
        ("fusion: film", "dropout: -1", "-1", "rows[1].network.dropout is -1: allowed: a finite number at least 0"),
        ("{fusion: film}", "film", "film,", 'rows[1].network is "film": must be a mapping'),
        ("fusion: film", "multimodal: false", "{name: FiLM", "network.multimodal is off: with one extractor for all"),
        (FILM, "{name: X, adversary: {enabled: false}}", "{name: X", "mod_d is on, but adversary.enabled is off"),
        (FILM, "{name: X, adversary: {grl_weight: -1}}", "-1", "rows[1].adversary.grl_weight is -1: allowed: a finite"),
        (FILM, "{name: X, modulation: {alpha_y: -1}}", "-1", "rows[1].modulation.alpha_y is -1: allowed: a finite"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_at_its_place(
    tmp_path: Path, old: str, new: str, at: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    lines = str(caught.value).splitlines()
    (line,) = [line for line in lines if message in line]
    assert line.startswith(f"{path}:{place(text, at, GOOD.index(old) if at in new else 0)}: ")
    # Next to a misspelt key the right one is missing; nothing else is wrong.
    assert all(": missing key " in other for other in lines if other != line)


@pytest.mark.parametrize(
    ("changes", "at", "message"),
    [
        (
            [("A title", "")],
            "figure: ",
            "figure is empty: must have a value; give one, or remove the key",
        ),
        (
            [("{uniform: [0.2, 0.5]}", ""), ("{alpha_y: 0.5}", "{}")],
            "alpha_y: \n",
            "search.space.alpha_y is empty: must have a value",
        ),
        ([("ours: a reading", "ours:")], "ours:", "rows[0].ours is empty: must have a value"),
        ([("{fusion: film}", "")], "{name: FiLM", "rows[1].network is empty: must have a value"),
        (
            [("fusion: film", "fusion: ")],
            "{name: FiLM",
            "rows[1].network.fusion is empty: must have a value",
        ),
        (
            [("n_trials: 12", "n_trials: 1"), ("{alpha_y: 0.5}", "{}, {alpha_y: 0.5}")],
            "[{}",
            "has more trials than n_trials, 1.",
        ),
        (
            [("[2e-3, 0.1]", "[2e-3, 0.04]")],
            "{alpha_y: 0.5",
            "leaves grl_weight out, and its own value 0.05 in adversary lies outside",
        ),
        (
            [("alpha_y: {", "alpha_f: {"), ("alpha_y: 0.5", ""), ("mod_f: true", "mod_f: false")],
            "{uniform",
            'search.space.alpha_f is {"uniform": [0.2, 0.5]}: has no effect: modulation.mod_f is off',
        ),
        (
            [("alpha_y: 0.25", "mod_y: false")],
            "{uniform",
            "has no effect: modulation.mod_y is off; turn it on, or do not vary alpha_y.",
        ),
        (
            [
                ("mod_f: true", "mod_d: false"),
                ("    alpha_y: {", "    alpha_d: {"),
                ("{alpha_y: 0.5}", "{}"),
            ],
            "{uniform",
            "has no effect: modulation.mod_d is off",
        ),
        (
            [("mod_f: true", "mod_d: false"), ("grl_weight: 0.05", "enabled: false")],
            "{log_uniform",
            "has no effect: adversary.enabled is off",
        ),
        (
            [(ALPHA_Y, RATIO), ("{alpha_y: 0.5}", "{}")],
            "{choice",
            "has no effect: between two modalities all ratios are the same; do not vary it.",
        ),
        (
            [("mod_f: true", UNBALANCED), (ALPHA_Y, RATIO), ("{alpha_y: 0.5}", "{}")],
            "{choice",
            "has no effect: each of modulation.mod_f, mod_y and mod_d is off; turn it on, or do not vary ratio.",
        ),
        (
            [
                ("mod_f: true", UNBALANCED),
                (ALPHA_Y, "apply_to: {choice: [gradient, update]}"),
                ("{alpha_y: 0.5}", "{}"),
            ],
            "{choice",
            "or do not vary apply_to.",
        ),
        (
            [
                ("mod_f: true", "mod_d: false"),
                ("grl_weight: 0.05", "enabled: false"),
                ("grl_weight: {log_uniform: [2e-3, 0.1]}", "schedule: {choice: [constant, dann]}"),
            ],
            "{choice",
            "has no effect: adversary.enabled is off",
        ),
        (
            [
                ("[emg, eeg]", "[emg, eeg, ecg]"),
                (ALPHA_Y, RATIO),
                ("{alpha_y: 0.5}", "{ratio: mean_pairwise}, {}"),
            ],
            "{}",
            "search.enqueue[1] is {}: is given twice.",
        ),
        (
            [("clinic", "clinic\nworkers: 64"), ("n_passes: 30", "batch_size: 32")],
            "{name: FiLM",
            "workers must divide the 32 epochs",
        ),
    ],
)
def test_a_mistake_that_takes_several_changes(
    tmp_path: Path, changes: list[tuple[str, str]], at: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, *changes)
    path = tmp_path / "probe.yaml"
    (line,) = str(caught.value).splitlines()
    assert message in line
    where, _, column = place(path.read_text(encoding="utf-8"), at).partition(":")
    assert line.startswith(f"{path}:{where}:")
    if "empty" not in message:
        assert line.startswith(f"{path}:{where}:{column}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows: [{name: SleepMG}]", "", "1:1: rows: a file needs a search, rows, or both."),
        ("rows: [{name: SleepMG}]", "rows: []", "4:7: rows is []: a file needs a search, rows, or both."),
        (
            "rows: [{name: SleepMG}]",
            "seeds: [2]\nsearch: {n_trials: 2, space: {dropout: {uniform: [0, 0.1]}}}",
            "4:8: seeds is [2]: has no effect without rows: trials of a search take 'seed'.",
        ),
        (
            "rows: [{name: SleepMG}]",
            "search: {n_trials: 2, space: {}}",
            "4:30: search.space is {}: must name at least one parameter to vary.",
        ),
        ("rows: [{name: SleepMG}]", "search:", "4:8: search is empty: must have a value; give one"),
    ],
)  # fmt: skip
def test_a_sweep_with_nothing_to_run_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"probe.yaml:{message}")):
        loaded(tmp_path, (old, new), text=SHORT)


def test_nothing_is_trained_on_all_subjects_without_a_search(tmp_path: Path) -> None:
    text = SHORT.replace("rows:", "refit: true\nrows:")
    with pytest.raises(
        ConfigError, match=f":{place(text, 'true')}: refit is true: has no effect w"
    ):
        loaded(tmp_path, text=text)
    assert not loaded(tmp_path, text=SHORT).refit


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    changes = [("microvolts", "uv"), ("alpha_y: 0.25", "alpha_y: -1"), ("fusion: film", "fusion: flim")]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, *changes)
    words = [line.split()[1] for line in str(caught.value).splitlines()]
    assert words == ["scale", "modulation.alpha_y", "rows[1].network.fusion"]
    assert caught.value.exit_code == 2


ONE_MODALITY = f"""\
rows: [{{name: FeatureNet}}]
modalities: [eog]
network: {{multimodal: false}}
modulation: {{{PLAIN}}}
"""


def test_one_modality_is_enough_for_featurenet(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, ("rows: [{name: SleepMG}]\n", ONE_MODALITY), text=SHORT)
    assert sweep.modalities == ("eog",)
    assert not sweep.settings().network.multimodal


def test_one_modality_is_too_few_for_a_multimodal_row(tmp_path: Path) -> None:
    rows = ONE_MODALITY.replace("Net}", "Net}, {name: M, network: {multimodal: true}}")
    with pytest.raises(ConfigError, match=r":4:28: rows\[1\] .*: modalities has one modality, but"):
        loaded(tmp_path, ("rows: [{name: SleepMG}]\n", rows), text=SHORT)


def test_a_sweep_that_varies_choices_goes_to_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    text = SLEEPMG.replace(
        "alpha_y: {uniform", "schedule: {choice: [constant, dann]}\n    alpha_y: {uniform"
    )
    path.write_text(text, encoding="utf-8")
    sweep = load_sweep(path)
    assert pickle.loads(pickle.dumps(sweep)) == sweep
