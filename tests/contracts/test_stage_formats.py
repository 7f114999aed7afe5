"""Every format of stages, by being listed."""

import json
import pickle
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.errors import ConfigError
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.stages import STAGE_FORMATS, StageFormat

DATASET = """\
name: probe
title: A data set
licence: none
recordings:
  - files: "*.edf"
    subject: '^[a-z0-9]+'
    stages: {stages}
channels:
  eeg: [[EEG]]
"""
SMALLEST = {
    "annotations": "{from: annotations}",
    "codes": "{from: codes, file: '{stem}.txt', codes: {0: W}}",
    "csv": "{from: csv, file: '{stem}.csv'}",
    "none": "{from: none}",
}
"""What a data-set file has to write of each."""

every_format = pytest.mark.parametrize("name", STAGE_FORMATS)


def load(tmp_path: Path, stages: str) -> StageFormat:
    path = tmp_path / "probe.yaml"
    path.write_text(DATASET.replace("{stages}", stages), encoding="utf-8")
    return load_dataset(path).recordings[0].stages


@every_format
def test_its_name_is_what_a_file_writes(name: str, tmp_path: Path) -> None:
    section = STAGE_FORMATS[name]
    assert get_args(section.model_fields["source"].annotation) == (name,)
    assert isinstance(load(tmp_path, SMALLEST[name]), section)


@every_format
def test_a_slip_in_its_name_is_answered_with_all_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{name}'") as refused:
        load(tmp_path, SMALLEST[name].replace(f"from: {name}", f"from: {name}x"))
    assert all(other in str(refused.value) for other in STAGE_FORMATS)


@every_format
def test_every_key_is_explained(name: str) -> None:
    section = STAGE_FORMATS[name]
    assert section.__doc__
    assert all(field.description for field in section.model_fields.values())


@every_format
def test_it_goes_into_ids_and_into_other_processes(name: str, tmp_path: Path) -> None:
    section = load(tmp_path, SMALLEST[name])
    assert json.loads(json.dumps(section.identity())) == section.identity()
    assert pickle.loads(pickle.dumps(section)) == section


def test_no_two_formats_are_one_in_an_id(tmp_path: Path) -> None:
    found = [json.dumps(load(tmp_path, text).identity()) for text in SMALLEST.values()]
    assert len(set(found)) == len(STAGE_FORMATS)
