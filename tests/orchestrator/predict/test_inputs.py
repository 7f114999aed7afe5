"""Which recordings files, folders and globs name, and how they are read for a model."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, DataError
from orchestrator.predict.inputs import SUFFIXES, Input, find_inputs, settings_for
from orchestrator.psg.dataset import DatasetFile, load_dataset
from tests.orchestrator import to_stage

DATASET = """\
name: home
title: Nights at home
licence: none
recordings:
  - files: "**/p*.edf"
    subject: '^p\\d+'
    stages: {from: csv, file: "{stem}.csv"}
labels: {Wach: W}
channels:
  eeg: [[C4-M1, "EEG C4"]]
"""


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFile:
    file = tmp_path / "home.yaml"
    file.write_text(DATASET, encoding="utf-8")
    return load_dataset(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one in a subfolder; a hypnogram of each kind; and what is no recording."""
    folder = tmp_path / "data"
    to_stage.night(folder / "p1-n1.edf", 1)
    to_stage.night(folder / "later/p2-n1.REC", 1)
    to_stage.write_edf(folder / "p1-n1_hypnogram.edf", {}, "W")
    to_stage.write_edf(folder / "later/p2-Hypnogram.edf", {}, "W")
    (folder / "notes.txt").write_text("none", encoding="utf-8")
    (folder / "broken.edf").write_bytes(b"no header")
    (folder / "head.vhdr").write_bytes(b"BrainVision")
    return folder


def names(inputs: list[Input]) -> list[str]:
    return [one.source.recording for one in inputs]


