"""Epoch store -> arrays: which epochs, scaled how, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.psg import preprocess
from orchestrator.psg.convert import METADATA_KEY, Settings, epoch_table
from orchestrator.psg.edf import open_recording
from orchestrator.psg.feed import (
    CLIP_SPREADS,
    Scale,
    StoredRecording,
    channel_labels,
    check_modality,
    counts_of,
    has_modality,
    preprocessing_of,
    read_signals,
    scaled_signals,
    signal_epochs,
    signal_table,
    stored_recordings,
    usable_epochs,
)
from orchestrator.psg.ingest import MANIFEST_SCHEMA
from orchestrator.psg.recordings import Source
from orchestrator.store import paths
from orchestrator.store.store import Store

MakeEdf = Callable[..., bytes]
Noise = Callable[..., NDArray[np.float64]]

STAGES = "W?12R?"
FLAT = np.array([False, False, True, False, False, True])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"), writable=True)


@pytest.fixture
def signal(noise: Noise) -> NDArray[np.float64]:
    """(6, 3840): two flat epochs, and an artefact in the first one."""
    raw = noise(6).reshape(6, -1)
    raw[FLAT] = 3.0
    raw[0, 1000:1030] = 490.0
    return raw


@pytest.fixture
def night(
    store: Store,
    signal: NDArray[np.float64],
    make_edf: MakeEdf,
    source: Source,
    settings: Settings,
) -> StoredRecording:
    """That signal in the store, with its manifest."""
    data = make_edf({"EEG": (signal.ravel(), 128)}, STAGES)
    table = epoch_table(source, settings, data, None)
    digest = store.write_table(paths.epochs("tiny", "p1", "p1-n1"), table)
    rows = [
        {"subject": "p0", "recording": "p0-n1", "status": "quarantined"},
        {"subject": "p1", "recording": "p1-n1", "status": "ok", "epochs_sha256": digest},
    ]
    store.write_table(paths.manifest("tiny"), pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))
    (recording,) = stored_recordings(store, "tiny")
    return recording


def test_quarantined_recordings_are_not_handed_out(night: StoredRecording) -> None:
    assert (night.dataset, night.subject, night.recording) == ("tiny", "p1", "p1-n1")
    assert night.path == "epochs/tiny/p1/p1-n1.parquet"


def test_unscored_and_flat_epochs_are_not_usable(store: Store, night: StoredRecording) -> None:
    usable = usable_epochs(store, night)
    assert usable.dtype == np.int32
    assert usable.tolist() == [0, 3, 4]
    # Without looking at stages, only the flat ones drop out.
    assert signal_epochs(store, night).tolist() == [0, 1, 3, 4]


def test_scaled_signals_are_the_float_pipeline_within_quantisation(
    store: Store, night: StoredRecording, signal: NDArray[np.float64], make_edf: MakeEdf
) -> None:
    scaled = read_signals(store, night, "eeg", range(6))
    assert scaled.shape == (6, 1, 3000)
    assert scaled.dtype == np.float32
    # As the file holds it, so that only the store's own rounding is left.
    with open_recording(make_edf({"EEG": (signal.ravel(), 128)}), "n.edf") as recording:
        raw = recording.channel(0).signal_uv.reshape(6, -1)
    clean = preprocess.clean_epochs(raw, FLAT, 128, (0.3, 35.0))
    scale = preprocess.robust_scale(clean, FLAT, "EEG")
    expected = np.clip((clean - scale.center_uv) / scale.spread_uv, -CLIP_SPREADS, CLIP_SPREADS)
    half_step = np.abs(clean).max() / 32767 / scale.spread_uv / 2
    assert np.abs(scaled[:, 0] - expected).max() < half_step + 1e-5  # float32
    assert abs(np.median(scaled[~FLAT])) < 1e-3


def test_artefacts_are_clipped(
    store: Store, make_edf: MakeEdf, source: Source, settings: Settings
) -> None:
    raw = np.random.default_rng(0).normal(0, 1, (4, 3840))
    raw[2, 1000:1100] = 490
    table = epoch_table(source, settings, make_edf({"EEG": (raw.ravel(), 128)}, "WWWW"), None)
    digest = store.write_table(paths.epochs("tiny", "p1", "p1-n1"), table)
    night = StoredRecording(dataset="tiny", subject="p1", recording="p1-n1", epochs_sha256=digest)
    scaled = read_signals(store, night, "eeg", range(4))
    assert scaled.max() == CLIP_SPREADS
    assert np.abs(scaled[[0, 3]]).max() < CLIP_SPREADS


def test_microvolts_keep_gain_and_artefacts(
    store: Store, night: StoredRecording, signal: NDArray[np.float64], make_edf: MakeEdf
) -> None:
    microvolts = read_signals(store, night, "eeg", [0, 3], scale="microvolts")
    assert microvolts.shape == (2, 1, 3000)
    assert microvolts.dtype == np.float32
    with open_recording(make_edf({"EEG": (signal.ravel(), 128)}), "n.edf") as recording:
        raw = recording.channel(0).signal_uv.reshape(6, -1)
    clean = preprocess.clean_epochs(raw, FLAT, 128, (0.3, 35.0))[[0, 3]]
    assert np.abs(microvolts[:, 0] - clean).max() < np.abs(clean).max() / 32767 + 1e-4
    # In spreads it is the same signal, but for the centre and the clipping.
    scaled = read_signals(store, night, "eeg", [3])
    slope = np.polyfit(scaled.ravel(), microvolts[1].ravel(), 1)[0]
    assert slope == pytest.approx(preprocess.robust_scale(
        preprocess.clean_epochs(raw, FLAT, 128, (0.3, 35.0)), FLAT, "EEG"
    ).spread_uv, rel=1e-3)  # fmt: skip


def test_microvolts_are_not_clipped(
    store: Store, make_edf: MakeEdf, source: Source, settings: Settings
) -> None:
    raw = np.random.default_rng(0).normal(0, 1, (4, 3840))
    raw[2, 1000:1100] = 490
    table = epoch_table(source, settings, make_edf({"EEG": (raw.ravel(), 128)}, "WWWW"), None)
    digest = store.write_table(paths.epochs("tiny", "p1", "p1-n1"), table)
    night = StoredRecording(dataset="tiny", subject="p1", recording="p1-n1", epochs_sha256=digest)
    assert read_signals(store, night, "eeg", range(4), "microvolts").max() > 300


class TestModalities:
    """What a recording has, by its metadata alone."""

    @pytest.fixture
    def without_emg(
        self, store: Store, make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
    ) -> StoredRecording:
        several = replace(
            settings,
            channels={"emg": (("chin",),), "eog": (("LOC",), ("ROC", "E2")), "eeg": (("EEG",),)},
            filter_hz={"emg": (10.0, 45.0), "eog": (0.3, 35.0), "eeg": (0.3, 35.0)},
            optional=("emg",),
        )
        signals = {label: (noise(3, i), 128) for i, label in enumerate(("EEG", "E2", "Loc"))}
        table = epoch_table(source, several, make_edf(signals, "W12"), None)
        digest = store.write_table(paths.epochs("tiny", "p1", "p1-n1"), table)
        return StoredRecording(
            dataset="tiny", subject="p1", recording="p1-n1", epochs_sha256=digest
        )

    def test_they_are_in_the_order_of_the_store(
        self, store: Store, without_emg: StoredRecording
    ) -> None:
        assert list(channel_labels(store, without_emg).items()) == [
            ("eeg", ["EEG"]),
            ("eog", ["Loc", "E2"]),
        ]

    def test_one_that_the_recording_lacks(self, store: Store, without_emg: StoredRecording) -> None:
        assert has_modality(store, without_emg, "eog")
        assert not has_modality(store, without_emg, "emg")
        assert not has_modality(store, without_emg, "ecg")
        check_modality(store, without_emg, "eog")
        for refuse in (
            lambda: check_modality(store, without_emg, "emg"),
            lambda: read_signals(store, without_emg, "emg", [0]),
        ):
            with pytest.raises(
                ConfigError,
                match=r"recording 'p1-n1' of data set 'tiny' is without 'emg'; it has eeg, eog\.",
            ):
                refuse()
        with pytest.raises(ConfigError, match="data set 'tiny' has no modality 'ecg'"):
            check_modality(store, without_emg, "ecg")

    def test_a_missing_file_is_named(self, store: Store, without_emg: StoredRecording) -> None:
        store.delete(without_emg.path)
        with pytest.raises(IntegrityError, match=r"p1-n1\.parquet is missing"):
            channel_labels(store, without_emg)


def test_epochs_are_picked_by_index(store: Store, night: StoredRecording) -> None:
    every = read_signals(store, night, "eeg", range(6))
    some = read_signals(store, night, "eeg", np.array([1, 4], np.int32))
    assert some.tobytes() == every[[1, 4]].tobytes()
    none: list[int] = []
    assert read_signals(store, night, "eeg", none).shape == (0, 1, 3000)


def test_each_channel_has_its_own_scale(
    store: Store, make_edf: MakeEdf, noise: Noise, source: Source
) -> None:
    settings = Settings(
        labels={"Sleep stage W": 0},
        channels={"eeg": (("loud",), ("quiet",))},
        filter_hz={"eeg": (0.3, 35.0)},
        labels_beyond_signal="quarantine",
    )
    data = make_edf({"quiet": (noise(3, 1) / 10, 128), "loud": (noise(3, 2), 128)}, "WWW")
    digest = store.write_table(
        paths.epochs("tiny", "p1", "p1-n1"), epoch_table(source, settings, data, None)
    )
    night = StoredRecording(dataset="tiny", subject="p1", recording="p1-n1", epochs_sha256=digest)
    scaled = read_signals(store, night, "eeg", range(3))
    assert scaled.shape == (3, 2, 3000)
    lower, center, upper = np.percentile(scaled, [25, 50, 75], axis=(0, 2))
    np.testing.assert_allclose(upper - lower, 1.349, rtol=1e-2)
    np.testing.assert_allclose(center, 0, atol=1e-2)


@pytest.mark.parametrize("modality", ["emg", "stage", "flags"])
def test_what_is_no_modality_of_the_data_set_is_refused(
    store: Store, night: StoredRecording, modality: str
) -> None:
    with pytest.raises(ConfigError, match=rf"no modality '{modality}'; it has eeg\."):
        read_signals(store, night, modality, [0])


def test_a_file_that_is_not_the_manifests_is_refused(store: Store, night: StoredRecording) -> None:
    table = store.read_table(night.path)
    about = json.loads(table.schema.metadata[METADATA_KEY])
    about["channels"]["eeg"][0]["spread_uv"] *= 2
    store.write_table(night.path, table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}))
    with pytest.raises(IntegrityError, match=r"p1-n1\.parquet is not the file that the manifest"):
        read_signals(store, night, "eeg", [0])


def test_a_missing_epoch_file_is_named(store: Store, night: StoredRecording) -> None:
    store.delete(night.path)
    for read in (usable_epochs, signal_epochs):
        with pytest.raises(
            IntegrityError, match=r"p1-n1\.parquet is missing, although the manifest"
        ):
            read(store, night)


def test_a_truncated_epoch_file_is_named(store: Store, night: StoredRecording) -> None:
    store.write_bytes(night.path, store.read_bytes(night.path)[:500])
    with pytest.raises(IntegrityError, match=r"p1-n1\.parquet is damaged"):
        usable_epochs(store, night)


def test_an_unknown_data_set_is_met_with_a_guess(store: Store, night: StoredRecording) -> None:
    with pytest.raises(ConfigError, match=r"'tinny' is not in the store .*did you mean 'tiny'\?"):
        stored_recordings(store, "tinny")
    with pytest.raises(ConfigError, match=r"It has: tiny\. Run `orchestrator ingest`"):
        stored_recordings(store, "something-else")


def test_an_ingest_that_was_killed_left_no_data_set(store: Store) -> None:
    """Epoch files without a manifest: not offered as a guess for themselves."""
    with pytest.raises(ConfigError, match="It has: none"):
        stored_recordings(store, "tiny")
    store.write_bytes(paths.epochs("tiny", "p1", "p1-n1"), b"")
    with pytest.raises(ConfigError, match="It has: none") as caught:
        stored_recordings(store, "tiny")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("metadata", [None, b"{", b"[]", b"{}", b'{"channels": 1}'])
def test_metadata_that_is_damaged_is_named(
    store: Store, night: StoredRecording, metadata: bytes | None
) -> None:
    table = store.read_table(night.path)
    about = None if metadata is None else {METADATA_KEY: metadata}
    digest = store.write_table(night.path, table.replace_schema_metadata(about))
    changed = replace(night, epochs_sha256=digest)
    match = rf"{store.uri_of(night.path)} is damaged: of its metadata"
    with pytest.raises(IntegrityError, match=match):
        channel_labels(store, changed)
    with pytest.raises(IntegrityError, match=match):
        read_signals(store, changed, "eeg", [0])


def test_a_table_of_signals_holds_no_stages(
    store: Store, night: StoredRecording, settings: Settings
) -> None:
    table = signal_table(store, night, ["eeg", "eog", "stage"])
    assert table.column_names == ["epoch_index", "flags", "eeg"]
    assert table.equals(store.read_table(night.path, ["epoch_index", "flags", "eeg"]))
    assert preprocessing_of(store, night) == settings.as_json()
    assert table.schema.metadata[METADATA_KEY]  # scales are there, too


def test_a_table_of_signals_is_the_one_of_the_manifest(
    store: Store, night: StoredRecording
) -> None:
    with pytest.raises(IntegrityError, match="SHA-256 differs"):
        signal_table(store, replace(night, epochs_sha256="0" * 64), ["eeg"])
    store.delete(night.path)
    with pytest.raises(IntegrityError, match="is missing"):
        signal_table(store, night, ["eeg"])


@pytest.mark.parametrize("scale", ["recording", "microvolts"])
def test_scaling_a_table_is_what_reading_signals_does(
    store: Store, night: StoredRecording, scale: Scale
) -> None:
    table = signal_table(store, night, ["eeg"])
    (channel,) = json.loads(table.schema.metadata[METADATA_KEY])["channels"]["eeg"]
    found = scaled_signals(counts_of(table["eeg"]), [channel], scale)
    assert found.dtype == np.float32
    assert found.tobytes() == read_signals(store, night, "eeg", range(6), scale).tobytes()
    clipped = scaled_signals(counts_of(table["eeg"]), [channel], scale, 1.5)
    limit = 1.5 if scale == "recording" else np.inf
    assert np.array_equal(clipped, np.clip(found, -limit, limit))


def test_counts_of_a_column_in_several_pieces(store: Store, night: StoredRecording) -> None:
    table = signal_table(store, night, ["eeg"])
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 4), table.slice(5)])
    assert pieces["eeg"].num_chunks == 3
    assert np.array_equal(counts_of(pieces["eeg"]), counts_of(table["eeg"]))
    assert np.array_equal(counts_of(table.slice(2, 3)["eeg"]), counts_of(table["eeg"])[2:5])


def test_a_file_that_does_not_say_how_it_was_preprocessed(
    store: Store, night: StoredRecording
) -> None:
    table = store.read_table(night.path)
    about = {METADATA_KEY: b'{"channels": {}}'}
    digest = store.write_table(night.path, table.replace_schema_metadata(about))
    assert preprocessing_of(store, replace(night, epochs_sha256=digest)) == {}
