"""Stored JSON that is damaged: named by file, line and column, with what can be done."""

from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.store import paths
from orchestrator.store.decoding import Kinds, damaged, json_lines, json_object, read_json
from orchestrator.store.store import Store

MANY_DIGITS = b"9" * 5000


@pytest.mark.parametrize(
    ("content", "at", "what"),
    [
        (b"", "1:1", "nothing is in it"),
        (b" \n\n", "1:1", "nothing is in it"),
        (bytes(12), "1:1", "it holds 12 zero bytes, as after a power failure"),
        (b'{"a": 1,\n "b": \x00\x00\x00}', "2:7", "no JSON"),
        (b'{"a": 1,\n "b": 2', "2:8", "no JSON"),
        (b'{"a": 1,\n "b": "\xff"}', "2:8", "byte 0xff is no UTF-8 text"),
        (b'{"a": 1}\n{"a": 1}', "2:1", "no JSON"),
        (b"[]", "1:1", r"it holds \[\], and no JSON object"),
        (b"null", "1:1", "it holds null, and no JSON object"),
        (b'"' + b"x" * 99 + b'"', "1:1", r'holds "x+\.\.\., and no'),
        (b"[" * 100_000, "1:1", "no JSON of ours"),
        (b'{"a": ' + MANY_DIGITS + b"}", "1:1", "no JSON of ours"),
        (b'{"b": 1}', "1:1", "it has no 'a'"),
        (b'{"a": "one"}', "1:1", "its 'a' is \"one\""),
        (b'{"a": null}', "1:1", "its 'a' is null"),
    ],
    ids=str,
)
def test_what_is_no_object_of_ours(content: bytes, at: str, what: str) -> None:
    with pytest.raises(
        IntegrityError, match=rf"^/x/lock\.json:{at} is damaged: .*{what}"
    ) as caught:
        json_object(content, "/x/lock.json", {"a": int})
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith(". If no process runs the sweep, remove it.")


@pytest.mark.parametrize(
    ("value", "is_time"),
    [
        ('"2026-01-01T10:00:00+00:00"', True),
        ('"2026-01-01T10:00:00.123+09:00"', True),
        ('"2026-01-01T10:00:00"', False),  # of which zone?
        ('"yesterday"', False),
        ("1767261600", False),
    ],
)
def test_a_time_has_a_zone(value: str, is_time: bool) -> None:
    kinds: Kinds = {"at": datetime}
    content = f'{{"at": {value}}}'.encode()
    if is_time:
        assert json_object(content, "x", kinds)
        return
    with pytest.raises(IntegrityError, match="its 'at' is"):
        json_object(content, "x", kinds)


def test_values_of_either_kind(tmp_path: Path) -> None:
    kinds: Kinds = {"a": str | None, "b": int | float}
    assert json_object(b'{"a": null, "b": 1.5, "c": []}', "x", kinds)["b"] == 1.5
    with pytest.raises(IntegrityError, match="its 'b' is null"):
        json_object(b'{"a": "", "b": null}', "x", kinds)


def test_lines_are_numbered_as_editors_do() -> None:
    lines = b'{"a": 0}\n{"a": 1}\n{"a": 2}\n'
    assert json_lines(lines, "x") == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert json_lines(lines + b'{"a', "x") == json_lines(lines, "x")
    assert json_lines(b"", "x") == []
    for broken in (
        b"{",
        b"",
        bytes(3),
        b"\xff",
        b"[]",
        b"null",
        b'{"a": 1}\r{"a": 1}',
        b'{"b": 1}',
    ):
        with pytest.raises(IntegrityError, match=r"^/x/events\.jsonl:3 is damaged: .* delete this"):
            json_lines(b'{"a": 0}\n{"a": 1}\n' + broken + b"\n", "/x/events.jsonl", {"a": int})
    with pytest.raises(IntegrityError, match=r"^x:12 is damaged"):
        json_lines(b'{"a": 0}\nno\n', "x", first=11)


def test_files_of_a_store_are_named_by_their_uri(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    path = paths.sweep_manifest("tau")
    with pytest.raises(FileNotFoundError):
        read_json(store, path)
    store.write_bytes(path, b'{"method": "selective"}')
    assert read_json(store, path, {"method": str}) == {"method": "selective"}
    store.write_bytes(path, b'{\n"method"')
    with pytest.raises(IntegrityError, match=r"--as NEWNAME`\.$") as caught:
        read_json(store, path)
    assert str(caught.value).startswith(f"{tmp_path}/sweeps/tau/manifest.json:2:9 is damaged: ")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (paths.sweep_journal("tau"), "keep only the lines before this one"),
        (paths.sweep_stop("tau"), "ask again"),
        (paths.encoder_json("e"), "pretrain again"),
        (paths.fold_json("f"), "trains the fold again"),
        (paths.live_metrics("tau", "s"), "Remove it: it only says how a training was doing"),
        (paths.score_run("s"), "run the command that makes it again"),
    ],
)
def test_each_file_has_its_own_advice(path: str, hint: str) -> None:
    assert hint in str(damaged(f"s3://bucket/{path}", "it is no JSON", line=1, column=1))
