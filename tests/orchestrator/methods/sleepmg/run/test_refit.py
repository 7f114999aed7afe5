"""The chosen configuration trained on all subjects: of what, what is said of it, and that it can be killed."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.labels import LabelGate
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import TrainingPlan, plan_cross_validation
from orchestrator.methods.sleepmg.trial import fold_training
from orchestrator.methods.sleepmg.trial.cross_validation import trial_of
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs, cross_validation_inputs
from orchestrator.methods.sleepmg.trial.refit import n_passes_after, refit_of
from orchestrator.models.record import ModelRecord, record_of
from orchestrator.predict.model import load_model
from orchestrator.psg.feed import read_signals, stored_recordings
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.keep import keep_trials
from orchestrator.telemetry.events import EventLog, read_events
from tests.orchestrator.sweeps.in_process import run_here
from trainables.errors import DivergedError
from trainables.fold import Fold, train_fold
from trainables.weights import sleepmg_to_bytes

pytestmark = pytest.mark.heavy

SUBJECTS = "abcdef"
SEEDS = (1, 2)
SEARCH = """\
refit: {refit}
adversary: {{schedule: dann}}
search:
  n_trials: 2
  max_concurrent: 1
  replicates: 2
  also: {also}
  space:
    learning_rate: {{log_uniform: [0.0001, 0.01]}}
  enqueue: [{{learning_rate: 0.001}}, {{learning_rate: {second}}}]
"""
TWO_FOLDS = "{kind: k_fold, n_folds: 2, n_validation: 1}"
MakeSweep = Callable[..., SleepMGSweep]


@pytest.fixture
def searching(make_sweep: MakeSweep) -> MakeSweep:
    def make(
        refit: str = "true", also: str = "[]", second: str = "0.0002", folds: str = TWO_FOLDS
    ) -> SleepMGSweep:
        return make_sweep(
            folds=folds,
            more=SEARCH.format(refit=refit, also=also, second=second),
        )

    return make


@pytest.fixture
def sweep(searching: MakeSweep) -> SleepMGSweep:
    return searching()


@pytest.fixture
def filled(store: Store, add_subject: Callable[..., None]) -> Store:
    for subject in SUBJECTS:
        add_subject(subject)
    return store


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of the first test is kept for the others."""
    return tmp_path_factory.mktemp("refitted") / "store"


@pytest.fixture
def finished(kept: Path, filled: Store, sweep: SleepMGSweep) -> Store:
    """A finished sweep of a row and two trials with two seeds, of which t000 or t001 was trained on all subjects."""
    if kept.exists():
        shutil.rmtree(filled.uri)
        shutil.copytree(kept, filled.uri)
    else:
        run_here(filled, sweep)
        shutil.copytree(filled.uri, kept)
    return filled


def rows_of(store: Store) -> dict[str, dict[str, Any]]:
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    return {row["trial"]: row for row in rows}


def chosen_in(store: Store) -> str:
    trials = [row for row in rows_of(store).values() if row["kind"] == "trial"]
    return str(max(trials, key=lambda row: row["objective"])["trial"])


def record_in(store: Store, trial: str) -> ModelRecord:
    path = paths.model_json("probe", trial)
    return record_of(store.read_bytes(path), path)


def passes_of(store: Store, trial: str) -> dict[int, int]:
    """Return by seed the median of the best passes of two folds, halves rounded up, by the table of folds."""
    rows = store.read_table(paths.sweep_folds("probe")).to_pylist()
    best = {
        seed: [row["best_pass"] for row in rows if (row["trial"], row["seed"]) == (trial, seed)]
        for seed in SEEDS
    }
    return {seed: math.ceil(sum(passes) / 2) for seed, passes in best.items()}


def inputs_of(store: Store, sweep: SleepMGSweep) -> CrossValidationInputs:
    with EventLog(store, "events.jsonl") as log:
        plan = plan_cross_validation(sweep, store)
        return cross_validation_inputs(store, plan, LabelGate(store, log))


def weights_in(store: Store, trial: str) -> list[bytes]:
    folder = paths.model_folder("probe", trial)
    return [store.read_bytes(f"{folder}/{file.file}") for file in record_in(store, trial).files]


def models(store: Store) -> dict[str, bytes]:
    folder = f"{paths.sweep_folder('probe')}/models"
    return {path: store.read_bytes(path) for path in store.files(folder)}


def probability(store: Store, trial: str) -> Any:
    recording = stored_recordings(store, "home")[0]
    signals = {m: read_signals(store, recording, m, list(range(10))) for m in ("eeg", "eog")}
    return load_model(store, f"probe:{trial}").probability(signals)


