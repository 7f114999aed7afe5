"""The record of a model: what is written is read, and nothing else is."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.models.record import FORMAT, record_of
from orchestrator.store.store import sha256
from tests.orchestrator import to_stage

RECORD = to_stage.record([b"weights"])
WHERE = "models/t001/model.json"


def changed(**fields: Any) -> bytes:
    """The record with other fields, and a hash that fits them."""
    content = {**json.loads(RECORD.as_json()), **fields}
    del content["sha256"]
    whole = {**content, "sha256": sha256(json.dumps(content, indent=1, sort_keys=True).encode())}
    return json.dumps(whole).encode()


def of_file(**fields: Any) -> dict[str, Any]:
    """The entry of the weights with other fields."""
    (entry,) = json.loads(RECORD.as_json())["files"]
    return {**entry, **fields}


def refused(data: bytes) -> str:
    with pytest.raises(IntegrityError) as caught:
        record_of(data, WHERE)
    assert caught.value.exit_code == 4
    assert WHERE in str(caught.value)
    return str(caught.value)


def test_a_record_is_read_as_it_was_written() -> None:
    read = record_of(RECORD.as_json(), WHERE)
    assert read == RECORD
    assert read.as_json() == RECORD.as_json()
    assert read.subjects == ("p1",)


def test_modalities_of_weights_are_written_where_some_were_not_learned() -> None:
    assert b'"modalities"' not in json.dumps(of_file()).encode()
    entry = replace(RECORD.files[0], modalities=("eeg",))
    several = replace(RECORD, modalities=("eeg", "eog"), files=(entry, RECORD.files[0]))
    read = record_of(several.as_json(), WHERE)
    assert read == several
    assert [(e.seen("eeg"), e.seen("eog")) for e in read.files] == [(True, False), (True, True)]


def test_every_changed_byte_is_found() -> None:
    data = RECORD.as_json()
    for position in range(0, len(data), 7):
        other = bytearray(data)
        other[position] ^= 1
        try:
            if json.loads(other) == json.loads(data):  # white space between tokens says nothing
                continue
        except ValueError:
            pass
        refused(bytes(other))


def test_laying_it_out_otherwise_is_no_change() -> None:
    assert record_of(json.dumps(json.loads(RECORD.as_json())).encode(), WHERE) == RECORD


def test_a_later_version_is_named_before_anything_else_is_read() -> None:
    said = refused(json.dumps({"format": FORMAT + 1}).encode())
    assert f"has format {FORMAT + 1}" in said
    assert "Update" in said


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scale": "volts"}, "'scale' is 'volts'; allowed: recording, microvolts"),
        ({"stages": ["W", "N4"]}, "'stages' are ['W', 'N4']; allowed: some of W, N1"),
        ({"stages": []}, "'stages' are []"),
        ({"stages": [["W"]]}, "'stages' are [['W']]"),
        ({"modalities": ["meg"]}, "'modalities' are ['meg']"),
        ({"modalities": []}, "'modalities' are []"),
        ({"files": []}, "names no file"),
        ({"files": [{"file": "a"}]}, "entries are not those of a model"),
        ({"files": [7]}, "entries are not those of a model"),
        (
            {"files": [dict.fromkeys(("file", "sha256", "seed", "fold", "subject"), 7)]},
            "'file' is 7",
        ),
        (
            {"files": [of_file(modalities=["eog"])]},
            "of one of its files, 'modalities' are ['eog']",
        ),
        ({"files": [of_file(modalities="eeg")]}, "of one of its files, 'modalities' is 'eeg'"),
        ({"training": {}}, "'training' names no subjects"),
        ({"clip_spreads": "20"}, "'clip_spreads'"),
    ],
)
def test_a_record_that_no_model_has_is_refused(fields: dict[str, Any], says: str) -> None:
    assert re.search(re.escape(says), refused(changed(**fields)))


def test_a_key_that_is_missing_is_named() -> None:
    content = json.loads(RECORD.as_json())
    del content["sha256"]
    assert "has no 'sha256'" in refused(json.dumps(content).encode())


def test_what_is_no_json_is_named_by_line() -> None:
    assert f"{WHERE}:1:" in refused(b"\x80\x04K\x01.")
