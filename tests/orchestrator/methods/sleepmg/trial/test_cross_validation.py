"""A trial in this process: what it may see, that folds are trained once, and that a stopped one goes on."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import ConfigError, DataError, IntegrityError
from orchestrator.labels import LabelGate
from orchestrator.method import Order
from orchestrator.methods.sleepmg.config.search import Search
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import plan_cross_validation
from orchestrator.methods.sleepmg.trial import cross_validation as trial
from orchestrator.methods.sleepmg.trial import fold_training
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs, cross_validation_inputs
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from trainables.errors import CheckpointError
from trainables.stages import UNSCORED
from trainables.training import Seconds

MakeSweep = Callable[..., SleepMGSweep]
AddSubject = Callable[..., None]


@pytest.fixture
def inputs(store: Store, add_subject: AddSubject, make_sweep: MakeSweep) -> CrossValidationInputs:
    torch.set_num_threads(1)
    for subject in "abcd":
        add_subject(subject, channels={"eeg": 2} if subject == "b" else {"eeg": 2, "eog": 1})
    plan = plan_cross_validation(make_sweep(), store)
    with EventLog(store, "events.jsonl") as log:
        return cross_validation_inputs(store, plan, LabelGate(store, log))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what the first test trains is kept for the others."""
    return tmp_path_factory.mktemp("trained") / "store"


@pytest.fixture
def trained(kept: Path, inputs: CrossValidationInputs, store: Store) -> str:
    """The signature of a cross-validation that has run in the store."""
    settings = inputs.sweep.settings()
    if kept.exists():
        shutil.copytree(kept, store.uri, dirs_exist_ok=True)
    else:
        trial.run(inputs, settings, 1)
        for folder in ("folds", "sweeps"):
            shutil.copytree(Path(store.uri, folder), kept / folder)
    return trial.signature(inputs, settings, 1)


def files(store: Store, folder: str) -> dict[str, int]:
    root = Path(store.uri)
    return {p: (root / p).stat().st_mtime_ns for p in store.files(folder)}


def test_a_fold_sees_no_stage_of_its_test_subjects(inputs: CrossValidationInputs) -> None:
    settings = inputs.sweep.settings()
    for plan in inputs.folds:
        epochs, fold = inputs.fold(plan, settings)
        test = inputs.rows_of(plan.test)
        assert (epochs.stages[test] == UNSCORED).all()
        assert (inputs.epochs.stages[test] != UNSCORED).all()
        assert not np.isin(test, [*fold.train, *fold.validation]).any()
        names = np.array(inputs.subjects)
        assert set(names[epochs.subject[fold.train]]) == set(plan.train)
        assert set(names[epochs.subject[fold.validation]]) == set(plan.validation)
        assert fold.n_domains == len(plan.train)


def test_a_missing_modality_is_marked(inputs: CrossValidationInputs) -> None:
    is_b = inputs.epochs.subject == 1
    assert inputs.epochs.present[~is_b].all()
    assert inputs.epochs.present[is_b].tolist() == [[True, False]] * is_b.sum()
    assert not inputs.epochs.x["eog"][is_b].any()


@pytest.mark.heavy
def test_predictions_cover_each_subject_once_as_test(
    inputs: CrossValidationInputs, store: Store, trained: str
) -> None:
    parts: list[int] = []
    name = trial.run(inputs, inputs.sweep.settings(), 1, parts.append)
    assert name == trained
    assert parts == [1, 2, 3, 4]
    table = store.read_table(paths.predictions("probe", name)).to_pandas()
    test = table[table["role"] == "test"]
    assert sorted(zip(test["recording"], test["epoch_index"], strict=True)) == [
        (r, e) for r in range(4) for e in range(10)
    ]
    assert test.groupby("fold")["recording"].unique().tolist() == [[0], [1], [2], [3]]
    validation = table[table["role"] == "objective"]
    assert validation.groupby("fold")["recording"].unique().tolist() == [[1], [2], [3], [0]]
    assert {"own_eeg", "own_eog"} <= set(table.columns)


def searching(inputs: CrossValidationInputs, **keys: Any) -> CrossValidationInputs:
    search = Search.model_validate(
        {"n_trials": 1, "space": {"alpha_y": {"uniform": (0, 1)}}, **keys}, strict=False
    )
    return replace(inputs, sweep=inputs.sweep.model_copy(update={"search": search}))


