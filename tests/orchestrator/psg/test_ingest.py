"""Ingest on a Ray cluster: what is broken is set aside, what is done is left alone, same data, same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.cli.main import main
from orchestrator.errors import ConfigError, DataError
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.feed import stored_recordings
from orchestrator.psg.ingest import MANIFEST_SCHEMA, ingest
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from orchestrator.telemetry.events import read_events

MakeEdf = Callable[..., bytes]
Noise = Callable[..., NDArray[np.float64]]
LoadDataset = Callable[..., DatasetFile]
TinyNights = Callable[[int], Path]

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"), writable=True)


def times(store: Store) -> dict[str, int]:
    """Path -> time of the last change, ns."""
    return {path: (Path(store.root) / path).stat().st_mtime_ns for path in store.files("")}


def contents(store: Store) -> dict[str, str]:
    """Path -> hash, but for the event log: the only place for times, hosts and processes."""
    return {
        path: sha256(store.read_bytes(path))
        for path in store.files("")
        if not path.endswith("events.jsonl")
    }


def rows(store: Store) -> dict[str, dict[str, Any]]:
    table = store.read_table(paths.manifest("tiny"))
    assert table.schema.equals(MANIFEST_SCHEMA)
    return {row["recording"]: row for row in table.to_pylist()}


def test_one_broken_night_among_ten(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    folder = tiny_nights(10)
    broken = folder / "p4-night.edf"
    broken.write_bytes(broken.read_bytes()[:-3000])
    good = [f"p{i}-night" for i in range(10) if i != 4]

    report = ingest(dataset(), str(folder), store)
    assert (report.n_converted, report.n_skipped) == (10, 0)
    assert [row["recording"] for row in report.quarantined] == ["p4-night"]
    assert [p for p in store.files("epochs/tiny") if "-night" in p] == [
        f"epochs/tiny/{name.removesuffix('-night')}/{name}.parquet" for name in good
    ]
    manifest = rows(store)
    assert list(manifest) == sorted([*good, "p4-night"])
    assert manifest["p4-night"]["status"] == "quarantined"
    assert manifest["p4-night"]["reason"] == "truncated"
    assert manifest["p4-night"]["n_epochs"] is None
    assert "p4-night.edf is truncated" in manifest["p4-night"]["message"]
    for name in good:
        row = manifest[name]
        assert (row["status"], row["reason"], row["message"]) == ("ok", None, None)
        assert [row[f"n_{k}"] for k in ("epochs", "W", "N1", "N2", "unscored", "flat")] == [
            4, 1, 1, 1, 1, 1,
        ]  # fmt: skip
        assert row["n_usable"] == 2
        assert row["channels"] == ["EEG"]
        assert row["source_file"] == f"{name}.edf"
        assert row["source_sha256"] == sha256((folder / f"{name}.edf").read_bytes())
        path = paths.epochs("tiny", row["subject"], name)
        assert row["epochs_sha256"] == sha256(store.read_bytes(path))
    summary = json.loads(store.read_bytes(paths.manifest_json("tiny")))
    assert (summary["n_recordings"], summary["n_subjects"], summary["n_epochs"]) == (9, 9, 36)
    assert summary["quarantine"] == [
        {key: manifest["p4-night"][key] for key in ("subject", "recording", "reason", "message")}
    ]
    events = [e for e in read_events(store, paths.ingest_events("tiny"))]
    assert [e["event"] for e in events] == [
        "ingest_started", *["recording_done"] * 10, "ingest_finished",
    ]  # fmt: skip
    done = {e["recording"]: e["status"] for e in events[1:-1]}
    assert done == {name: row["status"] for name, row in manifest.items()}

    # Again: nothing to do, nothing touched, and the broken one is still known as such.
    before = times(store)
    again = ingest(dataset(), str(folder), store)
    assert (again.n_converted, again.n_skipped) == (0, 10)
    assert again.manifest.equals(report.manifest)
    assert times(store) == before

    # Repaired: that one alone is converted.
    broken.write_bytes((folder / "p5-night.edf").read_bytes())
    repaired = ingest(dataset(), str(folder), store)
    assert (repaired.n_converted, repaired.n_skipped) == (1, 9)
    assert repaired.quarantined == []
    after = times(store)
    assert {path for path in before if "-night" in path and after[path] != before[path]} == set()
    assert set(after) - set(before) == {"epochs/tiny/p4/p4-night.parquet"}


def test_only_what_changed_is_converted_again(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights, make_edf: MakeEdf, noise: Noise
) -> None:
    folder = tiny_nights(3)
    ingest(dataset(), str(folder), store)
    before, rows_before = times(store), rows(store)

    (folder / "p1-night.edf").write_bytes(make_edf({"EEG": (noise(2, 77), 128)}, "R3"))
    assert ingest(dataset(), str(folder), store).n_converted == 1
    assert {p for p, t in times(store).items() if t != before[p] and "-night" in p} == {
        "epochs/tiny/p1/p1-night.parquet"
    }
    rows_after = rows(store)
    assert [name for name in rows_before if rows_before[name] != rows_after[name]] == ["p1-night"]
    assert (rows_after["p1-night"]["n_REM"], rows_after["p1-night"]["n_N3"]) == (1, 1)

    # A file that breaks takes its epochs with it.
    (folder / "p1-night.edf").write_bytes(b"no longer an EDF file")
    report = ingest(dataset(), str(folder), store)
    assert [row["reason"] for row in report.quarantined] == ["not_edf"]
    assert not store.exists("epochs/tiny/p1/p1-night.parquet")

    # Another filter makes other epochs of all of them.
    other = dataset({"[[EEG, C3A2]]": "[[EEG, C3A2]]\nfilter_hz: {eeg: [0.5, 30]}"})
    assert ingest(other, str(folder), store).n_converted == 3


def test_a_lost_epoch_file_and_a_lost_manifest_are_made_again(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    """As after a kill: epoch files whose id fits are taken as they are, and the rest is converted."""
    folder = tiny_nights(3)
    ingest(dataset(), str(folder), store)
    whole, before = contents(store), times(store)

    store.delete(paths.manifest("tiny"))
    store.delete(paths.manifest_json("tiny"))
    store.delete("epochs/tiny/p2/p2-night.parquet")
    leftover = Path(store.root) / "epochs/tiny/p2/.p2-night.parquet.4242.part"
    leftover.write_bytes(b"half of it")
    report = ingest(dataset(), str(folder), store)
    assert (report.n_converted, report.n_skipped) == (1, 2)
    assert contents(store) == whole
    assert not leftover.exists()
    for name in ("p0", "p1"):
        path = f"epochs/tiny/{name}/{name}-night.parquet"
        assert times(store)[path] == before[path]


def test_an_epoch_file_that_somebody_removed_is_made_again(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    folder = tiny_nights(2)
    ingest(dataset(), str(folder), store)
    whole = contents(store)
    store.delete("epochs/tiny/p1/p1-night.parquet")
    assert ingest(dataset(), str(folder), store).n_converted == 1
    assert contents(store) == whole


def test_the_same_data_give_the_same_bytes(
    tmp_path: Path, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    folder = tiny_nights(4)
    (folder / "p9-broken.edf").write_bytes(b"words")
    stores = [Store.open(str(tmp_path / name), writable=True) for name in ("one", "two")]
    for store in stores:
        ingest(dataset(), str(folder), store)
    one, two = map(contents, stores)
    assert len(one) == 6  # four nights, the manifest and its summary
    assert one == two


def test_nothing_usable_is_an_error_that_names_the_first_reason(
    store: Store, dataset: LoadDataset, make_edf: MakeEdf, noise: Noise, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "p1.edf").write_bytes(make_edf({"ECG": (noise(1), 128)}, "W"))
    (folder / "p2.edf").write_bytes(b"words")
    for _ in range(2):  # also when it is known already
        with pytest.raises(DataError, match="none of the 2 recordings of 'tiny'") as caught:
            ingest(dataset(), str(folder), store)
        assert "p1 (missing_channel): p1.edf has no channel 'EEG' or 'C3A2'" in str(caught.value)
    assert list(rows(store)) == ["p1", "p2"]


def test_an_empty_or_missing_folder_is_an_error_and_writes_nothing(
    store: Store, dataset: LoadDataset, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no file matches"):
        ingest(dataset(), str(tmp_path / "empty"), store)
    with pytest.raises(ConfigError, match="does not exist"):
        ingest(dataset(), str(tmp_path / "nowhere"), store)
    assert store.files("") == []


def test_a_corrected_data_set_file_tries_the_recording_again(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    """The stages were looked for in another file; in fact the recording holds them."""
    folder = tiny_nights(2)
    beside = "from: annotations\n      file: '{stem}.txt.edf'"
    with pytest.raises(DataError, match="missing_hypnogram"):
        ingest(dataset({"from: annotations": beside}), str(folder), store)
    assert ingest(dataset(), str(folder), store).quarantined == []


def test_one_missing_hypnogram_is_quarantined(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    folder = tiny_nights(2)
    (folder / "p0-night.txt").write_text("0\n1\n1\n0\n", encoding="utf-8")
    codes = "from: codes\n      file: '{stem}.txt'\n      codes: {0: W, 1: N3}"
    report = ingest(dataset({"from: annotations": codes}), str(folder), store)
    assert [(row["recording"], row["reason"]) for row in report.quarantined] == [
        ("p1-night", "missing_hypnogram")
    ]
    assert rows(store)["p0-night"]["n_N3"] == 2
    # A line changed in the stage file alone: the recording is another one.
    (folder / "p0-night.txt").write_text("0\n1\n1\n1\n", encoding="utf-8")
    assert ingest(dataset({"from: annotations": codes}), str(folder), store).n_converted == 1
    assert rows(store)["p0-night"]["n_N3"] == 3


def mixed(folder: Path, make_edf: MakeEdf, noise: Noise) -> None:
    """Two labelled nights and one that nobody scored."""
    folder.mkdir()
    for name, stages in (("p1", "W12R"), ("p2", None), ("p3", "W??R")):
        (folder / f"{name}.edf").write_bytes(make_edf({"EEG": (noise(4), 128)}, stages))


def test_labelled_and_unlabelled_recordings_are_counted_apart(
    store: Store,
    dataset: LoadDataset,
    make_edf: MakeEdf,
    noise: Noise,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    mixed(folder, make_edf, noise)
    assert [row["reason"] for row in ingest(dataset(), str(folder), store).quarantined] == [
        "no_stages"
    ]
    dataset({"from: annotations": "from: annotations\n      optional: true"})
    with pytest.raises(SystemExit) as exit_info:
        main(["ingest", str(tmp_path / "tiny.yaml"), "--data", str(folder), "--store", store.uri])
    assert exit_info.value.code == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == (
        "tiny: 2 labelled and 1 unlabelled recordings of 3 subjects in the store (1 converted, 2 already done), "
        "6 of 8 epochs usable where labelled, 4 of 4 not flat where unlabelled."
    )
    assert "unlabelled p2: no annotation is a sleep stage; texts found: none." in said.err
    manifest = rows(store)
    assert {name: row["labelled"] for name, row in manifest.items()} == {
        "p1": True, "p2": False, "p3": True,
    }  # fmt: skip
    assert (manifest["p2"]["status"], manifest["p2"]["reason"]) == ("ok", None)
    summary = json.loads(store.read_bytes(paths.manifest_json("tiny")))
    assert (summary["n_labelled"], summary["n_unlabelled"]) == (2, 1)

    # Without `optional` it is set aside again, and the others stay what they are.
    again = ingest(dataset(), str(folder), store)
    assert (again.n_converted, [row["recording"] for row in again.quarantined]) == (1, ["p2"])
    dataset_file = dataset({"from: annotations": "from: annotations\n      optional: true"})
    assert ingest(dataset_file, str(folder), store).n_converted == 1

    # A killed ingest finds the same rows in the epochs alone.
    whole = contents(store)
    store.delete(paths.manifest("tiny"))
    dataset_file = dataset({"from: annotations": "from: annotations\n      optional: true"})
    assert ingest(dataset_file, str(folder), store).n_converted == 0
    assert contents(store) == whole


def test_a_site_that_nobody_scored(
    store: Store, dataset: LoadDataset, make_edf: MakeEdf, noise: Noise, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    mixed(folder, make_edf, noise)
    unlabelled = dataset({"stages:\n      from: annotations": "stages: none"})
    report = ingest(unlabelled, str(folder), store)
    assert report.quarantined == []
    assert report.text == (
        "0 labelled and 3 unlabelled recordings of 3 subjects in the store (3 converted, 0 already done), "
        "12 of 12 epochs not flat"
    )
    assert not any(row["labelled"] for row in rows(store).values())
    assert all(row["n_unscored"] == 4 and row["n_usable"] == 0 for row in rows(store).values())
    assert [r.labelled for r in stored_recordings(store, "tiny")] == [False] * 3


def with_emg(signals: dict[str, Any], noise: Noise) -> dict[str, Any]:
    return {**signals, "chin": (noise(4, 9), 128)}


def test_a_recording_without_an_optional_modality_is_kept(
    store: Store,
    dataset: LoadDataset,
    make_edf: MakeEdf,
    noise: Noise,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    signals = {"EEG": (noise(4), 128)}
    (folder / "p1.edf").write_bytes(make_edf(with_emg(signals, noise), "W12R"))
    (folder / "p2.edf").write_bytes(make_edf(signals, "W12R"))
    emg = "[[EEG, C3A2]]\n  emg: [chin]"

    report = ingest(dataset({"[[EEG, C3A2]]": emg}), str(folder), store)
    assert [(row["recording"], row["reason"]) for row in report.quarantined] == [
        ("p2", "missing_channel")
    ]

    # With the same file and `optional`, all are converted again: other settings decide.
    report = ingest(dataset({"[[EEG, C3A2]]": f"{emg}\noptional: [emg]"}), str(folder), store)
    assert (report.n_converted, report.quarantined) == (2, [])
    manifest = rows(store)
    assert {name: row["missing_modalities"] for name, row in manifest.items()} == {
        "p1": [],
        "p2": ["emg"],
    }
    assert manifest["p2"]["channels"] == ["EEG"]
    assert manifest["p2"]["n_usable"] == 4
    again = ingest(dataset({"[[EEG, C3A2]]": f"{emg}\noptional: [emg]"}), str(folder), store)
    assert (again.n_converted, again.n_skipped) == (0, 2)

    with pytest.raises(SystemExit) as exit_info:
        main(["ingest", str(tmp_path / "tiny.yaml"), "--data", str(folder), "--store", store.uri])
    assert exit_info.value.code == 0
    assert "without emg: p2\n" in capsys.readouterr().err


def test_a_manifest_of_before_there_were_optional_modalities_still_counts(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights
) -> None:
    folder = tiny_nights(2)
    (folder / "p9-broken.edf").write_bytes(b"words")
    ingest(dataset(), str(folder), store)
    whole = contents(store)
    newer = ["missing_modalities", "labelled"]
    old = store.read_table(paths.manifest("tiny")).drop_columns(newer)
    store.write_table(paths.manifest("tiny"), old)
    assert all(recording.labelled for recording in stored_recordings(store, "tiny"))
    report = ingest(dataset(), str(folder), store)
    assert (report.n_converted, report.n_skipped) == (0, 3)
    assert contents(store) == whole


def test_second_folder_adds_to_the_data_set(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights, tmp_path: Path
) -> None:
    folder = tiny_nights(3)
    other = tmp_path / "other"
    other.mkdir()
    (folder / "p2-night.edf").rename(other / "p2-night.edf")
    ingest(dataset(), str(folder), store)
    report = ingest(dataset(), str(other), store)
    assert (report.n_converted, report.n_skipped, report.n_kept) == (1, 0, 2)
    assert list(rows(store)) == ["p0-night", "p1-night", "p2-night"]
    apart = contents(store)

    (other / "p2-night.edf").rename(folder / "p2-night.edf")
    together = Store.open(str(tmp_path / "together"), writable=True)
    ingest(dataset(), str(folder), together)
    assert contents(together) == apart


def test_second_folder_with_other_settings_is_refused(
    store: Store, dataset: LoadDataset, tiny_nights: TinyNights, tmp_path: Path
) -> None:
    folder = tiny_nights(2)
    other = tmp_path / "other"
    other.mkdir()
    (folder / "p1-night.edf").rename(other / "p1-night.edf")
    ingest(dataset(), str(folder), store)
    before = times(store)
    changed = dataset().model_copy(update={"filter_hz": {"eeg": (1.0, 30.0)}})
    with pytest.raises(ConfigError, match=r"also holds p0-night, .* other settings"):
        ingest(changed, str(other), store)
    assert times(store) == before