def test_the_model_of_the_chosen_trial_is_of_all_subjects_and_that_of_a_row_of_the_folds(
    finished: Store,
) -> None:
    chosen = chosen_in(finished)
    record, row = record_in(finished, chosen), rows_of(finished)[chosen]
    assert [(file.file, file.seed, file.fold) for file in record.files] == [
        ("seed-1.safetensors", 1, None),
        ("seed-2.safetensors", 2, None),
    ]
    assert record.subjects == tuple(SUBJECTS)
    n_passes = {str(seed): n for seed, n in passes_of(finished, chosen).items()}
    assert record.about["refit"] == {"n_passes_by_seed": n_passes, "judged": False}
    (metric,) = record.metrics
    assert (metric["split"], metric["macro_f1"]) == ("fold test", row["test_macro_f1"])
    of_row = record_in(finished, "row-naivemg-seed1")
    assert [file.fold for file in of_row.files] == [0, 1]
    assert "refit" not in of_row.about
    assert len(models(finished)) == 2 * 3, "another trial has none"


def test_it_is_the_training_by_hand_bit_for_bit(finished: Store, sweep: SleepMGSweep) -> None:
    torch.set_num_threads(1)
    chosen = chosen_in(finished)
    inputs = inputs_of(finished, sweep)
    settings = sweep.settings_for({"learning_rate": rows_of(finished)[chosen]["learning_rate"]})
    everybody = np.arange(len(inputs.epochs.stages))
    fold = Fold.of(inputs.epochs, everybody, None, sweep.stages)
    assert fold.n_domains == len(SUBJECTS)
    found = weights_in(finished, chosen)
    for seed, weights in zip(SEEDS, found, strict=True):
        outcome = train_fold(
            inputs.epochs,
            fold,
            declared=sweep.stages,
            settings=settings,
            seed=seed,
            n_passes=passes_of(finished, chosen)[seed],
        )
        channels = inputs.epochs.n_channels
        assert weights == sleepmg_to_bytes(outcome.model, settings, channels, fold.n_domains)


def test_it_stages_a_recording_and_not_as_the_folds_do(finished: Store) -> None:
    chosen = chosen_in(finished)
    of_all = probability(finished, chosen)
    np.testing.assert_allclose(of_all.sum(axis=1), 1, rtol=1e-5)
    (told,) = keep_trials(finished, "probe", [chosen])
    assert told.endswith(f"/models/{chosen}")
    assert "refit" in record_in(finished, chosen).about, "what is kept already stays"
    for path in finished.files(paths.model_folder("probe", chosen)):
        finished.delete(path)
    list(keep_trials(finished, "probe", [chosen]))
    assert [file.fold for file in record_in(finished, chosen).files] == [0, 1] * 2
    assert np.abs(probability(finished, chosen) - of_all).max() > 1e-4


def test_another_trial_is_kept_as_its_folds_were_trained(finished: Store) -> None:
    (other,) = {"t000", "t001"} - {chosen_in(finished)}
    list(keep_trials(finished, "probe", [other]))
    record = record_in(finished, other)
    assert [(file.seed, file.fold) for file in record.files] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert "refit" not in record.about


def test_the_ledger_says_what_stages_of_all_are_read_for(finished: Store) -> None:
    read = [
        event
        for event in read_events(finished, paths.sweep_events("probe"))
        if event["event"] == "labels_read"
    ]
    assert [event["split"] for event in read] == ["fold_train", "fold_validation", "fold_test"]
    assert read[0]["purpose"] == (
        "training and early stop; a fold does not see the stages of its test subjects; after the search, a training "
        "sees those of all"
    )
    assert len(read[0]["recordings"]) == len(SUBJECTS)


def test_its_id_is_of_the_passes_and_of_no_fold(finished: Store, sweep: SleepMGSweep) -> None:
    inputs, settings = inputs_of(finished, sweep), sweep.settings()
    fold = inputs.folds[0]
    plain = TrainingPlan(test=fold.test, validation=fold.validation, train=fold.train)
    assert inputs.fold_id(plain, settings, 1) == inputs.fold_id(fold, settings, 1)
    ids = {
        inputs.fold_id(plan, settings, 1)
        for plan in (
            fold,
            TrainingPlan(train=inputs.subjects),
            TrainingPlan(train=inputs.subjects, n_passes=1),
            TrainingPlan(train=inputs.subjects, n_passes=2),
        )
    }
    assert len(ids) == 4