def refused(*given: Path | str, dataset: DatasetFile | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        find_inputs([str(name) for name in given], dataset)
    assert caught.value.exit_code == 2
    return str(caught.value)


# Names


def test_a_folder_is_all_recordings_in_it(folder: Path) -> None:
    """A broken one too, so that it is told; annotations alone are no recording."""
    found = find_inputs([str(folder)])
    assert names(found) == ["broken", "p2-n1", "p1-n1"]
    assert [one.file for one in found][1:] == [folder / "later/p2-n1.REC", folder / "p1-n1.edf"]
    assert {one.subject for one in found} == {None}


def test_a_glob_leaves_hypnograms_out_and_a_file_does_not(folder: Path) -> None:
    assert names(find_inputs([f"{folder}/p*.edf"])) == ["p1-n1"]
    assert names(find_inputs([f"{folder}/**/p*"])) == ["p2-n1", "p1-n1"]
    named = find_inputs([str(folder / "p1-n1_hypnogram.edf")])
    assert names(named) == ["p1-n1_hypnogram"]


def test_a_folder_of_hypnograms_holds_no_recording(tmp_path: Path) -> None:
    to_stage.write_edf(tmp_path / "data/a_hypnogram.edf", {}, "W")
    assert "holds no recording" in refused(tmp_path / "data")
    assert "matches no recording" in refused(f"{tmp_path}/data/*.edf")


def test_formats_of_several_files_are_not_taken_from_a_folder() -> None:
    assert ".vhdr" not in SUFFIXES  # its signals are in another file, and a recording is read alone


def test_a_name_that_is_nothing(tmp_path: Path) -> None:
    assert f"{tmp_path}/none*.edf is no file, no folder" in refused(f"{tmp_path}/none*.edf")


def test_what_is_named_twice_is_staged_once(
    folder: Path, dataset: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert names(find_inputs(["data/p1-n1.edf", f"{folder}/p1-*.edf", "./data/../data"])) == [
        "p1-n1",
        "broken",
        "p2-n1",
    ]
    (folder / "later/p2-n1.REC").rename(folder / "later/p2-n1.edf")
    found = find_inputs(["data", "data/later/p2-n1.edf", str(folder)], dataset)
    assert sorted(names(found)) == ["p1-n1", "p2-n1"]


def test_two_recordings_of_one_name_are_both_named(folder: Path) -> None:
    other = to_stage.night(folder / "later/p1-n1.edf", 1)
    said = refused(folder)
    assert str(other) in said
    assert str(folder / "p1-n1.edf") in said
    assert "--out" in said


def test_a_name_with_the_characters_of_a_glob(tmp_path: Path) -> None:
    file = to_stage.night(tmp_path / "night[1].edf", 1)
    assert names(find_inputs([str(file)])) == ["night[1]"]


def test_a_link_keeps_its_own_name_and_neighbours(folder: Path, dataset: DatasetFile) -> None:
    """As in DataLad, where content lies under the name of its hash."""
    content = to_stage.night(folder / "store/MD5E-s1", 1)
    for name in ("p7-n1.edf", "q7.edf"):
        (folder / name).symlink_to(content)
    (folder / "p7-n1.csv").write_text("onset,duration,stage\n0,30,Wach\n", encoding="utf-8")
    (one,) = find_inputs([str(folder / "p7-n1.edf")], dataset)
    assert (one.file, one.subject, one.source.stage_path) == (
        folder / "p7-n1.edf",
        "p7",
        "p7-n1.csv",
    )
    assert names(find_inputs([str(folder / "q7.edf")])) == ["q7"]


# With a data-set file


def test_a_data_set_file_says_subjects_and_stages(folder: Path, dataset: DatasetFile) -> None:
    (folder / "p1-n1.csv").write_text("onset,duration,stage\n0,30,Wach\n", encoding="utf-8")
    for name in (folder, folder / "p1-n1.edf", f"{folder}/p1*.edf"):
        (one,) = find_inputs([str(name)], dataset)
        assert (one.subject, one.dataset, one.source.stage_path) == ("p1", "home", "p1-n1.csv")
        assert one.notes == ()


def test_a_file_that_is_not_described_is_staged_and_that_is_said(
    folder: Path, tmp_path: Path, dataset: DatasetFile
) -> None:
    for file in (folder / "other.edf", tmp_path / "elsewhere/other.edf"):
        to_stage.night(file, 1)
        (one,) = find_inputs([str(file)], dataset)
        assert one.subject is None
        assert "does not describe this recording" in one.notes[0]


def test_a_folder_with_nothing_that_is_described(tmp_path: Path, dataset: DatasetFile) -> None:
    to_stage.night(tmp_path / "data/other.edf", 1)
    assert "no file matches '**/p*.edf'" in refused(tmp_path / "data", dataset=dataset)


# How they are read


def test_a_recording_is_read_as_the_training_data_were() -> None:
    found = settings_for(to_stage.record([b""]))
    assert found.channels == {"eeg": (("EEG Fpz-Cz", "Fpz-Cz"),)}
    assert found.filter_hz == {"eeg": (0.3, 35.0)}
    assert found.labels["Sleep stage W"] == 0
    assert found.labels_beyond_signal == "trim"
    assert found.optional == ()


def test_names_of_a_data_set_file_come_first(dataset: DatasetFile) -> None:
    found = settings_for(to_stage.record([b""]), (), dataset)
    assert found.channels == {"eeg": (("C4-M1", "EEG C4", "EEG Fpz-Cz", "Fpz-Cz"),)}
    assert found.labels["Wach"] == 0


def test_names_of_a_data_set_file_with_another_number_of_channels_do_not_count(
    dataset: DatasetFile,
) -> None:
    record = to_stage.record(
        [b""], preprocessing=to_stage.preprocessing(channels={"eeg": [["C3"], ["C4"]]})
    )
    assert settings_for(record, (), dataset).channels == {"eeg": (("C3",), ("C4",))}


def test_a_channel_that_is_named_is_taken_alone() -> None:
    found = settings_for(to_stage.record([b""]), [("eeg", "EEG A1=A2")])
    assert found.channels == {"eeg": (("EEG A1=A2",),)}


def test_a_modality_of_two_channels_needs_two_names() -> None:
    two = to_stage.preprocessing(channels={"eeg": [["C3", "C3-M2"], ["C4"]]})
    record = to_stage.record([b""], preprocessing=two)
    found = settings_for(record, [("eeg", "X4"), ("eeg", "X3")])
    assert found.channels == {"eeg": (("X4",), ("X3",))}
    with pytest.raises(ConfigError, match=r"needs 2, in this order: C3 or C3-M2, C4\. Give"):
        settings_for(record, [("eeg", "X4")])


def test_a_modality_that_the_model_has_not() -> None:
    with pytest.raises(ConfigError, match="needs eeg, and no emg"):
        settings_for(to_stage.record([b""]), [("emg", "EMG chin")])


def test_the_only_modality_is_never_optional() -> None:
    three = ("eeg", "eog", "emg")
    stored = to_stage.preprocessing(three, optional=("eog", "emg"))
    several = to_stage.record([b""], modalities=three, preprocessing=stored)
    assert settings_for(several).optional == ("eog", "emg")
    assert (
        settings_for(to_stage.record([b""], modalities=("emg",), preprocessing=stored)).optional
        == ()
    )


def test_a_model_that_does_not_say_what_it_needs() -> None:
    with pytest.raises(DataError, match="does not say which channels it needs"):
        settings_for(to_stage.record([b""], preprocessing={}))
