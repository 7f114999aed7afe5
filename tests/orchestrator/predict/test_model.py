"""Models by their names, damaged ones, and that they say what their trial said, to the last bit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, DataError, IntegrityError, RecordingError
from orchestrator.models.record import FILE, ModelRecord
from orchestrator.predict.model import LoadedModel, load_model
from orchestrator.predict.networks import one_thread
from orchestrator.psg.feed import read_signals, stored_recordings
from orchestrator.store import paths
from orchestrator.store.store import Store
from tests.orchestrator import to_stage
from tests.orchestrator.conftest import RemoteStore
from tests.stores.pages import FOLDER
from trainables import checkpoint, inference
from trainables.stages import Stage
from trainables.weights import classifier_from_bytes

ENCODER = "c5992ae116badc1c"
OF_0_1 = Store.open(str(FOLDER / "store"))


@pytest.fixture
def sweep(tmp_path: Path) -> Store:
    """A finished sweep of method selective, with the model of its chosen trial and of one arm."""
    name = "selective-finished"
    shutil.copytree(FOLDER / "store/sweeps" / name, tmp_path / "store/sweeps" / name)
    store = Store.open(str(tmp_path / "store"))
    for trial in ("t000", "arm-random"):
        to_stage.write_model(
            store, paths.model_folder(name, trial), name=f"{name}:{trial}", method="selective"
        )
    return store


def change_rows(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    path = paths.sweep_trials("selective-finished")
    table = store.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    store.write_table(path, type(table).from_pylist(rows, schema=table.schema))


def epochs() -> NDArray[np.float32]:
    """Two epochs of one channel, as a network gets them."""
    return (to_stage.signal(2).reshape(2, 1, 3000) / 20).astype(np.float32)


def refused(kind: type[Exception], store: Store, name: str) -> str:
    with pytest.raises(kind) as caught:
        load_model(store, name)
    said = str(caught.value)
    assert "\n" not in said
    return said


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("selective-finished", "t000"),  # all have the same objective, so the first one is chosen
        ("selective-finished:t000", "t000"),
        ("selective-finished:random", "arm-random"),
        ("selective-finished:arm-random", "arm-random"),
    ],
)
def test_a_sweep_its_trials_and_its_arms(sweep: Store, name: str, meant: str) -> None:
    assert load_model(sweep, name).record.name == f"selective-finished:{meant}"


def test_the_chosen_trial_is_the_finished_one_of_highest_objective(sweep: Store) -> None:
    def change(row: dict[str, Any]) -> None:
        if row["trial"] == "t002":
            row["objective"] = 0.9
        if row["trial"] == "t003":
            row.update(objective=0.95, state="stopped")
        if row["trial"] == "arm-random":
            row["objective"] = 1.0

    change_rows(sweep, change)
    said = refused(DataError, sweep, "selective-finished")
    assert "selective-finished:t002 was not kept" in said
    assert "--keep t002" in said


def test_a_trial_that_is_not_there(sweep: Store) -> None:
    said = refused(ConfigError, sweep, "selective-finished:t0002")
    assert "no trial 't0002'" in said
    assert "Did you mean 't000'?" in said or "Did you mean 't002'?" in said
    assert "all_source, no_adapt, random, t000" in said


def test_a_trial_that_failed(sweep: Store) -> None:
    change_rows(sweep, lambda row: row.update(state="failed") if row["trial"] == "t001" else None)
    assert "the trial is failed" in refused(DataError, sweep, "selective-finished:t001")


def test_no_trial_has_an_objective(sweep: Store) -> None:
    change_rows(
        sweep,
        lambda row: row.update(objective=None, state="failed") if row["kind"] == "trial" else None,
    )
    assert "selective-finished:NAME: arm-all_source" in refused(
        DataError, sweep, "selective-finished"
    )


def test_a_sweep_that_still_runs(sweep: Store) -> None:
    sweep.delete(paths.sweep_trials("selective-finished"))
    for name in ("selective-finished", "selective-finished:t000"):
        assert "has not finished" in refused(ConfigError, sweep, name)


def test_a_name_that_is_nothing(sweep: Store) -> None:
    said = refused(ConfigError, sweep, "selective-finish")
    assert "Did you mean 'selective-finished'?" in said


def test_a_sweep_wins_over_a_folder_of_its_name(
    sweep: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/selective-finished").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert load_model(sweep, "selective-finished").record.name == "selective-finished:t000"
    assert f"holds no {FILE}" in refused(ConfigError, sweep, "./selective-finished")


@pytest.mark.heavy
def test_a_folder_by_path_and_by_bare_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    to_stage.write_model(Store.open("kept"), "")
    store = Store.open("runs")
    for name in ("kept", "./kept", str(tmp_path / "kept")):
        assert load_model(store, name).record.name == "probe:t001"


def test_a_folder_in_a_bucket(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_stage.write_model(remote, "")
    opened: list[str] = []

    def from_bucket(uri: str, **_: Any) -> Store:
        opened.append(uri)
        return RemoteStore(str(remote.uri), pafs.LocalFileSystem(), remote.root)

    monkeypatch.setattr(Store, "open", from_bucket)
    assert load_model(remote, "s3://bucket/kept").record.name == "probe:t001"
    assert opened == ["s3://bucket/kept"]


# Damage


def test_a_changed_byte_of_the_weights_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    record = to_stage.write_model(store, "kept")
    path = f"kept/{record.files[0].file}"
    data = bytearray(store.read_bytes(path))
    data[-1] ^= 1
    store.write_bytes(path, bytes(data))
    assert f"{tmp_path}/{path} does not have the SHA-256" in refused(
        IntegrityError, store, str(tmp_path / "kept")
    )
    store.delete(path)
    assert f"{tmp_path}/{path} is missing" in refused(IntegrityError, store, str(tmp_path / "kept"))


def test_a_changed_byte_of_the_record_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    to_stage.write_model(store, "kept")
    data = store.read_bytes(f"kept/{FILE}")
    store.write_bytes(f"kept/{FILE}", data.replace(b"35.0", b"36.0"))
    assert f"{tmp_path}/kept/{FILE} is damaged" in refused(
        IntegrityError, store, str(tmp_path / "kept")
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"network": "transformer"}, "does not know. Known: mrcnn, sleepmg. Update"),
        ({"network": "sleepmg"}, "not of the network 'sleepmg'"),
    ],
)
def test_a_network_that_is_not_known_or_another_one(
    tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    store = Store.open(str(tmp_path))
    to_stage.write_model(store, "kept", **fields)
    assert says in refused(IntegrityError, store, str(tmp_path / "kept"))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "ran").encode())
    said = refused(ConfigError, Store.open(str(tmp_path)), str(file))
    assert "a pickle" in said
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_the_place_of_weights_is_refused_unread(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    to_stage.write_model(
        store, "kept", [b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path).encode()]
    )
    assert "not a safetensors checkpoint" in refused(IntegrityError, store, str(tmp_path / "kept"))


def test_weights_of_an_encoder_that_were_changed(tmp_path: Path) -> None:
    for folder in (f"encoders/{ENCODER}", "epochs/made-up"):
        shutil.copytree(FOLDER / "store" / folder, tmp_path / folder)
    store = Store.open(str(tmp_path))
    store.write_bytes(paths.encoder_weights(ENCODER), b"0")
    assert f"{paths.encoder_weights(ENCODER)} is missing or changed" in refused(
        IntegrityError, store, ENCODER
    )


def test_an_encoder_whose_recordings_are_gone(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / f"store/encoders/{ENCODER}", tmp_path / f"encoders/{ENCODER}")
    shutil.copytree(FOLDER / "store/epochs/made-up", tmp_path / "epochs/made-up")
    store = Store.open(str(tmp_path))
    table = store.read_table(paths.manifest("made-up"))
    store.write_table(paths.manifest("made-up"), table.slice(1))
    assert "no longer holds made-up/shift0-seed1-01" in refused(DataError, store, ENCODER)


def test_an_encoder_knows_who_it_learned_from() -> None:
    record = load_model(OF_0_1, ENCODER).record
    assert record.stages == ("W", "N2")
    assert record.subjects == ("shift0-seed1-01", "shift0-seed1-02", "shift0-seed1-03")
    assert record.training["dataset"] == "made-up"
    assert record.preprocessing["filter_hz"] == {"eeg": [0.3, 35.0]}


# Answers


def of_0_1(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signals of a held-out recording, and what version 0.1 said of them."""
    recording = next(r for r in stored_recordings(OF_0_1, "made-up") if r.recording == name)
    columns = [f"p_{stage.name}" for stage in Stage]
    said = OF_0_1.read_table(paths.predictions("pretrain-finished", ENCODER), columns)
    probability = np.stack([said[column].to_numpy() for column in columns], axis=1)
    return read_signals(OF_0_1, recording, "eeg", range(len(probability))), probability


