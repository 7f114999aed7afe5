"""When a killed search was last heard of, by its events and by what its trials said."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.search.last_sign_of_life import last_sign_of_life
from orchestrator.sweeps.watch.tally import NEVER
from orchestrator.telemetry.events import EventLog

FRIDAY = datetime(2026, 1, 2, 10, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def log(store: Store) -> EventLog:
    return EventLog(store, paths.sweep_events("probe"))


def after(minutes: float) -> datetime:
    return FRIDAY + timedelta(minutes=minutes)


FIELDS: dict[str, dict[str, Any]] = {
    "search_started": {"n_trials": 2, "n_finished": 0, "n_requeued": 0},
    "trial_started": {"params": {}},
    "trial_done": {"objective": 0.5, "signature": "sig", "reused_from": None},
    "sweep_stopped": {"reason": "StoreError", "message": "away"},
}


def emit(log: EventLog, minutes: float, event: str, **fields: Any) -> None:
    log.emit(event, time=after(minutes).isoformat(), **FIELDS.get(event, {}), **fields)


def begin(log: EventLog) -> None:
    emit(log, 0, "sweep_started")
    emit(log, 1, "search_started")
    for trial in ("t000", "t001"):
        emit(log, 2, "trial_started", trial=trial, signature=f"sig-{trial}")
    emit(log, 30, "trial_done", trial="t000")


def say(store: Store, signature: str, minutes: float) -> None:
    said = json.dumps({"at": after(minutes).timestamp()}).encode()
    store.write_bytes(paths.live_metrics("probe", signature), said)


def heard(store: Store, log: EventLog) -> datetime:
    found = last_sign_of_life(store, "probe", log.events())
    assert found.tzinfo is UTC
    return found


def test_the_last_event_of_the_search(store: Store, log: EventLog) -> None:
    begin(log)
    assert heard(store, log) == after(30)


def test_later_attempts_that_did_not_come_to_their_search_say_nothing(
    store: Store, log: EventLog
) -> None:
    begin(log)
    emit(log, 3000, "sweep_started")
    emit(log, 3001, "sweep_stopped")
    emit(log, 4000, "sweep_started")
    assert heard(store, log) == after(30)
    emit(log, 4001, "search_started")
    assert heard(store, log) == after(4001)


def test_what_a_trial_said_while_it_trained(store: Store, log: EventLog) -> None:
    begin(log)
    say(store, "sig-t001", 90)
    say(store, "sig-t000", 500)  # which had ended
    say(store, "sig-of-an-arm", 5000)
    assert heard(store, log) == after(90)
    say(store, "sig-t001", 15)
    assert heard(store, log) == after(30)


@pytest.mark.parametrize("said", [b"[]", b"{}", bytes(9), b'{"at": "now"}', b'{"at": 17'])
def test_what_a_trial_said_is_damaged(store: Store, log: EventLog, said: bytes) -> None:
    begin(log)
    store.write_bytes(paths.live_metrics("probe", "sig-t001"), said)
    with pytest.raises(IntegrityError, match=r"live/sig-t001\.json:1:\d+ is damaged: .*Remove it"):
        last_sign_of_life(store, "probe", log.events())


def test_before_the_first_search_there_is_nothing(store: Store, log: EventLog) -> None:
    assert heard(store, log) == NEVER
    emit(log, 0, "sweep_started")
    assert heard(store, log) == NEVER


def test_an_event_that_lacks_its_trial_is_damage(store: Store, log: EventLog) -> None:
    begin(log)
    emit(log, 40, "trial_done", trail="t001")
    with pytest.raises(IntegrityError, match=r"events\.jsonl:6 is damaged: .*'trial_done' has no"):
        last_sign_of_life(store, "probe", log.events())


def test_a_time_that_no_calendar_has_says_nothing(store: Store, log: EventLog) -> None:
    begin(log)
    store.write_bytes(paths.live_metrics("probe", "sig-t001"), b'{"at": 1e300}')
    assert heard(store, log) == after(30)
