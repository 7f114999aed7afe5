"""The code that a sweep began with stays in its manifest, and what was made by other code is told."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.store import paths
from orchestrator.store.provenance import Code, this_code
from orchestrator.store.store import Store
from orchestrator.sweeps.manifest import (
    PACKAGES,
    add_to_manifest,
    tell_encoders_of_other_code,
    tell_other_code,
    write_manifest,
)
from orchestrator.sweeps.watch.event_schema import event_schema
from orchestrator.telemetry.events import EventLog, read_events

MakeSweep = Callable[..., SelectiveSweep]

OTHER = Code(commit=None, dirty=None, trainables_sha256="b" * 64)


def manifest(store: Store) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    return content


def save_manifest(store: Store, code: Code | None) -> None:
    content = {"name": "probe"} | ({"code": asdict(code)} if code else {})
    store.write_bytes(paths.sweep_manifest("probe"), json.dumps(content).encode())


def told(store: Store) -> list[dict[str, Any]]:
    """Return the events of a sweep, as a reader of the log sees them."""
    lines = read_events(store, paths.sweep_events("probe"))
    schema = Draft202012Validator(event_schema())
    assert [line for line in lines if not schema.is_valid(line)] == []
    every = ("time", "host", "pid")
    return [{key: value for key, value in line.items() if key not in every} for line in lines]


def test_a_manifest_has_versions_and_the_code_that_the_sweep_began_with(
    store: Store, make_sweep: MakeSweep
) -> None:
    sweep = make_sweep()
    write_manifest(store, sweep, {"n": 2}, packages=(*PACKAGES, "pot"))
    first = store.read_bytes(paths.sweep_manifest("probe"))
    assert manifest(store)["code"] == asdict(this_code())
    assert manifest(store)["versions"].keys() == {*PACKAGES, "pot", "python"}
    assert manifest(store)["versions"]["ray"] == version("ray")
    about = {key: manifest(store)[key] for key in ("name", "method", "seed", "n")}
    assert about == {"name": "probe", "method": "selective", "seed": 1, "n": 2}
    assert manifest(store)["declared_stages"] == ["W", "N1", "N2", "N3", "REM"]
    write_manifest(store, sweep, {"n": 2}, packages=(*PACKAGES, "pot"))
    assert store.read_bytes(paths.sweep_manifest("probe")) == first
    add_to_manifest(store, "probe", {"n": 3})
    assert manifest(store) == json.loads(first) | {"n": 3}


def test_a_sweep_that_goes_on_keeps_the_code_that_it_began_with(
    store: Store, make_sweep: MakeSweep
) -> None:
    save_manifest(store, OTHER)
    write_manifest(store, make_sweep(), {})
    assert manifest(store)["code"] == asdict(OTHER)
    save_manifest(store, None)  # what it began with is not known, and is not this code perhaps
    write_manifest(store, make_sweep(), {})
    assert "code" not in manifest(store)


def test_going_on_with_other_code_is_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now = this_code()
    with EventLog(store, paths.sweep_events("probe")) as log:
        tell_other_code(store, "probe", log)  # it begins
        for before in (None, now, replace(now, commit=None, dirty=None)):
            save_manifest(store, before)
            tell_other_code(store, "probe", log)
        assert told(store) == []
        save_manifest(store, OTHER)
        tell_other_code(store, "probe", log)
    assert told(store) == [{"event": "other_code", "before": asdict(OTHER), "now": asdict(now)}]
    assert capsys.readouterr().err == (
        "sweep 'probe' was begun with trainables/ bbbbbbbbbbbb (commit unknown) "
        f"and goes on with {now.text}\n"
    )


def test_encoders_of_other_code_are_told_once_for_each_code(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    third = replace(OTHER, commit="3" * 40, dirty=True, trainables_sha256="c" * 64)
    for encoder_id, code in {"e1": OTHER, "e2": this_code(), "e3": OTHER, "e4": third}.items():
        content = json.dumps({"code": asdict(code)})
        store.write_bytes(paths.encoder_json(encoder_id), content.encode())
    with EventLog(store, paths.sweep_events("probe")) as log:
        tell_encoders_of_other_code(store, "probe", log, ["e2", "none"])
        save_manifest(store, None)
        tell_encoders_of_other_code(store, "probe", log, ["e1"])
        assert told(store) == []
        store.delete(paths.sweep_manifest("probe"))  # it begins, with this code
        tell_encoders_of_other_code(store, "probe", log, ["e1", "e2", "e3", "e4"])
        save_manifest(store, third)
        tell_encoders_of_other_code(store, "probe", log, ["e3", "e4"])
    assert [(e["encoders"], e["trained_by"], e["began_with"]) for e in told(store)] == [
        (["e1", "e3"], asdict(OTHER), asdict(this_code())),
        (["e4"], asdict(third), asdict(this_code())),
        (["e3"], asdict(OTHER), asdict(third)),
    ]
    assert {event["event"] for event in told(store)} == {"encoder_of_other_code"}
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("encoder e1 and 1 more were trained by trainables/ bbbbbbbbbbbb")
    assert lines[2] == (
        "encoder e3 was trained by trainables/ bbbbbbbbbbbb (commit unknown); "
        "sweep 'probe' began with trainables/ cccccccccccc (commit 3333333333 with changes)"
    )