@pytest.mark.heavy
def test_an_encoder_says_what_version_0_1_said() -> None:
    """On another processor, which may add in another order: so within the rounding of one number."""
    one_thread()
    x, expected = of_0_1("shift0-seed1-05")
    found = load_model(OF_0_1, ENCODER).probability({"eeg": x})
    np.testing.assert_allclose(found, expected, rtol=0, atol=2**-23)
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    # Of another recording, so that the comparison is one.
    assert (
        np.abs(found - load_model(OF_0_1, ENCODER).probability({"eeg": x[::-1].copy()})).max()
        > 1e-4
    )


@pytest.mark.heavy
def test_it_says_what_its_trial_says_to_the_last_bit() -> None:
    one_thread()
    model = load_model(OF_0_1, ENCODER)
    x, _ = of_0_1("shift0-seed1-05")
    network = classifier_from_bytes(OF_0_1.read_bytes(paths.encoder_weights(ENCODER)))
    trial = inference.predict(network, x, declared=model.stages)
    assert model.probability({"eeg": x}).tobytes() == trial.tobytes()


@pytest.mark.heavy
def test_in_a_batch_an_epoch_has_the_same_bits_wherever_it_is() -> None:
    """A trial predicts the epochs of several recordings together; full batches then hold others, in another place."""
    one_thread()
    model = load_model(OF_0_1, ENCODER)
    x = np.concatenate([of_0_1("shift0-seed1-05")[0], of_0_1("shift0-seed1-04")[0]])
    first = model.probability({"eeg": x[:64]})
    assert model.probability({"eeg": x[8:72]})[:56].tobytes() == first[8:].tobytes()
    # The trial's own last batch is not full; there, the bits of fewer than 16 epochs differ.
    for start in (0, 40, 48, 49, 57, 63):
        assert model.probability({"eeg": x[start:64]}).tobytes() == first[start:].tobytes()
    again = model.probability({"eeg": np.concatenate([x[:64], x[60:64]])})
    assert again.tobytes() == np.concatenate([first, first[60:]]).tobytes()


