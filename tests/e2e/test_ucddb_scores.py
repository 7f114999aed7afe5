"""Pretraining epochs, features and score table of the thirteen real nights."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ot
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from orchestrator.alignment.encode import encode_recordings, read_features
from orchestrator.alignment.scores import is_complete
from orchestrator.config.sweep import load_sweep
from orchestrator.errors import IntegrityError
from orchestrator.labels import LabelGate, Split
from orchestrator.methods.pretrain.trial.encoder import ensure_encoder
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import SweepPlan, plan_sweep
from orchestrator.methods.selective.run.batches import batch_stages
from orchestrator.methods.selective.run.inputs import trial_inputs
from orchestrator.methods.selective.run.scoring import Scored, run_scoring
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog, read_events
from trainables import inference, selective
from trainables.stages import Stage
from trainables.weights import classifier_from_bytes

if TYPE_CHECKING:
    from tests.e2e.conftest import Done

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

LAYER, DIM = "afr_flat", 2400
EARLY_STOP, VALIDATION, TARGET = "ucddb010", "ucddb019", "ucddb018"
TRAIN = [f"ucddb0{n}" for n in ("02", "03", "05", "06", "07", "09", "11", "13", "15", "21")]


@pytest.fixture(scope="module")
def sweep(root: Path, tmp_path_factory: pytest.TempPathFactory) -> SelectiveSweep:
    """The example file with one pass of pretraining and flattened features."""
    text = (root / "sweeps" / "tau-ucddb.yaml").read_text(encoding="utf-8")
    for old, new in (("n_passes: 8", "n_passes: 1"), ("layer: afr_gap", f"layer: {LAYER}")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("sweep") / "flat.yaml"
    path.write_text(text, encoding="utf-8")
    sweep = load_sweep(path)
    assert isinstance(sweep, SelectiveSweep)
    return sweep


@pytest.fixture(scope="module")
def ucddb_store(
    ray_cluster: Any, test_data: Path, nights_done: "Done", tmp_path_factory: Any
) -> Store:
    """A store of this file's own with the thirteen real nights."""
    folder: Path = tmp_path_factory.mktemp("ucddb")
    shutil.copytree(nights_done.store / "epochs", folder / "epochs")
    return Store.open(str(folder), writable=True)


@pytest.fixture(scope="module")
def seen_in_pretraining(sweep: SelectiveSweep, ucddb_store: Store) -> dict[str, Any]:
    """What the training code received when the encoder was pretrained."""
    plan = plan_sweep(sweep, ucddb_store)
    seen: dict[str, Any] = {}
    pretrain = selective.pretrain

    def spy(x: Any, stages: Any, x_stop: Any, stages_stop: Any, **options: Any) -> Any:
        seen.update(x=x, stages=stages, x_stop=x_stop, stages_stop=stages_stop, **options)
        x, stages = x[::8], stages[::8]  # nobody asks how good the encoder is
        return pretrain(x, stages, x_stop, stages_stop, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selective, "pretrain", spy)
        ensure_encoder(ucddb_store, plan.encoder_request())
    return seen


@pytest.fixture(scope="module")
def scored(
    sweep: SelectiveSweep, ucddb_store: Store, seen_in_pretraining: dict[str, Any]
) -> Scored:
    return run_scoring(ucddb_store, sweep)


@pytest.fixture(scope="module")
def plan(scored: Scored) -> SweepPlan:
    return scored.plan


@pytest.fixture
def copy(ucddb_store: Store, scored: Scored, tmp_path: Path) -> Iterator[Store]:
    """A store that a test may change, with all that scoring reads and writes."""
    for folder in ("epochs", "encoders", "features", "scores"):
        shutil.copytree(Path(ucddb_store.uri) / folder, tmp_path / folder)
    yield Store.open(str(tmp_path))
    shutil.rmtree(tmp_path)


