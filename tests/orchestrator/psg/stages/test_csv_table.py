"""Stages from a table with named columns: hand-written rows against the stages they stand for."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.errors import ConfigError, RecordingError
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.stages.csv_table import StagesFromCsv
from orchestrator.psg.stages.format import StageSource
from trainables.stages import UNSCORED

LABELS = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 4, "?": UNSCORED}

OURS = "onset,duration,stage\n0,30,W\n30,60,N2\n90,30,R\n"
BIDS = (
    "onset\tduration\ttrial_type\tvalue\n0.0\t30.0\tW\t5\n12.5\tn/a\tlights off\t1\n30\t30\tN1\t6\n"
)


def stages(text: str | bytes, n_epochs: int = 4, **keys: Any) -> list[int]:
    content = text if isinstance(text, bytes) else text.encode()
    section = StagesFromCsv.model_validate({"from": "csv", "file": "{stem}.csv", **keys})
    found = section.read(
        StageSource(
            content=content,
            file="s01.csv",
            annotations=(),
            duration_s=30.0 * n_epochs,
            labels=LABELS,
            beyond_signal="quarantine",
        )
    )
    assert found.onset_s == 0
    return [int(stage) for stage in found.stages]


def test_a_row_spans_its_duration_and_what_none_covers_is_unscored() -> None:
    assert stages(OURS, n_epochs=5) == [0, 2, 2, 4, UNSCORED]


def test_events_of_bids_are_one_setting() -> None:
    keys = {
        "delimiter": "tab",
        "columns": {"stage": "trial_type"},
        "other_texts": "ignore",
    }
    assert stages(BIDS, n_epochs=3, **keys) == [0, 1, UNSCORED]


@pytest.mark.parametrize(
    "text",
    [
        OURS.replace(",", ";").encode(),
        b"\xef\xbb\xbf" + OURS.replace(",", ";").encode(),
        OURS.replace(",", ";").replace("\n", "\r\n\r\n").encode(),
        b'stage;note;"onset";duration\nW;"a; b";0;30\nN2;;30;60\nR;;90;30.0\n',
    ],
    ids=["semicolons", "byte order mark", "Windows", "other order, quoted"],
)
def test_the_order_of_columns_and_the_ends_of_lines_do_not_matter(text: bytes) -> None:
    assert stages(text, delimiter="semicolon") == [0, 2, 2, 4]


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("", "unreadable", r"s01\.csv has 0 columns 'onset'; there are: none"),
        (OURS.replace("stage", "score"), "unreadable", r"has 0 columns 'stage'; .*'score'"),
        (OURS.replace("30,60", "soon,60"), "unreadable", r"has onset 'soon' in line 3"),
        (OURS.replace("30,60", "30,inf"), "unreadable", r"has duration 'inf' in line 3"),
        (OURS.replace("duration", "stage"), "unreadable", r"has 0 columns 'duration'"),
        ("onset,duration,stage,stage\n0,30,W,N1\n", "unreadable", r"has 2 columns 'stage'"),
        (OURS.replace("30,60", "30,-60"), "unreadable", r"has the duration -60 in line 3"),
        (OURS.replace("30,60,N2", "30,60"), "unreadable", "more or fewer fields in line 3"),
        (OURS.replace("30,60,", "30,0,60,0,"), "unreadable", "more or fewer fields in line 3"),
        (OURS.replace("30,60", "3_0,60"), "unreadable", r"has onset '3_0' in line 3"),
        (OURS.replace("N2", "n2"), "unknown_label", r"line 3 has 'n2', .*'other_texts: ignore'"),
        (OURS.replace("30,60", "30,0"), "unreadable", r"has 'N2' without a duration in line 3"),
        (OURS.replace("90,30", "90,n/a"), "unreadable", r"has 'R' without a duration in line 4"),
        (OURS.replace("30,60", ",60"), "unreadable", r"has no onset in line 3"),
        (OURS.replace("N2", '"N2'), "unreadable", r"cannot be read in line \d+"),
        (OURS.encode() + b"\xff", "unreadable", r"is not UTF-8 at byte 45"),
        ("onset,duration,stage\n", "no_stages", "texts found: none"),
        (OURS.replace("30,60", "31,60"), "off_grid", "does not fit the 30-s grid"),
    ],
)
def test_what_cannot_be_used_is_told(text: str | bytes, reason: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message) as refused:
        stages(text)
    assert refused.value.reason == reason


def test_a_slip_in_a_column_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text(
        "name: probe\ntitle: A data set\nlicence: none\nrecordings:\n"
        '  - files: "*.edf"\n    subject: "^[a-z]+"\n    stages:\n      from: csv\n'
        '      file: "{stem}.csv"\n      columns: {onsets: t}\nchannels:\n  eeg: [[EEG]]\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"probe\.yaml:10:\d+: unknown key.*Did you mean 'onset'"):
        load_dataset(path)


def test_one_column_cannot_be_two() -> None:
    with pytest.raises(ValidationError, match="three different columns"):
        StagesFromCsv.model_validate(
            {"from": "csv", "file": "{stem}.csv", "columns": {"onset": "t", "duration": "t"}}
        )