@pytest.mark.heavy
@pytest.mark.usefixtures("trained")
def test_several_seeds_report_fold_by_fold(inputs: CrossValidationInputs, store: Store) -> None:
    twice = searching(inputs, replicates=2)
    settings, told = inputs.sweep.settings(), []
    both = trial.configured(twice, "t000", {})
    assert (both.settings, both.seeds) == (settings, (1, 2))
    told_to = lambda n, value=None: told.append((n, value))  # noqa: E731
    trial.train(Order(inputs=twice, trial=both, after_part=told_to))
    assert [n for n, _ in told] == [1, 2, 3, 4, 5, 6, 7]
    reached = [
        trial.best_validation(trial.fold_record(store, inputs.fold_id(fold, settings, seed)))
        for seed in (1, 2)
        for fold in inputs.folds
    ]
    assert [value for _, value in told] == [np.mean(reached[: n + 1]) for n in range(7)]
    own = [trial.signature(inputs, settings, seed) for seed in (1, 2)]
    assert all(store.exists(paths.predictions("probe", each)) for each in own)
    assert both.stored == tuple(own)
    assert both.signature not in own
    assert trial.configured(inputs, "t000", {}).signature == own[0]


@pytest.mark.heavy
def test_a_scheduler_may_look_after_each_pass(inputs: CrossValidationInputs, store: Store) -> None:
    level = {"name": "asha", "level": "pass"}
    settings = replace(
        inputs.sweep.settings(), training=replace(inputs.sweep.settings().training, n_passes=3)
    )
    told: list[tuple[int, float | None]] = []
    of_passes = searching(inputs, scheduler=level)
    longer = replace(trial.configured(of_passes, "t000", {}), settings=settings)
    told_to = lambda n, value=None: told.append((n, value))  # noqa: E731
    trial.train(Order(inputs=of_passes, trial=longer, after_part=told_to))
    assert [n for n, _ in told] == list(range(1, 12)), "three passes in each of four folds"
    history = trial.fold_record(store, inputs.fold_id(inputs.folds[0], settings, 1))["history"]
    validation = [metrics["validation"] for metrics in history]
    assert [value for _, value in told[:3]] == [*validation[:2], max(validation)]


def made_of(
    store: Store,
    add_subject: AddSubject,
    sweep: SleepMGSweep,
    channels: dict[str, dict[str, int]],
) -> CrossValidationInputs:
    torch.set_num_threads(1)
    for subject, of in channels.items():
        add_subject(subject, channels=of)
    with EventLog(store, "events.jsonl") as log:
        return cross_validation_inputs(
            store, plan_cross_validation(sweep, store), LabelGate(store, log)
        )


BOTH, EEG, EOG = {"eeg": 2, "eog": 1}, {"eeg": 2}, {"eog": 1}


