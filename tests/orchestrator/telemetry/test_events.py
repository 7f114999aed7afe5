"""The event log: appended to, read back, and the only place for times and hosts."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog, read_events


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"))


def test_events_come_back_in_order_with_time_and_place(store: Store) -> None:
    before = datetime.now(UTC)
    with EventLog(store, "sweeps/a/events.jsonl") as log:
        log.emit("started", n=3, text='with "quotes"\nand µ')
        log.emit("finished", worker=None)
    first, second = read_events(store, "sweeps/a/events.jsonl")
    assert (first["event"], first["n"], first["text"]) == ("started", 3, 'with "quotes"\nand µ')
    assert (second["event"], second["worker"]) == ("finished", None)
    assert first["pid"] == os.getpid()
    assert first["host"]
    times = [datetime.fromisoformat(e["time"]) for e in (first, second)]
    assert (times[0] - before).total_seconds() > -0.001  # milliseconds are kept
    assert before.tzinfo == times[0].tzinfo == UTC
    assert times == sorted(times)


def test_each_event_is_written_at_once(store: Store) -> None:
    """A killed process has told all that it did."""
    log = EventLog(store, "e.jsonl")
    for n in range(3):
        log.emit("step", n=n)
        assert [e["n"] for e in read_events(store, "e.jsonl")] == list(range(n + 1))


def test_a_later_run_appends(store: Store) -> None:
    for n in range(2):
        with EventLog(store, "e.jsonl") as log:
            log.emit("run", n=n)
    assert [e["n"] for e in read_events(store, "e.jsonl")] == [0, 1]


def test_one_line_is_one_event(store: Store) -> None:
    with EventLog(store, "e.jsonl") as log:
        log.emit("a", text="two\nlines")
    assert store.read_bytes("e.jsonl").count(b"\n") == 1


def test_a_log_without_events_leaves_no_file(store: Store) -> None:
    with EventLog(store, "e.jsonl"):
        pass
    assert read_events(store, "e.jsonl") == []
    assert not store.exists("e.jsonl")


def test_fields_may_say_that_it_happened_elsewhere(store: Store) -> None:
    with EventLog(store, "e.jsonl") as log:
        log.emit("a", pid=1, host="node-7")
    (event,) = read_events(store, "e.jsonl")
    assert (event["pid"], event["host"]) == (1, "node-7")


def test_a_listener_hears_each_event_inside_the_block(store: Store) -> None:
    heard: list[Mapping[str, Any]] = []
    with EventLog(store, "e.jsonl") as log:
        log.emit("before")
        with log.heard_by(heard.append):
            log.emit("inside", n=1)
        log.emit("after")
        assert [e["event"] for e in log.events()] == ["before", "inside", "after"]
    assert heard == [read_events(store, "e.jsonl")[1]]
