"""A target whose stages are noise: the sweep trains, predicts and decides what it does with those of a scorer."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.sweep import load_sweep
from orchestrator.labels import Split
from orchestrator.methods.pretrain.trial.encoder import ensure_encoder
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.search.study import Study, name_of, replicates_of, reused_from
from orchestrator.telemetry.events import read_events
from tests.orchestrator.methods.selective.scored import score_here
from tests.orchestrator.sweeps.in_process import run_here
from tests.orchestrator.sweeps.noise import differing, with_noise

pytestmark = pytest.mark.heavy

SWEEP = """\
name: probe
method: selective
keep_models: all
source: {{dataset: home, validation: [v1, v2]}}
{target}
batch_size: 8
pretrain: {{n_passes: 1, batch_size: 8, min_passes: 1, n_full_rate_passes: 1}}
{arms}
search:
  n_trials: {n_trials}
  n_steps: 1
  max_concurrent: 1
  enqueue_taus: [0.5]
  {search}
"""
# The last trial of each is drawn by what came of the first two.
TPE = "sampler: {name: tpe, options: {n_startup_trials: 2}}"
NSGA = "sampler: {name: nsgaii, options: {population_size: 2}}"
ARMS = "arms: [no_adapt, all_source, random, lowest]"
CASES = {
    "all objectives": {
        "target": "target: {dataset: clinic, subjects: [t1, t2]}",
        "arms": ARMS,
        "n_trials": 4,
        "search": "objective: target_information\n  also: [cost, transfer_margin]\n  replicates: 2\n"
        f"  space: {{n_steps: {{integer: [1, 2]}}}}\n  {NSGA}",
    },
    "each subject by itself": {
        "target": "target: {dataset: clinic, exclude: [t3]}\nadapt_to: subject",
        "arms": ARMS,
        "n_trials": 3,
        "search": f"objective: target_certainty\n  replicates: 2\n  {TPE}",
    },
    "adapted to some and tested on others": {
        "target": "target: {dataset: clinic, adapt: [t1], test: [t1, t2]}",
        "arms": "arms: []",
        "n_trials": 3,
        "search": f"objective: target_emd\n  {TPE}",
    },
    # Its stages choose among the trials; those of all others are noise.
    "an oracle of subject t3": {
        "target": "target: {dataset: clinic, validation: [t3]}",
        "arms": "arms: []",
        "n_trials": 3,
        "search": f"objective: oracle_target_val\n  {TPE}",
    },
}
NOISY = ("t1", "t2")

JUDGED = {"target_macro_f1", "target_accuracy", "target_kappa"}
"""Columns of the final table that the target's stages decide."""
JUDGED_OF_MODEL = {"metrics.1.macro_f1", "metrics.1.accuracy", "metrics.1.kappa"}
JUDGED_BY_SUBJECT = (
    "macro_f1",
    "accuracy",
    "kappa",
    "f1_",
    "W_as",
    "N1_as",
    "N2_as",
    "N3_as",
    "REM_as",
)
STAGE_COUNTS = {f"target_stage_counts.{stage}" for stage in ("W", "N1", "N2", "N3", "REM")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where recordings and encoders are kept from one test to the next."""
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def nights(store: Store, add_night: Callable[..., None]) -> Store:
    """Three target subjects, one of whom has two nights; not all epochs are scored."""
    add_night("home", "s1", [0, 1, 2, 3, 4] * 8)
    add_night("home", "s2", [2, 0, 4, 1, 3] * 5 + [-1, 2], flat=[3])
    add_night("home", "v1", [2] * 4)
    add_night("home", "v2", [0, 3] * 2)
    add_night("clinic", "t1", [2, -1, 0] * 3, flat=[1])
    add_night("clinic", "t1", [2, 3, 0, 1], recording="t1-n2")
    add_night("clinic", "t2", [0, 2, -1, 4] * 2)
    add_night("clinic", "t3", [0, 2] * 4)
    return store


def sweep_of(case: str, folder: Path) -> SelectiveSweep:
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(**CASES[case]), encoding="utf-8")
    sweep = load_sweep(file)
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def finished(store: Store, sweep: SelectiveSweep, kept: Path) -> Store:
    """Run a sweep in a store; its encoder is pretrained there, in the first test."""
    if not kept.exists():
        ensure_encoder(store, plan_sweep(sweep, store).encoder_request())
        shutil.copytree(store.uri_of("encoders"), kept)
    elif not store.exists("encoders"):
        shutil.copytree(kept, store.uri_of("encoders"))
    score_here(store, plan_sweep(sweep, store))
    table = run_here(store, sweep)
    assert set(table["state"].to_pylist()) == {"complete"}
    return store


@pytest.mark.parametrize(
    "case",
    [
        "all objectives",
        "each subject by itself",
        pytest.param("adapted to some and tested on others", marks=pytest.mark.full),
        pytest.param("an oracle of subject t3", marks=pytest.mark.full),
    ],
)
def test_noise_in_the_stages_of_the_target_changes_nothing_but_how_it_is_judged(
    case: str, nights: Store, kept: Path, tmp_path: Path
) -> None:
    sweep = sweep_of(case, tmp_path)
    noisy = with_noise(nights, tmp_path / "noisy", "clinic", NOISY)
    true = finished(nights, sweep, kept / "true")
    noise = finished(noisy, sweep, kept / "noise")

    assert proposed(noise, sweep) == proposed(true, sweep)
    assert predicted(noise) == predicted(true)
    names = true.read_table(paths.sweep_trials("probe"))["trial"].to_pylist()
    assert len(names) == len(sweep.arms) + sweep.search.n_trials
    assert changed_files(true, noise) == {
        paths.sweep_trials("probe"),
        paths.sweep_trials_by_subject("probe"),
        paths.sweep_manifest("probe"),
        *(paths.model_json("probe", name) for name in names),
    }
    trials, by_subject, manifest, *models = (
        differing(true, noise, path)
        for path in (
            paths.sweep_trials("probe"),
            paths.sweep_trials_by_subject("probe"),
            paths.sweep_manifest("probe"),
            *(paths.model_json("probe", name) for name in names),
        )
    )
    assert trials - JUDGED == {"signature"}
    assert all(column.startswith(JUDGED_BY_SUBJECT) for column in by_subject)
    ids = {"score_id"} if sweep.target.adapt is None else {"score_id", "data_id"}
    assert manifest - STAGE_COUNTS == ids
    for model in models:
        assert model - JUDGED_OF_MODEL == {"about.signature", "about.score_id", "sha256"}
    assert "target_accuracy" in trials, "the noise has reached who judges"
    for store in (true, noise):
        *search, last = splits_read(store)
        assert (last, Split.TARGET_TEST in search) == (Split.TARGET_TEST, False)


def proposed(store: Store, sweep: SelectiveSweep) -> list[Any]:
    """Return what the search proposed, in order, and what it heard of it: all values, and that of each seed."""
    journal = Path(store.uri_of(paths.sweep_journal("probe")))
    return [
        (name_of(trial), trial.params, trial.values, replicates_of(trial), reused_from(trial))
        for trial in Study("probe", journal, sweep.search.directions).trials
    ]


def predicted(store: Store) -> list[bytes]:
    """Return the content of all predictions; their names hold the id of the epochs."""
    folder = f"{paths.sweep_folder('probe')}/predictions"
    found = sorted(store.read_bytes(path) for path in store.files(folder))
    assert found
    return found


def changed_files(true: Store, noise: Store) -> set[str]:
    """Return which files of the sweep do not have the same bytes, but for predictions and logs."""
    of_true, of_noise = (
        {
            path: store.read_bytes(path)
            for path in store.files(paths.sweep_folder("probe"))
            if "/predictions/" not in path and not path.endswith((".journal", ".jsonl"))
        }
        for store in (true, noise)
    )
    assert of_true.keys() == of_noise.keys()
    return {path for path in of_true if of_true[path] != of_noise[path]}


def splits_read(store: Store) -> list[str]:
    events = read_events(store, paths.sweep_events("probe"))
    return [event["split"] for event in events if event["event"] == "labels_read"]