def raw(store: Store, subject: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Stage, flags and scaled signals of a night, straight from its file."""
    (path,) = (Path(store.uri) / "epochs" / "ucddb" / subject).glob("*.parquet")
    table = pq.read_table(path)
    (channel,) = json.loads(table.schema.metadata[b"psg"])["channels"]["eeg"]
    column = table["eeg"].combine_chunks()
    counts = column.storage.flatten().to_numpy().reshape(len(column), 1, -1)
    signal = (counts * channel["step_uv"] - channel["center_uv"]) / channel["spread_uv"]
    return table["stage"].to_numpy(), table["flags"].to_numpy(), np.clip(signal, -20, 20)


def assert_same_signals(x: NDArray[Any], expected: NDArray[Any]) -> None:
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


def manifest(store: Store) -> dict[str, dict[str, Any]]:
    rows = store.read_table(paths.manifest("ucddb")).to_pylist()
    return {row["subject"]: row for row in rows}


def emds(store: Store, scored: Scored) -> NDArray[np.float64]:
    """(110, 25), from the tiles."""
    files = [
        path
        for path in store.files(paths.score_folder(scored.score_id))
        if Path(path).name.startswith("tile-")
    ]
    values = np.full((110, 25), np.nan)
    for file in files:
        for row in store.read_table(file).to_pylist():
            assert np.isnan(values[row["source_batch_id"], row["target_batch_id"]])
            assert (row["n"], row["m"]) == (32, 32)
            values[row["source_batch_id"], row["target_batch_id"]] = row["emd"]
    return values


def test_the_number_of_batches(plan: SweepPlan, ucddb_store: Store) -> None:
    assert len(plan.source_batches) == 110
    assert len(plan.selectable) == 98
    assert len(plan.target_batches) == 25
    held_out = [b for b in plan.source_batches if b.batch_id not in plan.selectable]
    assert {b.subject for b in held_out} == {EARLY_STOP, VALIDATION}
    for batch in plan.source_batches:
        stage, flags, _ = raw(ucddb_store, batch.subject)
        assert (stage[batch.epochs] >= 0).all()
        assert (flags[batch.epochs] & 3 == 0).all()
    usable = [manifest(ucddb_store)[s]["n_usable"] // 32 for s in [*TRAIN, EARLY_STOP, VALIDATION]]
    assert sum(usable) == 110


def test_pretraining_gets_usable_epochs_of_training_subjects_alone(
    seen_in_pretraining: dict[str, Any], ucddb_store: Store
) -> None:
    for suffix, subjects in (("", TRAIN), ("_stop", [EARLY_STOP])):
        x, stages = (seen_in_pretraining[name + suffix] for name in ("x", "stages"))
        n_usable = [manifest(ucddb_store)[s]["n_usable"] for s in subjects]
        assert len(x) == len(stages) == sum(n_usable)
        assert set(np.unique(stages)) <= set(Stage)
        ends = np.cumsum(n_usable)
        for subject, start, end in zip(subjects, ends - n_usable, ends, strict=True):
            stage, flags, signal = raw(ucddb_store, subject)
            keep = (flags & 3 == 0) & (stage >= 0)
            assert stages[start:end].tolist() == stage[keep].tolist()
            assert_same_signals(x[start:end], signal[keep])


def test_the_encoder_says_what_it_learned_from(scored: Scored, ucddb_store: Store) -> None:
    path = paths.encoder_json(scored.encoder.encoder_id)
    metadata = json.loads(ucddb_store.read_bytes(path))
    assert metadata["train_recordings"] == [f"ucddb/{s}/{s}" for s in TRAIN]
    assert metadata["early_stop_recordings"] == [f"ucddb/{EARLY_STOP}/{EARLY_STOP}"]
    rows = manifest(ucddb_store)
    assert metadata["n_train_epochs"] == sum(rows[s]["n_usable"] for s in TRAIN)
    events = read_events(ucddb_store, paths.encoder_events(scored.encoder.encoder_id))
    read = [r for e in events if e["event"] == "labels_read" for r in e["recordings"]]
    assert set(read) == {f"ucddb/{s}/{s}" for s in [*TRAIN, EARLY_STOP]}


def test_finetuning_gets_the_selectable_batches_alone(
    scored: Scored, plan: SweepPlan, ucddb_store: Store, tmp_path: Path
) -> None:
    log = EventLog(Store.open(str(tmp_path)), "events.jsonl")
    selectable = [plan.source_batches[i] for i in plan.selectable]
    gate = LabelGate(ucddb_store, log)
    stages = batch_stages(
        gate, plan.train, selectable, plan.sweep.batch_size, Split.SOURCE_TRAIN, "test"
    )
    inputs = trial_inputs(ucddb_store, scored, stages)
    assert inputs.batches_x.shape == (98, 32, 1, 3000)
    assert inputs.batches_stages.shape == (98, 32)
    np.testing.assert_array_equal(inputs.reward_S, scored.reward_S[list(plan.selectable)])
    for subject in TRAIN:
        stage, flags, signal = raw(ucddb_store, subject)
        keep = np.flatnonzero((flags & 3 == 0) & (stage >= 0))
        rows = [i for i, batch in enumerate(selectable) if batch.subject == subject]
        keep = keep[: len(rows) * 32]
        assert inputs.batches_stages[rows].reshape(-1).tolist() == stage[keep].tolist()
        assert_same_signals(inputs.batches_x[rows].reshape(-1, 1, 3000), signal[keep])
    for epochs, subject in (
        (inputs.objective_epochs, VALIDATION),
        (inputs.test_epochs, TARGET),
    ):
        _, flags, signal = raw(ucddb_store, subject)
        assert epochs.epoch_index.tolist() == np.flatnonzero(flags & 1 == 0).tolist()
        assert_same_signals(epochs.x, signal[epochs.epoch_index])
    assert len(inputs.test_epochs.x) == 822
    read = [
        r for e in read_events(Store.open(str(tmp_path)), "events.jsonl") for r in e["recordings"]
    ]
    assert set(read) == {f"ucddb/{s}/{s}" for s in TRAIN}


def test_features_of_every_epoch_that_is_not_flat(
    scored: Scored, plan: SweepPlan, ucddb_store: Store
) -> None:
    recordings = [*plan.source, *plan.target_adapt]
    assert len(recordings) == 13
    for recording in recordings:
        path = paths.features(
            scored.encoder.encoder_id, LAYER, "ucddb", recording.subject, recording.recording
        )
        table = ucddb_store.read_table(path)
        assert table.column_names == ["subject", "recording", "epoch_index", "features"]
        _, flags, _ = raw(ucddb_store, recording.subject)
        assert table["epoch_index"].to_pylist() == np.flatnonzero(flags & 1 == 0).tolist()
        assert set(table["subject"].to_pylist()) == {recording.subject}
        assert set(table["recording"].to_pylist()) == {recording.recording}
        column = table["features"].type
        assert (str(column.value_type), column.shape) == ("float", [DIM])


def test_features_are_what_the_model_gives_in_this_process(
    scored: Scored, plan: SweepPlan, ucddb_store: Store
) -> None:
    (recording,) = plan.target_adapt
    stored = read_features(ucddb_store, recording, scored.encoder.encoder_id, LAYER)
    assert stored.features.shape == (822, DIM)
    assert stored.features.dtype == np.float32
    _, _, signal = raw(ucddb_store, TARGET)
    x = signal[stored.epoch_index[:64]].astype(np.float32)
    expected = inference.encode(classifier_from_bytes(scored.encoder.weights), x, LAYER)
    np.testing.assert_allclose(stored.features[:64], expected, rtol=1e-3, atol=1e-3)


def test_epochs_ingested_again_make_features_stale(
    scored: Scored, plan: SweepPlan, ucddb_store: Store, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path))
    (recording,) = plan.target_adapt
    shutil.copytree(
        Path(ucddb_store.uri) / "epochs" / "ucddb" / TARGET, tmp_path / "epochs" / "ucddb" / TARGET
    )
    features = Path(store.uri_of(paths.features("e", "l", "ucddb", TARGET, recording.recording)))

    def encode(recording: StoredRecording) -> int:
        with EventLog(store, "events.jsonl") as log:
            encode_recordings(
                store,
                [recording],
                lambda x: x.mean(axis=2),
                encoder_id="e",
                layer="l",
                modality="eeg",
                log=log,
            )
        return features.stat().st_mtime_ns

    first = encode(recording)
    assert encode(recording) == first  # current: left alone
    table = store.read_table(recording.path)
    again = StoredRecording(
        dataset="ucddb",
        subject=TARGET,
        recording=recording.recording,
        epochs_sha256=store.write_table(recording.path, table.slice(0, len(table) - 1)),
    )
    assert again.epochs_sha256 != recording.epochs_sha256
    assert encode(again) > first
    assert len(read_features(store, again, "e", "l").epoch_index) == 821


def test_distances_equal_those_of_pot(scored: Scored, plan: SweepPlan, ucddb_store: Store) -> None:
    """Standardised here by the mean and SD over the epochs of all selectable batches."""
    by_subject = {
        r.subject: read_features(ucddb_store, r, scored.encoder.encoder_id, LAYER)
        for r in (*plan.source, *plan.target_adapt)
    }
    pooled = np.concatenate(
        [by_subject[b.subject].of(b.epochs) for b in plan.source_batches if b.subject in TRAIN]
    ).astype(np.float64)
    assert len(pooled) == 98 * 32
    center, spread = pooled.mean(axis=0), pooled.std(axis=0)
    dead = spread < 1e-6 * spread.max()
    spread[dead] = 1
    center, spread = center.astype(np.float32), spread.astype(np.float32)
    values = emds(ucddb_store, scored)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(scored.emd_S, values.mean(axis=1))
    np.testing.assert_array_equal(scored.reward_S, 1 / values.mean(axis=1))
    uniform = np.full(32, 1 / 32)
    for i, j in [(0, 0), (17, 3), (55, 24), (60, 11), (109, 24)]:
        source, target = plan.source_batches[i], plan.target_batches[j]
        clouds = [
            ((by_subject[b.subject].of(b.epochs) - center) / spread).astype(np.float64)
            for b in (source, target)
        ]
        expected = ot.emd2(uniform, uniform, ot.dist(*clouds, metric="euclidean"))
        assert values[i, j] == pytest.approx(expected, rel=1e-9)


def assert_tiles_are_of_two_processes_or_more(store: Store, score_id: str) -> None:
    events = read_events(store, paths.score_events(score_id))
    tiles = [event for event in events if event["event"] == "tile_scored"]
    assert len(tiles) == 14
    assert sum(event["n_pairs"] for event in tiles) == 110 * 25
    by_worker = [event["worker_pid"] for event in tiles]
    driver = {event["pid"] for event in tiles}
    assert len(set(by_worker)) >= 2
    assert not driver & set(by_worker)
    assert all(by_worker.count(pid) >= 2 for pid in set(by_worker))


def test_tiles_are_computed_in_two_processes_or_more(
    scored: Scored, copy: Store, sweep: SelectiveSweep
) -> None:
    assert_tiles_are_of_two_processes_or_more(copy, scored.score_id)  # which had just started
    shutil.rmtree(Path(copy.uri) / "scores")
    run_scoring(copy, sweep)
    assert_tiles_are_of_two_processes_or_more(copy, scored.score_id)  # which were waiting


def test_a_deleted_tile_is_computed_again_and_no_other(
    scored: Scored, copy: Store, sweep: SelectiveSweep
) -> None:
    folder = Path(copy.uri_of(paths.score_folder(scored.score_id)))
    files = sorted(path for path in folder.iterdir() if path.name != "events.jsonl")
    victim = next(path for path in files if path.name.startswith("tile-0000056"))
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    n_events = len(read_events(copy, paths.score_events(scored.score_id)))
    victim.unlink()
    again = run_scoring(copy, sweep)
    np.testing.assert_array_equal(again.emd_S, scored.emd_S)
    for path in files:
        mtime, content = before[path.name]
        assert path.read_bytes() == content, path.name
        assert (path.stat().st_mtime_ns == mtime) == (path != victim), path.name
    new = read_events(copy, paths.score_events(scored.score_id))[n_events:]
    assert [event["tile"] for event in new if event["event"] == "tile_scored"] == [victim.stem]


def test_a_second_call_is_a_look_up(
    scored: Scored, copy: Store, sweep: SelectiveSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = paths.score_events(scored.score_id)
    before = read_events(copy, log)
    files = [path for path in Path(copy.uri).rglob("*") if path.is_file()]
    mtimes = [path.stat().st_mtime_ns for path in files]
    monkeypatch.setattr("ray.data.range", None)  # nothing is left to compute
    again = run_scoring(copy, sweep)
    assert read_events(copy, log) == before
    assert [path.stat().st_mtime_ns for path in files] == mtimes
    assert again.score_id == scored.score_id
    np.testing.assert_array_equal(again.reward_S, scored.reward_S)


def test_a_tile_that_lacks_pairs_is_refused(
    scored: Scored, copy: Store, sweep: SelectiveSweep
) -> None:
    path = paths.score_tile(scored.score_id, "tile-0000000-0000000")
    copy.write_table(path, copy.read_table(path).slice(0, 150))
    with pytest.raises(IntegrityError, match="lacks 50 of 2750 pairs"):
        run_scoring(copy, sweep)


def test_the_table_says_what_it_was_made_of(
    scored: Scored, plan: SweepPlan, ucddb_store: Store
) -> None:
    request = plan.score_request(scored.encoder.encoder_id)
    assert is_complete(ucddb_store, request)
    run = json.loads(ucddb_store.read_bytes(paths.score_run(scored.score_id)))
    assert run["run_id"] == scored.score_id
    assert run["model_sha256"] == scored.encoder.metadata["weights_sha256"]
    assert (run["feature_layer"], run["feature_dim"]) == (LAYER, DIM)
    assert (run["n_source_batches"], run["n_target_batches"]) == (110, 25)
    assert not {"host", "time", "seconds", "store"} & set(run)
    table = ucddb_store.read_table(paths.score_batches(scored.score_id))
    assert table["role"].to_pylist() == ["source"] * 110 + ["target"] * 25
    for batch, epochs in zip(plan.source_batches, table["epochs"].to_pylist(), strict=False):
        assert epochs == batch.epochs.tolist()
