"""A real nap with thirteen channels goes the way of every other recording, by its data set file alone."""

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest

from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.feed import (
    StoredRecording,
    channel_labels,
    has_modality,
    read_signals,
    stored_recordings,
    usable_epochs,
)
from orchestrator.psg.ingest import ingest
from orchestrator.store import paths
from orchestrator.store.store import Store

pytestmark = pytest.mark.ray

EEG = [
    f"EEG {site}" for site in ["F3", "F4", "C3", "C4", "O1", "O2", "Fz", "Cz", "Pz", "Oz", "TP10"]
]
EOG = ["EOG LOc", "EOG ROc"]


@pytest.fixture(scope="module")
def store(
    ray_cluster: Any, test_data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    store = Store.open(str(tmp_path_factory.mktemp("nap")), writable=True)
    ingest(load_dataset(root / "datasets" / "nap.yaml"), str(test_data / "nap"), store)
    return store


@pytest.fixture(scope="module")
def nap(store: Store) -> StoredRecording:
    (recording,) = stored_recordings(store, "nap")
    return recording


def test_channels_and_stages(store: Store, nap: StoredRecording) -> None:
    assert nap.subject == "subj29"
    assert channel_labels(store, nap) == {"eeg": EEG, "eog": EOG}
    assert not has_modality(store, nap, "emg")
    (row,) = store.read_table(paths.manifest("nap")).to_pylist()
    counts = {name: row[f"n_{name}"] for name in ("W", "N1", "N2", "N3", "REM")}
    assert counts == {"W": 7, "N1": 11, "N2": 35, "N3": 6, "REM": 0}
    assert (row["n_epochs"], row["n_usable"]) == (59, 59)
    assert row["substituted"] == row["missing_modalities"] == []


def test_signals_are_those_of_the_file_between_the_edges_of_the_filter(
    test_data: Path, store: Store, nap: StoredRecording
) -> None:
    (path,) = (test_data / "nap").glob("*.edf")
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    for modality, labels in (("eeg", EEG), ("eog", EOG)):
        ours = read_signals(store, nap, modality, usable_epochs(store, nap), "microvolts")
        theirs = raw.copy().pick(labels).filter(0.3, 35.0, verbose="error").get_data() * 1e6
        shaped = theirs.reshape(len(labels), 59, 3000).swapaxes(0, 1)
        assert ours.shape == shaped.shape
        # Not the first and last epoch, where the signal is continued by its reflection.
        assert np.abs(ours[1:-1] - shaped[1:-1]).max() < 0.02 * np.abs(shaped).max()


def test_all_channels_are_scaled_alike(store: Store, nap: StoredRecording) -> None:
    for modality in ("eeg", "eog"):
        scaled = read_signals(store, nap, modality, usable_epochs(store, nap))
        lower, upper = np.percentile(scaled, [25, 75], axis=(0, 2))
        np.testing.assert_allclose(upper - lower, 1.349, rtol=0.01)