@pytest.mark.heavy
def test_several_files_of_weights_are_averaged() -> None:
    weights = [to_stage.mrcnn_weights(seed) for seed in (0, 1)]
    record = to_stage.record(weights)
    model = LoadedModel(
        record=record,
        files={e.file: w for e, w in zip(record.files, weights, strict=True)},
    )
    x = {"eeg": epochs()}
    single = [
        inference.predict(classifier_from_bytes(w), x["eeg"], declared=tuple(Stage))
        for w in weights
    ]
    np.testing.assert_allclose(model.probability(x), (single[0] + single[1]) / 2, atol=1e-7)


@pytest.mark.heavy
def test_a_subject_with_weights_of_its_own_has_those() -> None:
    weights = [to_stage.mrcnn_weights(seed) for seed in (0, 1, 2)]
    about = {"adapted_to": {"dataset": "home", "subjects": ["a", "b"]}}
    record = to_stage.record(weights, subjects=["a", "b", "b"], about=about)
    model = LoadedModel(
        record=record,
        files={e.file: w for e, w in zip(record.files, weights, strict=True)},
    )
    used = {s: [e.seed for e in model.entries_for(s)] for s in ("a", "b", "c", None)}
    assert used == {"a": [0], "b": [1, 2], "c": [0, 1, 2], None: [0, 1, 2]}
    of_a = {d: [e.seed for e in model.entries_for("a", d)] for d in ("home", "clinic", None)}
    assert of_a == {"home": [0], "clinic": [0, 1, 2], None: [0]}  # another a


