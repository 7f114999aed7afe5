"""Sweep files of any method: which class reads them, what is written back, what changed, and the shipped ones."""

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.config.changes import differences
from orchestrator.config.subjects import resolve_subjects
from orchestrator.config.sweep import dump, load_sweep
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from search_spaces.pretrain import DEFAULTS
from tests.orchestrator.config.sweep_files import SELECTIVE, SLEEPMG
from trainables.settings import FUSIONS, SleepMGSettings
from trainables.stages import Stage

SWEEPS = Path(__file__).parents[3] / "sweeps"

PRETRAIN = """\
name: probe
method: pretrain
source:
  dataset: home
  validation: [v1, v2]
encoder: {dropout: 0.25}
search:
  n_trials: 12
  enqueue: [{batch_size: 64}]
"""


def read(folder: Path, text: str, *changes: tuple[str, str]) -> SweepBase:
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "probe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_sweep(path)


def test_the_method_chooses_the_class(tmp_path: Path) -> None:
    assert isinstance(read(tmp_path, SELECTIVE), SelectiveSweep)
    assert isinstance(read(tmp_path, SLEEPMG), SleepMGSweep)
    assert isinstance(read(tmp_path, PRETRAIN), PretrainSweep)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("method: sleepnp", "2:9: method is \"sleepnp\": not allowed. Did you mean 'sleepmg'? Allowed: selective, sl"),
        ("method: 3", "2:9: method is 3: not allowed. Allowed: selective, sleepmg, pretrain."),
        ("seed: 2", "1:1: missing key 'method' in this file."),
        ("method: selective", "1:1: missing key 'source' in this file."),
    ],
)  # fmt: skip
def test_a_wrong_method_is_named_at_its_place(tmp_path: Path, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, SLEEPMG, ("method: sleepmg", new))
    assert f"{tmp_path / 'probe.yaml'}:{message}" in str(caught.value)


@pytest.mark.parametrize(
    "text", [SELECTIVE, SLEEPMG, PRETRAIN], ids=["selective", "sleepmg", "pretrain"]
)
def test_what_is_dumped_loads_to_the_same_sweep(tmp_path: Path, text: str) -> None:
    sweep = read(tmp_path, text)
    written = dump(sweep)
    again = read(tmp_path, written)
    assert again == sweep
    assert dump(again) == written
    assert differences(sweep, again) == []
    assert yaml.safe_load(written) == sweep.resolved()  # any other YAML reader agrees
    assert json.loads(json.dumps(sweep.resolved())) == sweep.resolved()


def test_what_is_dumped_is_the_file_with_every_default(tmp_path: Path) -> None:
    resolved = read(tmp_path, SELECTIVE).resolved()
    assert resolved["stages"] == ["W", "REM"]
    assert resolved["search"]["space"]["learning_rate"] == {
        "extend": False,
        "log_uniform": [5e-5, 1e-3],
    }
    assert resolved["encoder"] == {"architecture": "mrcnn", "dropout": 0.25}
    assert (resolved["workers"], resolved["cpus_per_worker"]) == (1, 1.0)

    resolved = read(tmp_path, SLEEPMG).resolved()
    assert resolved["modalities"] == ["eeg", "emg"]
    assert resolved["folds"] == {"kind": "leave_one_subject_out", "n_validation": 1}
    assert resolved["network"]["dropout"] == 0.25
    assert resolved["training"]["class_weights"] == [1.0, 1.2, 1.0, 1.0, 1.25]
    assert resolved["search"]["space"] == {"alpha_y": {"extend": False, "uniform": [0, 0.5]}}
    # A row keeps to what it sets otherwise, so that it follows the sections when they change.
    assert resolved["rows"] == [
        {"name": "NaiveMG", "ours": "a reading", "modulation": {"mod_y": False, "mod_d": False}},
        {"name": "SleepMG"},
    ]


def test_order_and_spelling_of_the_same_sweep_make_no_difference(tmp_path: Path) -> None:
    first = read(tmp_path, SELECTIVE)
    same = read(tmp_path, SELECTIVE, ("[REM, W]", "[W, REM]"), ("5e-5", "0.00005"))
    assert dump(same) == dump(first)
    first = read(tmp_path, SLEEPMG)
    same = read(tmp_path, SLEEPMG, ("[emg, eeg]", "[eeg, emg]"), ("[0, 0.5]", "[0.0, 5e-1]"))
    assert dump(same) == dump(first)


# --- shipped files -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_loads_and_opens_with_a_comment(path: Path) -> None:
    assert load_sweep(path).name == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert len(path.read_text(encoding="utf-8").partition("\n")[0]) <= 120


def selective(name: str) -> SelectiveSweep:
    sweep = load_sweep(SWEEPS / f"{name}.yaml")
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def sleepmg(name: str) -> SleepMGSweep:
    sweep = load_sweep(SWEEPS / f"{name}.yaml")
    assert isinstance(sweep, SleepMGSweep)
    return sweep


def test_the_shipped_tau_sweeps_are_what_the_readme_runs() -> None:
    real, demo = selective("tau-ucddb"), selective("tau")
    assert (real.name, demo.name) == ("tau-ucddb", "tau")
    assert real.stages == (Stage.W, Stage.N3)
    assert demo.stages == tuple(Stage)
    for sweep in (real, demo):
        assert sweep.batch_size == 32
        assert (sweep.search.n_trials, sweep.search.n_steps) == (12, 30)
        assert sweep.score.layer == "afr_gap"
        assert sweep.search.objective == "source_val"
    nights = [f"ucddb{n:03d}" for n in (2, 3, 5, 6, 7, 9, 10, 11, 13, 15, 18, 19, 21)]
    source = resolve_subjects(real.source.subjects, real.source.exclude, nights)
    assert source == [night for night in nights if night != "ucddb018"]
    assert resolve_subjects(real.source.validation, [], source) == ["ucddb010", "ucddb019"]
    assert real.target.roles(nights).adapt == real.target.roles(nights).test == ("ucddb018",)
    made = [f"shift{shift}-seed1-{n:02d}" for shift in (0, 1) for n in range(1, 9)]
    source = resolve_subjects(demo.source.subjects, demo.source.exclude, made)
    assert source == made[:8]
    assert resolve_subjects(demo.source.validation, [], source) == made[6:8]
    assert demo.target.roles(made).adapt == demo.target.roles(made).test == tuple(made[8:])


