"""The thirteen real nights, against counts that were made by hand from the annotations."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pytest

from orchestrator.psg.feed import read_signals, signal_epochs, stored_recordings, usable_epochs
from orchestrator.store import paths
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from tests.e2e.conftest import Done

pytestmark = pytest.mark.e2e

SUBJECTS = [f"ucddb{n:03}" for n in (2, 3, 5, 6, 7, 9, 10, 11, 13, 15, 18, 19, 21)]
STAGE_NAMES = ("W", "N1", "N2", "N3", "REM")


@pytest.fixture(scope="module")
def ucddb_store(test_data: Path, nights_done: "Done") -> Store:
    """The store that all tests share."""
    return Store.open(str(nights_done.store))


@pytest.fixture(scope="module")
def rows(ucddb_store: Store) -> dict[str, dict[str, Any]]:
    table = ucddb_store.read_table(paths.manifest("ucddb"))
    return {row["subject"]: row for row in table.to_pylist()}


def test_all_thirteen_nights_are_in_the_store(
    ucddb_store: Store, rows: dict[str, dict[str, Any]]
) -> None:
    assert list(rows) == SUBJECTS
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert [r.subject for r in stored_recordings(ucddb_store, "ucddb")] == SUBJECTS
    summary = json.loads(ucddb_store.read_bytes(paths.manifest_json("ucddb")))
    assert (summary["n_recordings"], summary["quarantine"]) == (13, [])


def test_the_fully_scored_night(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["ucddb018"]
    assert row["n_epochs"] == 822
    counts = {name: row[f"n_{name}"] for name in STAGE_NAMES}
    assert counts == {"W": 328, "N1": 58, "N2": 280, "N3": 137, "REM": 19}
    assert (row["n_unscored"], row["n_flat"], row["n_usable"]) == (0, 0, 822)


def test_stage_counts_of_every_night_equal_those_through_mne(
    test_data: Path, rows: dict[str, dict[str, Any]]
) -> None:
    stage_of = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4, "?": 5}
    for subject, row in rows.items():
        expected = np.zeros(6, int)
        for mark in mne.read_annotations(test_data / "ucddb" / f"{subject}.edf"):
            letter = mark["description"].removeprefix("Sleep stage ")
            expected[stage_of[letter]] += round(mark["duration"] / 30)
        counted = [row[f"n_{name}"] for name in (*STAGE_NAMES, "unscored")]
        assert counted == expected.tolist(), subject


def test_45_scored_epochs_are_flat(rows: dict[str, dict[str, Any]]) -> None:
    flat = {subject: row["n_flat_scored"] for subject, row in rows.items() if row["n_flat_scored"]}
    assert flat == {"ucddb005": 4, "ucddb006": 19, "ucddb015": 14, "ucddb021": 8}


def test_unscored_epochs_carry_both_bits(ucddb_store: Store) -> None:
    """Their signal is zero in the files."""
    n_unscored = n_flat_scored = 0
    for recording in stored_recordings(ucddb_store, "ucddb"):
        table = ucddb_store.read_table(recording.path, ["stage", "flags"])
        stages, flags = table["stage"].to_numpy(), table["flags"].to_numpy()
        unscored = stages == -1
        assert (flags[unscored] == 3).all()
        assert not (flags[~unscored] & 2).any()
        n_unscored += int(unscored.sum())
        n_flat_scored += int((flags[~unscored] & 1).sum())
    assert (n_unscored, n_flat_scored) == (6549, 45)


def test_no_unscored_and_no_flat_epoch_is_usable(ucddb_store: Store) -> None:
    for recording in stored_recordings(ucddb_store, "ucddb"):
        table = ucddb_store.read_table(recording.path, ["stage", "flags"])
        usable = usable_epochs(ucddb_store, recording)
        assert (table["stage"].to_numpy()[usable] >= 0).all()
        assert not (table["flags"].to_numpy()[usable] & 3).any()
        # In the partly scored nights what is not scored is flat, so both rules keep the same.
        np.testing.assert_array_equal(usable, signal_epochs(ucddb_store, recording))


def test_scaled_signals_of_a_real_night(ucddb_store: Store) -> None:
    night = next(r for r in stored_recordings(ucddb_store, "ucddb") if r.subject == "ucddb005")
    epochs = usable_epochs(ucddb_store, night)
    scaled = read_signals(ucddb_store, night, "eeg", epochs)
    assert scaled.shape == (len(epochs), 1, 3000)
    lower, center, upper = np.percentile(scaled, [25, 50, 75])
    assert upper - lower == pytest.approx(1.349, rel=0.01)
    assert center == pytest.approx(0, abs=0.01)
    assert np.isfinite(scaled).all()


def test_a_night_costs_no_more_than_two_bytes_a_sample_and_than_its_edf(
    test_data: Path, ucddb_store: Store
) -> None:
    for recording in stored_recordings(ucddb_store, "ucddb"):
        n_bytes = len(ucddb_store.read_bytes(recording.path))
        n_epochs = ucddb_store.read_table(recording.path, ["flags"]).num_rows
        assert n_bytes <= 2 * 3000 * n_epochs
        edf = test_data / "ucddb" / f"{recording.recording}.edf"
        assert n_bytes <= edf.stat().st_size