@pytest.mark.heavy
def test_a_modality_that_nobody_was_trained_on_has_no_say(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    inputs = made_of(store, add_subject, make_sweep(), {"a": BOTH, "b": EEG, "c": EEG, "d": EEG})
    first = inputs.folds[0]
    assert first.test == ("a",)  # the only one with EOG
    epochs, _ = inputs.fold(first, inputs.sweep.settings())
    assert not epochs.present[:, 1].any()
    assert not epochs.x["eog"].any()
    assert inputs.epochs.present[:, 1].any(), "other folds may see it"
    name = trial.run(inputs, inputs.sweep.settings(), 1)
    table = store.read_table(paths.predictions("probe", name)).to_pandas()
    # A modality that an epoch lacks stages nothing; so does one without training.
    assert table[table["fold"] == 0]["own_eog"].isna().all()
    lacks = table["recording"] != 0
    assert table[lacks]["own_eog"].isna().all()
    assert not table["own_eeg"].isna().any()
    record = trial.fold_record(store, inputs.fold_id(inputs.folds[1], inputs.sweep.settings(), 1))
    assert inputs.folds[1].validation == ("c",)
    assert "macro_f1/eeg" in record["history"][-1]["details"]
    assert "macro_f1/eog" not in record["history"][-1]["details"]


def test_a_recording_that_nothing_can_stage_is_refused(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    inputs = made_of(store, add_subject, make_sweep(), {"a": EOG, "b": EEG, "c": EEG, "d": EEG})
    with pytest.raises(DataError, match=r"fold 0 .* a recording of a has none of the modalities"):
        inputs.check()


def test_a_discriminator_of_one_group_is_refused(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    sweep = make_sweep(
        folds="{kind: k_fold, n_folds: 2}", more="adversary: {domains: group}", batch_size="2"
    )
    inputs = made_of(store, add_subject, sweep, dict.fromkeys("abcdef", BOTH))
    with pytest.raises(ConfigError, match="one domain only, and a discriminator needs two"):
        inputs.check()


@pytest.mark.heavy
def test_a_damaged_checkpoint_is_named(inputs: CrossValidationInputs, store: Store) -> None:
    settings = inputs.sweep.settings()
    path = paths.fold_checkpoint(inputs.fold_id(inputs.folds[0], settings, 1))
    store.write_bytes(path, b"damaged")
    with pytest.raises(CheckpointError, match=f"{store.uri_of(path)}: .* Remove it"):
        trial.run(inputs, settings, 1)


@pytest.mark.heavy
@pytest.mark.usefixtures("trained")
def test_what_is_trained_is_not_trained_again(inputs: CrossValidationInputs, store: Store) -> None:
    settings = inputs.sweep.settings()
    before = files(store, "folds")
    assert len([path for path in before if path.endswith("fold.json")]) == 4
    assert not [path for path in before if "checkpoint" in path]
    told: list[Seconds] = []
    trial.run(inputs, settings, 1, trained=told.append)
    assert told == []
    assert files(store, "folds") == before
    trial.run(inputs, settings, 2, trained=told.append)
    assert len(told) == 4
    assert all(0 < seconds.waited < seconds.total for seconds in told)
    assert len(files(store, "folds")) == 2 * len(before)


class Stopped(Exception):
    """Ends a trial between two folds."""


def stop_after(n_folds: int) -> Callable[[int], None]:
    def stop(n_done: int) -> None:
        if n_done == n_folds:
            raise Stopped

    return stop


@pytest.mark.heavy
def test_a_trial_can_end_between_folds(inputs: CrossValidationInputs, store: Store) -> None:
    settings = inputs.sweep.settings()
    found = []
    for n_folds in (1, 2):
        with pytest.raises(Stopped):
            trial.run(inputs, settings, 1, stop_after(n_folds))
        found.append(files(store, "folds"))
        assert len([path for path in found[-1] if path.endswith("fold.json")]) == n_folds
    assert found[0].items() <= found[1].items()


@pytest.mark.heavy
@pytest.mark.usefixtures("trained")
def test_a_killed_fold_goes_on_to_the_same_weights(
    inputs: CrossValidationInputs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    settings = inputs.sweep.settings()
    fold_id = inputs.fold_id(inputs.folds[0], settings, 1)
    expected = store.read_bytes(paths.fold_weights(fold_id))
    expected_history = trial.fold_record(store, fold_id)["history"]
    for path in store.files("folds"):
        store.delete(path)
    monkeypatch.setattr(fold_training, "CHECKPOINT_STEPS", 1)
    write = Store.write_bytes
    saved = 0

    def dying(self: Store, path: str, data: bytes) -> Any:
        nonlocal saved
        found = write(self, path, data)
        saved += path == paths.fold_checkpoint(fold_id)
        if saved == 3:
            raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", dying)
        with pytest.raises(Killed):
            trial.run(inputs, settings, 1)
    assert store.exists(paths.fold_checkpoint(fold_id))
    assert not store.exists(paths.fold_weights(fold_id))
    with pytest.raises(Stopped):
        trial.run(inputs, settings, 1, stop_after(1))
    assert store.read_bytes(paths.fold_weights(fold_id)) == expected
    assert trial.fold_record(store, fold_id)["history"] == expected_history


def test_folds_that_cannot_be_trained_are_refused_before_the_first(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    for subject in "abcd":
        add_subject(subject, stages=[0, 1, 2, 3, 4 if subject == "a" else 2] * 2)
    with EventLog(store, "events.jsonl") as log:
        gate = LabelGate(store, log)
        inputs = cross_validation_inputs(store, plan_cross_validation(make_sweep(), store), gate)
        with pytest.raises(DataError, match=r"fold 0 \(test subjects a\): .* has stage REM"):
            inputs.check()
        four = "stages: [W, N1, N2, N3]"
        sweep = make_sweep(more=f"workers: 8\n{four}")
        inputs = cross_validation_inputs(store, plan_cross_validation(sweep, store), gate)
        inputs.check()  # 16 to 20 training epochs, 8 in a batch
        sweep = make_sweep(more=f"workers: 2\n{four}", batch_size="64")
        inputs = cross_validation_inputs(store, plan_cross_validation(sweep, store), gate)
        with pytest.raises(ConfigError, match="batch_size is 64; allowed with 2 workers and"):
            inputs.check()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", bytes(9), b"\xff", b'{"n_steps": 7', b'{"n_steps": 7}'],
    ids=str,
)
def test_a_damaged_record_of_a_fold_is_named(store: Store, content: bytes) -> None:
    store.write_bytes(paths.fold_json("f00d"), content)
    with pytest.raises(
        IntegrityError, match=r"folds/f00d/fold\.json:1:\d+ is damaged: .* fold again"
    ):
        trial.fold_record(store, "f00d")