@pytest.mark.heavy
def test_the_id_is_of_all_that_the_answers_depend_on() -> None:
    weights = [to_stage.mrcnn_weights(0), to_stage.mrcnn_weights(1)]

    def id_of(given: list[bytes] = weights, **fields: Any) -> str:
        return LoadedModel(record=to_stage.record(given, **fields), files={}).model_id

    same: ModelRecord = to_stage.record(weights, name="other", metrics=({"split": "test"},))
    assert LoadedModel(record=same, files={}).model_id == id_of()
    others = [
        id_of(weights[::-1]),
        id_of(subjects=["a", "b"]),
        id_of(stages=("W", "N2")),
        id_of(scale="microvolts"),
        id_of(clip_spreads=10.0),
        id_of(preprocessing={}),
        id_of(network="sleepmg"),
    ]
    assert len({id_of(), *others}) == 1 + len(others)


def test_weights_that_give_no_numbers_are_told_of_the_recording() -> None:
    state, about = checkpoint.from_bytes(to_stage.mrcnn_weights())
    broken = checkpoint.to_bytes(
        {k: v * np.nan if v.is_floating_point() else v for k, v in state.items()}, about
    )
    record = to_stage.record([broken])
    model = LoadedModel(record=record, files={record.files[0].file: broken})
    with pytest.raises(RecordingError, match="NaN"):
        model.probability({"eeg": np.zeros((1, 1, 3000), np.float32)})


# SleepMG


def folds() -> list[str]:
    return sorted(folder.name for folder in (FOLDER / "store/folds").iterdir())


@pytest.mark.heavy
@pytest.mark.parametrize("fold_id", folds())
def test_a_fold_of_sleepmg_says_what_version_0_1_said(fold_id: str) -> None:
    one_thread()
    store = OF_0_1
    about = json.loads(store.read_bytes(paths.fold_json(fold_id)))
    weights = store.read_bytes(paths.fold_weights(fold_id))
    said = store.read_table(paths.fold_predictions(fold_id)).to_pandas()
    record = to_stage.record([weights], network="sleepmg", stages=("W", "N2"))
    model = LoadedModel(record=record, files={record.files[0].file: weights})
    by_number = dict(enumerate(sorted(r.recording for r in stored_recordings(store, "made-up"))))
    n_epochs = 0
    for number, rows in said[said["role"] == "test"].groupby("recording"):
        recording = next(
            r for r in stored_recordings(store, "made-up") if r.recording == by_number[number]
        )
        assert recording.subject in about["test"]
        found = model.probability(
            {"eeg": read_signals(store, recording, "eeg", rows["epoch_index"].to_numpy())}
        )
        expected = rows[[f"p_{stage.name}" for stage in Stage]].to_numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2**-22)
        n_epochs += len(rows)
    assert n_epochs == 36 * len(about["test"])


@pytest.mark.heavy
def test_weights_are_not_given_a_modality_that_they_have_not_learned() -> None:
    weights = to_stage.sleepmg_weights({"eeg": 1, "eog": 1})
    whole = to_stage.record([weights], network="sleepmg", modalities=("eeg", "eog"))
    of_eeg = replace(whole, files=(replace(whole.files[0], modalities=("eeg",)),))
    usual, model = (
        LoadedModel(record=record, files={whole.files[0].file: weights})
        for record in (whole, of_eeg)
    )
    x = epochs()
    both = {"eeg": x, "eog": x}
    assert model.probability(both).tobytes() == usual.probability({"eeg": x}).tobytes()
    assert model.probability(both).tobytes() != usual.probability(both).tobytes()
    assert model.model_id != usual.model_id
    with pytest.raises(RecordingError, match="had none of eog, which is all that this") as caught:
        model.probability({"eog": x})
    assert caught.value.reason == "missing_channel"


def test_a_modality_that_a_recording_lacks_is_no_zeros() -> None:
    weights = to_stage.sleepmg_weights({"eeg": 1, "eog": 1})
    record = to_stage.record([weights], network="sleepmg", modalities=("eeg", "eog"))
    model = LoadedModel(record=record, files={record.files[0].file: weights})
    x = epochs()
    without = model.probability({"eeg": x})
    assert np.abs(without - model.probability({"eeg": x, "eog": np.zeros_like(x)})).max() > 0
    np.testing.assert_allclose(without.sum(axis=1), 1, atol=1e-6)
