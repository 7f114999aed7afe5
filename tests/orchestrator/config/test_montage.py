"""Montage files: the bundled ones have the published channels, and mistakes are reported where they stand."""

from pathlib import Path

import pytest

from orchestrator.config.montage import BUNDLED, load_montage
from orchestrator.errors import ConfigError

GOOD = """\
name: ours
title: Our laboratory
channels:
  emg: [EMG chin]
  eeg: [[EEG C3-M2, C3A2], F3]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "ours.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "n_channels"),
    [
        ("basic", {"eeg": 1, "eog": 1, "emg": 1, "ecg": 1}),
        # github.com/ziyujia/MSTGCN, config/ISRUC_S3.config and its multimodal groups
        ("isruc-s3", {"eeg": 6, "eog": 2, "emg": 1, "ecg": 1}),
        # Jia et al., GraphSleepNet, IJCAI 2020
        ("mass-ss3", {"eeg": 20, "eog": 2, "emg": 3, "ecg": 1}),
    ],
)
def test_bundled_montages_have_the_published_channels(
    name: str, n_channels: dict[str, int]
) -> None:
    montage = load_montage(name)
    assert montage.name == name
    assert {m: len(labels) for m, labels in montage.labels.items()} == n_channels


def test_no_other_montage_is_bundled() -> None:
    assert BUNDLED == ("basic", "isruc-s3", "mass-ss3")


def test_the_order_of_isruc_is_that_of_featurenet() -> None:
    assert load_montage("isruc-s3").labels == {
        "eeg": ("C3-A2", "C4-A1", "F3-A2", "F4-A1", "O1-A2", "O2-A1"),
        "eog": ("LOC-A2", "ROC-A1"),
        "emg": ("X1",),
        "ecg": ("X2",),
    }


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    montage = load_montage(str(write(tmp_path, GOOD)))
    assert montage.channels["eeg"] == (("EEG C3-M2", "C3A2"), ("F3",))
    # In the order of the epoch store, whatever that of the file.
    assert list(montage.labels.items()) == [("eeg", ("EEG C3-M2", "F3")), ("emg", ("EMG chin",))]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "titel:", "unknown key 'titel' in this file. Did you mean 'title'?"),
        ("emg:", "emgg:", "unknown key 'emgg' in channels. Did you mean 'emg'?"),
        ("[EMG chin]", "[]", "channels.emg"),
        ("[EMG chin]", "[[]]", "a channel needs at least one name"),
        ("F3]", "c3a2]", "channels.eeg[1] is \"c3a2\": the name 'c3a2' already stands for another channel"),
        ("name: ours", "name: Our Lab", "it becomes a folder name"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_montage(str(path))
    line = next(line for line in str(caught.value).splitlines() if message in line)
    assert line.startswith(f"{path}:{GOOD[: GOOD.index(old)].count(chr(10)) + 1}:")


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"'isruc-s4' is neither .* Did you mean 'isruc-s3'\?"):
        load_montage("isruc-s4")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_montage("nowhere.yaml")