def test_the_shipped_sleepmg_search_varies_both_balances_and_lambda() -> None:
    sweep = sleepmg("sleepmg")
    assert sweep.search is not None
    assert list(sweep.search.space.declared()) == ["alpha_y", "alpha_d", "grl_weight"]
    assert (sweep.search.n_trials, sweep.search.objective) == (12, "validation")
    assert sweep.dataset == "synthetic-isruc-s3"
    assert sweep.folds.model_dump() == {"kind": "k_fold", "n_folds": 3, "n_validation": 1}
    training = sweep.training
    assert (training.batch_size, training.n_passes, training.patience) == (32, 8, 8)
    # The first trial is SleepMG as the settings have it; no trial that is tried first repeats the control.
    own = SleepMGSettings().modulation
    assert sweep.first_trials()[0] == {
        "alpha_y": own.alpha_y,
        "alpha_d": own.alpha_d,
        "grl_weight": SleepMGSettings().adversary.grl_weight,
    }
    (control,) = sweep.rows
    assert control.name == "NaiveMG"
    assert switches(sweep)["NaiveMG"] == (True, True, False, False, False)


def switches(sweep: SleepMGSweep) -> dict[str, tuple[bool, ...]]:
    """Columns of the ablation table: multimodal, GRL, mod_f, mod_y, mod_d."""
    table: dict[str, tuple[bool, ...]] = {}
    for row in sweep.rows:
        settings = sweep.row_settings(row)
        modulation = settings.modulation
        table[row.name] = (
            settings.network.multimodal,
            settings.adversary.enabled,
            modulation.mod_f,
            modulation.mod_y,
            modulation.mod_d,
        )
    return table


NONE, G, M, BOTH = ((m, g, False, False, False) for m, g in ((0, 0), (0, 1), (1, 0), (1, 1)))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("baselines", {"FeatureNet": NONE, "FeatureNet+M": M, "FeatureNet+G": G, "NaiveMG": BOTH}),
        (
            "modules",
            {
                "FeatureNet": NONE,
                "FeatureNet+G": G,
                "FeatureNet+M": M,
                "NaiveMG": BOTH,
                "SleepMG": (1, 1, 0, 1, 1),
            },
        ),
        ("fusion", dict.fromkeys(("Concat", "Sum", "Gated", "FiLM", "Attention"), M)),
        *(
            (
                name,
                {
                    "NaiveMG (xxx)": BOTH,
                    "vxx": (1, 1, 1, 0, 0),
                    "xvx": (1, 1, 0, 1, 0),
                    "xxv": (1, 1, 0, 0, 1),
                    "SleepMG (xvv)": (1, 1, 0, 1, 1),
                },
            )
            for name in ("components", "components-mass")
        ),
    ],
)
def test_the_shipped_ablations_have_the_rows_of_the_supplement(
    name: str, rows: dict[str, tuple[bool, ...]]
) -> None:
    sweep = sleepmg(f"sleepmg-{name}")
    assert switches(sweep) == rows
    assert list(switches(sweep)) == list(rows)
    assert sweep.search is None
    assert sweep.figure
    assert all(row.ours for row in sweep.rows)  # the supplement's own lists are lost
    mass = name.endswith("mass")
    assert sweep.dataset == ("synthetic-mass-ss3" if mass else "synthetic-isruc-s3")
    assert sweep.seeds == ((1,) if mass else (1, 2))
    assert sweep.folds.model_dump() == {"kind": "k_fold", "n_folds": 3, "n_validation": 1}
    assert (sweep.training.n_passes, sweep.training.batch_size) == (4 if mass else 8, 32)
    # No configuration runs twice under two names.
    settings = [sweep.row_settings(row) for row in sweep.rows]
    assert all(one not in settings[:index] for index, one in enumerate(settings))


def test_the_shipped_fusion_sweep_has_every_fusion() -> None:
    sweep = sleepmg("sleepmg-fusion")
    assert tuple(sweep.row_settings(row).network.fusion for row in sweep.rows) == FUSIONS


def test_rows_of_one_name_are_one_configuration_in_all_shipped_ablations() -> None:
    found: dict[str, SleepMGSettings] = {}
    for path in SWEEPS.glob("sleepmg-[bmf]*.yaml"):
        sweep = sleepmg(path.stem)
        for row in sweep.rows:
            settings = sweep.row_settings(row)
            assert found.setdefault(row.name, settings) == settings
    assert len(found) == 10


def test_the_shipped_pretraining_makes_encoders_that_the_tau_sweep_can_use() -> None:
    sweep, tau = load_sweep(SWEEPS / "pretrain.yaml"), selective("tau")
    assert isinstance(sweep, PretrainSweep)
    assert (sweep.source, sweep.stages, sweep.modality, sweep.seed) == (
        *(tau.source, tau.stages, tau.modality, tau.seed),
    )
    assert list(sweep.search.space.declared()) == list(DEFAULTS)
    # The first trial is AttnSleep's recipe but for the size of a batch.
    assert sweep.search.n_trials == 12
    assert sweep.first_trials() == [{**DEFAULTS, "batch_size": tau.pretrain.batch_size}]
