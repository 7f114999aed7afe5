"""Files of a staged recording, opened by other people's programs: MNE, edfio, pandas, and our own ingest."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import edfio
import mne
import numpy as np
import pandas as pd
import pytest

from orchestrator.predict.files import (
    EVENT_TEXTS,
    epochs_csv,
    events_tsv,
    hypnogram_edf,
    night_files,
    summary_json,
)
from orchestrator.predict.staged import StagedNight
from orchestrator.psg.edf import read_annotations
from orchestrator.psg.hypnogram import Hypnogram, from_annotations
from orchestrator.psg.stages.csv_table import StagesFromCsv
from orchestrator.psg.stages.format import StageSource
from trainables.stages import ANNOTATION_STAGES, STAGE_NAMES, UNSCORED, Stage

MakeNight = Callable[..., StagedNight]


def duration_s(night: StagedNight) -> float:
    """Of the signal."""
    return night.onset_s + 30 * night.n_epochs + (night.remainder_s or 0)


def assert_same(found: Hypnogram, night: StagedNight) -> None:
    assert found.onset_s == night.onset_s
    assert found.stages.tolist() == night.stages.tolist()


def summary(night: StagedNight) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(summary_json(night))
    return found


@pytest.mark.heavy
def test_every_file_is_named_after_the_recording_and_the_same_each_time(night: StagedNight) -> None:
    files = night_files(night)
    assert list(files) == [
        "SC4001E0_hypnogram.edf",
        "SC4001E0_events.tsv",
        "SC4001E0.csv",
        "SC4001E0.png",
        "SC4001E0_summary.json",
    ]
    assert files == night_files(night)


# EDF+


def test_ingest_reads_the_hypnogram_back(night: StagedNight) -> None:
    annotations = read_annotations(hypnogram_edf(night), "SC4001E0_hypnogram.edf")
    assert_same(from_annotations(annotations, ANNOTATION_STAGES, duration_s(night)), night)


@pytest.mark.parametrize("stages", [[-1, 0, 4, -1], [-1], [2], [0, 1, 2, 3, 4]])
def test_ingest_reads_gaps_at_the_ends_back(make_night: MakeNight, stages: list[int]) -> None:
    night = make_night(stages, onset_s=3.5)
    annotations = read_annotations(hypnogram_edf(night), "a.edf")
    assert_same(from_annotations(annotations, ANNOTATION_STAGES, duration_s(night)), night)


@pytest.mark.heavy
def test_mne_reads_the_hypnogram(night: StagedNight, tmp_path: Path) -> None:
    path = tmp_path / "hypnogram.edf"
    path.write_bytes(hypnogram_edf(night))
    texts: list[str] = []
    for mark in mne.read_annotations(path):
        assert mark["onset"] == pytest.approx(night.onset_s + 30 * len(texts))
        texts += [mark["description"]] * round(mark["duration"] / 30)
    assert texts == [EVENT_TEXTS[int(stage)] for stage in night.stages]


def test_the_header_has_start_and_subject(night: StagedNight) -> None:
    edf = edfio.read_edf(io.BytesIO(hypnogram_edf(night)))
    # Without the quarter of a second: it would move the annotations.
    assert datetime.combine(edf.startdate, edf.starttime) == datetime(2024, 3, 5, 22, 47, 30)
    assert edf.patient.code == "SC_4_"
    assert edf.recording.hospital_administration_code == "SC4001E0"
    assert edf.annotations[0].onset == night.onset_s


@pytest.mark.parametrize("start", [None, datetime(2187, 3, 5, 22, 47)])
def test_a_date_that_edf_cannot_say_is_left_out(
    make_night: MakeNight, start: datetime | None
) -> None:
    edf = edfio.read_edf(io.BytesIO(hypnogram_edf(make_night([0], start=start))))
    with pytest.raises(edfio.AnonymizedDateError):
        _ = edf.startdate
    assert edf.starttime.hour == (0 if start is None else 22)


def test_every_text_is_one_that_ingest_knows() -> None:
    assert {ANNOTATION_STAGES[text]: text for text in EVENT_TEXTS.values()} == EVENT_TEXTS
    assert set(EVENT_TEXTS) == {UNSCORED, *Stage}


# Events


def test_events_are_a_table_of_bids(night: StagedNight) -> None:
    table = pd.read_csv(io.BytesIO(events_tsv(night)), sep="\t", na_values="n/a")
    assert list(table.columns[:3]) == ["onset", "duration", "trial_type"]
    assert table["onset"].tolist() == (12.5 + 30 * np.arange(240)).tolist()
    assert set(table["duration"]) == {30}
    assert [ANNOTATION_STAGES[text] for text in table["trial_type"]] == night.stages.tolist()
    assert table["flat"].tolist() == night.flat.astype(int).tolist()
    assert night.reference is not None
    assert [ANNOTATION_STAGES[text] for text in table["reference"]] == night.reference.tolist()
    largest = np.where(night.is_staged, night.probability.max(axis=1), np.nan)
    np.testing.assert_array_equal(table["probability"].astype(np.float32), largest)
    assert table["probability"].isna().sum() == table["entropy"].isna().sum() == 12


def test_ingest_reads_the_events_back(night: StagedNight) -> None:
    section = {
        "from": "csv",
        "file": "{stem}_events.tsv",
        "delimiter": "tab",
        "columns": {"stage": "trial_type"},
    }
    found = StagesFromCsv.model_validate(section).read(
        StageSource(
            content=events_tsv(night),
            file="SC4001E0_events.tsv",
            annotations=(),
            duration_s=duration_s(night),
            labels=ANNOTATION_STAGES,
            beyond_signal="quarantine",
        )
    )
    assert_same(found, night)


def test_without_a_scorer_the_column_stays_and_is_empty(make_night: MakeNight) -> None:
    table = events_tsv(make_night([0, -1])).decode().splitlines()
    assert table[1].endswith("\t0\tn/a")
    assert table[2] == "30.0\t30\tSleep stage ?\tn/a\tn/a\t0\tn/a"


def test_the_probability_is_that_of_the_stage_that_was_given(make_night: MakeNight) -> None:
    probability = np.array([[0.25, 0.75, 0, 0, 0]], np.float32)
    (_, row) = events_tsv(make_night([0], probability=probability)).decode().splitlines()
    assert row.split("\t")[2:4] == ["Sleep stage W", "0.25"]


# Table


def test_the_table_gives_all_numbers_back(night: StagedNight) -> None:
    table = pd.read_csv(io.BytesIO(epochs_csv(night)))
    assert table["epoch"].tolist() == list(range(240))
    assert table["onset_s"].tolist() == night.onsets_s.tolist()
    probability = table[[f"p_{name}" for name in STAGE_NAMES]].to_numpy(np.float32)
    np.testing.assert_array_equal(probability, night.probability)
    np.testing.assert_allclose(table["entropy"], night.entropy, rtol=1e-6)


def test_the_table_names_stages_as_yasa_does(make_night: MakeNight) -> None:
    table = pd.read_csv(io.BytesIO(epochs_csv(make_night([0, 1, 2, 3, 4, -1]))))
    # The names in the hypnograms that YASA has read, see yasa_statistics.py.
    stored = (Path(__file__).parent / "yasa_statistics.json").read_text(encoding="utf-8")
    texts = [case["stages"] for case in json.loads(stored)["hypnograms"].values()]
    known = {part.lstrip("0123456789") for text in texts for part in text.split()}
    assert table["stage"].tolist() == ["W", "N1", "N2", "N3", "REM", "UNS"]
    assert known == set(table["stage"])


def test_an_epoch_that_is_not_staged_has_empty_cells(make_night: MakeNight) -> None:
    assert epochs_csv(make_night([-1])).decode().splitlines()[1] == "0,0.0,UNS,,,,,,"


# Summary


def test_the_summary_says_what_one_has_to_know(night: StagedNight) -> None:
    found = summary(night)
    assert found["recording"] == "SC4001E0"
    assert found["subject"] == "SC 4Ö"
    assert found["start"] == "2024-03-05T22:47:30.250000"
    assert found["model"] == {"sweep": "tau", "trial": "3f2a"}
    assert found["notes"] == ["The model was trained on this subject."]
    assert (found["n_epochs"], found["onset_s"], found["remainder_s"]) == (240, 12.5, 7.5)
    assert (found["n_unstaged"], found["unstaged_share"]) == (12, 0.05)
    assert (found["n_flat"], found["flat_share"]) == (10, round(10 / 240, 4))
    assert found["uncertain_share"] == round(found["n_uncertain"] / 240, 4)
    assert found["mean_entropy"] == pytest.approx(np.nanmean(night.entropy), abs=1e-4)
    assert found["sleep"]["tib_min"] == 120
    assert found["sleep"]["unstaged_min"] == 6
    assert found["scorer"]["sleep"]["unstaged_min"] == 5
    assert night.agreement is not None
    assert found["scorer"]["agreement"]["kappa"] == pytest.approx(night.agreement.kappa, abs=1e-4)


def test_a_hand_made_night_has_the_statistics_that_one_counts(make_night: MakeNight) -> None:
    found = summary(make_night([0, 0, 1, 2, 3, 0, 2, 4, 4, 0]))["sleep"]
    transitions = found.pop("transitions")
    assert found == {
        "tib_min": 5.0,
        "spt_min": 3.5,
        "tst_min": 3.0,
        "waso_min": 0.5,
        "sleep_efficiency_percent": 60.0,
        "sleep_maintenance_percent": 85.7143,
        "fragmentation_per_h": 40.0,
        "sol_min": 1.0,
        "sol_persistent_min": None,
        "rem_latency_min": 3.5,
        "rem_latency_from_onset_min": 2.5,
        "w_min": 2.0,
        "n1_min": 0.5,
        "n2_min": 1.0,
        "n3_min": 0.5,
        "rem_min": 1.0,
        "n1_percent_of_tst": 16.6667,
        "n2_percent_of_tst": 33.3333,
        "n3_percent_of_tst": 16.6667,
        "rem_percent_of_tst": 33.3333,
        "unstaged_min": 0.0,
        "n_transitions": 7,
    }
    assert transitions["N3"] == {"W": 1, "N1": 0, "N2": 0, "N3": 0, "REM": 0}


def test_what_a_model_cannot_say_is_unknown_and_not_nothing(make_night: MakeNight) -> None:
    found = summary(make_night([0, 3], can_say=(Stage.W, Stage.N3)))
    assert found["stages_the_model_cannot_say"] == ["N1", "N2", "REM"]
    (note,) = found["notes"]
    assert note.startswith("The model cannot say N1, N2, REM:")
    unknown = {key for key, value in found["sleep"].items() if value is None}
    assert unknown == {
        *(f"{name}_min" for name in ("n1", "n2", "rem")),
        *(f"{name}_percent_of_tst" for name in ("n1", "n2", "rem")),
        *("rem_latency_min", "rem_latency_from_onset_min", "sol_persistent_min"),
    }
    assert found["sleep"]["n3_min"] == 0.5
    assert found["scorer"] is None


def test_a_recording_that_could_not_be_staged_has_a_summary(make_night: MakeNight) -> None:
    found = summary(make_night([-1, -1], flat=np.ones(2, np.bool_)))
    assert found["mean_entropy"] is None
    assert (found["flat_share"], found["sleep"]["tst_min"]) == (1.0, 0.0)


@pytest.mark.heavy
def test_files_but_the_picture_need_no_heavy_library() -> None:
    code = (
        "import sys, orchestrator.predict.files\n"
        "print(*{'ray', 'torch', 'mne', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == []
