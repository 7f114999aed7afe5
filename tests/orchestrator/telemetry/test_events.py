"""The event log: appended to, read back, and the only place for times and hosts."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import IntegrityError, OrchestratorError, SetupError, StoreUnreachableError
from orchestrator.store import mirror, paths
from orchestrator.store.store import Store
from orchestrator.telemetry import events
from orchestrator.telemetry.events import EventLog, read_events

ON_S3 = paths.sweep_events("probe")


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


def told(store: Store, path: str) -> list[Any]:
    return [e["n"] for e in read_events(store, path)]


def test_half_a_line_of_a_killed_process_is_cut_off(store: Store) -> None:
    with EventLog(store, "e.jsonl") as log:
        log.emit("a", n=0)
    whole = store.read_bytes("e.jsonl")
    file = Path(store.uri_of("e.jsonl"))
    file.write_bytes(whole + b'{"event": "b", "n_tri')
    with EventLog(store, "e.jsonl") as log:
        assert file.read_bytes() == whole
        log.emit("c", n=1)
    assert told(store, "e.jsonl") == [0, 1]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"event": "b", {"event": "c"}',
        bytes(16),
        b"\xff\xfe\xfd",
        b"",
        b"[]",
        b"null",
        b'{"event": "b"}',
        b'{"time": "2026-01-01T10:00:00+00:00"}',
        b'{"event": "b", "time": "yesterday"}',
    ],
    ids=str,
)
def test_a_line_that_is_no_event_is_named_and_nothing_goes_on_over_it(
    store: Store, remote: Store, broken: bytes
) -> None:
    """It may have told of labels that were read."""
    for where in (store, remote):
        with EventLog(where, ON_S3) as log:
            log.emit("a", n=0)
            log.emit("b", n=1)
        first, second = where.read_bytes(ON_S3).splitlines(keepends=True)
        content = first + broken + b"\n" + second
        where.write_bytes(ON_S3, content)
        for read in (lambda s: told(s, ON_S3), lambda s: EventLog(s, ON_S3)):
            with pytest.raises(
                IntegrityError, match=r"events\.jsonl:2 is damaged: .*delete this line"
            ):
                read(where)
        assert where.read_bytes(ON_S3) == content
        where.write_bytes(ON_S3, first + second)  # as the error says
        with EventLog(where, ON_S3) as log:
            log.emit("c", n=2)
        assert told(where, ON_S3) == [0, 1, 2]


@contextmanager
def files_no_larger_than(n_bytes: int) -> Iterator[None]:
    """Have the operating system take the beginning of what is written, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_that_the_disk_does_not_take_is_an_error_and_leaves_no_half_line(
    store: Store,
) -> None:
    failed: list[OrchestratorError] = []
    with EventLog(store, "e.jsonl", failed.append) as log:
        log.emit("a", n=0)
        whole = store.read_bytes("e.jsonl")
        with (
            files_no_larger_than(len(whole) + 20),
            pytest.raises(SetupError, match=r"e\.jsonl cannot be written: .*Make room") as caught,
        ):
            log.emit("b", n=1)
        assert failed == [caught.value]
        assert store.read_bytes("e.jsonl") == whole
        log.emit("c", n=2)
    assert told(store, "e.jsonl") == [0, 2]


def test_a_log_that_may_not_be_written_is_an_error(store: Store) -> None:
    Path(store.uri_of("e.jsonl")).mkdir(parents=True)
    with EventLog(store, "e.jsonl") as log, pytest.raises(SetupError, match="Is a directory"):
        log.emit("a")


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


def test_on_s3_an_event_is_written_soon_though_none_follows(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed has told all but the last seconds."""
    monkeypatch.setattr(events, "_S3_FLUSH_S", 0.1)
    with EventLog(remote, ON_S3) as log:
        for n in range(3):
            log.emit("step", n=n)
        wait_for(lambda: told(remote, ON_S3) == [0, 1, 2])


@pytest.mark.heavy
def test_on_s3_the_log_is_not_written_at_each_event(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes, n_written = Store.write_bytes, 0

    def counted(self: Store, path: str, data: bytes) -> None:
        nonlocal n_written
        n_written += 1
        write_bytes(self, path, data)

    monkeypatch.setattr(Store, "write_bytes", counted)
    with EventLog(remote, ON_S3) as log:
        for n in range(20):
            log.emit("step", n=n)
            time.sleep(0.01)
        assert n_written <= 1
    assert n_written <= 2
    assert told(remote, ON_S3) == list(range(20))
    with EventLog(remote, ON_S3) as log:
        log.emit("later", n=20)
    assert told(remote, ON_S3) == list(range(21))


def test_on_s3_a_log_without_events_leaves_no_object(remote: Store) -> None:
    with EventLog(remote, ON_S3):
        pass
    assert not remote.exists(ON_S3)


def refuse(self: Store, path: str, data: bytes) -> None:
    raise StoreUnreachableError("the bucket is gone")


def test_on_s3_what_could_not_be_written_is_told_and_written_later(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_AGAIN_S", 0.05)
    failed: list[OrchestratorError] = []
    with EventLog(remote, ON_S3, failed.append) as log:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "write_bytes", refuse)
            log.emit("a", n=0)
            wait_for(lambda: len(failed) >= 2)
        wait_for(lambda: told(remote, ON_S3) == [0])  # without another event
    assert {str(error) for error in failed} == {"the bucket is gone"}


def test_on_s3_a_log_that_is_not_written_by_its_end_is_an_error(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "write_bytes", refuse)
    with pytest.raises(StoreUnreachableError, match="is gone"), EventLog(remote, ON_S3) as log:
        log.emit("a", n=0)