def test_its_passes_are_the_median_of_those_of_the_folds_with_its_seed(
    filled: Store, searching: MakeSweep
) -> None:
    inputs = inputs_of(filled, searching(folds="{kind: k_fold, n_folds: 3, n_validation: 1}"))
    of_folds = trial_of(inputs, inputs.sweep.settings(), SEEDS)
    for seed, best_passes in zip(SEEDS, ([9, 2, 4], [3, 1, 1]), strict=True):
        for fold, best_pass in zip(inputs.folds, best_passes, strict=True):
            record = {"n_steps": 1, "n_passes": 9, "best_pass": best_pass, "history": []}
            path = paths.fold_json(inputs.fold_id(fold, of_folds.settings, seed))
            filled.write_bytes(path, json.dumps(record).encode())
    found = refit_of(inputs, of_folds)
    assert [(plan.train, plan.n_passes) for plan in found.refit] == [
        (tuple(SUBJECTS), 4),
        (tuple(SUBJECTS), 1),
    ]
    assert (found.seeds, found.settings, found.stored) == (SEEDS, of_folds.settings, ())
    assert found.signature != of_folds.signature
    assert [n_passes_after(passes) for passes in ([1], [1, 2], [2, 5, 6, 9])] == [1, 2, 6]


def refits_in(store: Store) -> list[str]:
    """Return the folders of trainings that nobody tested."""
    records = [path for path in store.files("folds") if path.endswith("fold.json")]
    return [
        path.rpartition("/")[0]
        for path in records
        if not json.loads(store.read_bytes(path))["test"]
    ]


def unfinished(store: Store) -> None:
    """Have a sweep that ended before anything was trained on all subjects."""
    for folder in (*refits_in(store), f"{paths.sweep_folder('probe')}/models"):
        shutil.rmtree(store.uri_of(folder))
    store.delete(paths.sweep_trials("probe"))


def test_a_killed_one_goes_on_from_its_checkpoint_to_the_same_bits(
    finished: Store, sweep: SleepMGSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    expected, n_refits = models(finished), len(refits_in(finished))
    assert n_refits == len(SEEDS)
    before = {path for path in finished.files("folds")}
    unfinished(finished)
    monkeypatch.setattr(fold_training, "CHECKPOINT_STEPS", 1)
    write = Store.write_bytes

    def dying(self: Store, path: str, data: bytes) -> Any:
        found = write(self, path, data)
        if path.endswith("checkpoint.safetensors"):
            raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", dying)
        with pytest.raises(Killed):
            run_here(finished, sweep)
    (checkpoint,) = set(finished.files("folds")) - before
    assert models(finished) == {}
    resumed: list[bool] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        resumed.append(options["checkpoints"].resume_from is not None)
        return train_fold(*arguments, **options)

    monkeypatch.setattr(fold_training, "train_fold", watched)
    run_here(finished, sweep)
    assert resumed == [True, False]
    assert not finished.exists(checkpoint)
    assert models(finished) == expected
    assert set(finished.files("folds")) == before


def test_one_that_fails_leaves_no_model_and_says_how_to_get_that_of_the_folds(
    finished: Store,
    sweep: SleepMGSweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: Any, **options: Any) -> Any:
        raise DivergedError(f"after {options['n_passes']} passes")

    chosen = chosen_in(finished)
    unfinished(finished)
    monkeypatch.setattr(fold_training, "train_fold", failing)
    run_here(finished, sweep)
    told = capsys.readouterr().err
    assert (
        f"{chosen} has no model: its training after the search failed (DivergedError: aft" in told
    )
    assert f"`orchestrator sweep FILE --keep {chosen}` keeps the networks that it trained" in told
    assert {path.split("/")[-2] for path in models(finished)} == {"row-naivemg-seed1"}


def test_it_can_be_wanted_after_the_sweep_has_begun(
    finished: Store, searching: MakeSweep, sweep: SleepMGSweep
) -> None:
    expected = models(finished)
    unfinished(finished)
    n_before = len(finished.files("folds"))
    run_here(finished, searching(refit="false"))
    assert len(finished.files("folds")) == n_before
    assert len(models(finished)) == 3 + 5, "of a row two folds, of the trial two with each seed"
    # As if it had been killed when its models were written, and went on with another wish.
    finished.delete(paths.sweep_trials("probe"))
    run_here(finished, sweep)
    assert models(finished) == expected
    finished.delete(paths.sweep_trials("probe"))
    run_here(finished, searching(refit="false"))
    assert len(models(finished)) == 3 + 5


def test_all_trials_on_the_front_are_trained_on_all_subjects(
    filled: Store, searching: MakeSweep
) -> None:
    """Two that stage alike are both on it, as neither is better."""
    table = run_here(filled, searching(also="[worst_subject]", second="0.001000001"))
    fronts = dict(zip(table["trial"].to_pylist(), table["on_front"].to_pylist(), strict=True))
    assert fronts == {"row-naivemg-seed1": None, "t000": True, "t001": True}
    assert weights_in(filled, "t000") != weights_in(filled, "t001")
    for trial in ("t000", "t001"):
        assert [file.fold for file in record_in(filled, trial).files] == [None, None]
    assert len(refits_in(filled)) == 2 * len(SEEDS)
