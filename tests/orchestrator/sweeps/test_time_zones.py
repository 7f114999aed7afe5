"""A sweep that begins in one time zone and goes on in another: times are UTC, and what they add up to is the same."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import Holders, sweep_lock
from orchestrator.sweeps.search.budget import gpu_time, n_without_gain, spent
from orchestrator.sweeps.search.last_sign_of_life import last_sign_of_life
from orchestrator.sweeps.search.study import Study, began_at, ended_at, note_began, note_outcome
from orchestrator.sweeps.watch.status import sweep_status
from orchestrator.sweeps.watch.status_text import status_text
from orchestrator.telemetry.events import EventLog, read_events

TOKYO, ANGELES, BERLIN = "Asia/Tokyo", "America/Los_Angeles", "Europe/Berlin"
HOUR = timedelta(hours=1)
X: dict[str, BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}

MoveTo = Callable[[str], None]


@pytest.fixture
def move_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[MoveTo]:
    """Have this process in another time zone, as on another machine."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def begin(study: Study, name: str = "t000") -> optuna.Trial:
    trial = study._study.ask(X)
    note_began(trial)
    trial.set_user_attr("trial", name)
    return trial


def put_back(journal: Path, by: timedelta) -> None:
    """Let everything in a journal have happened earlier."""

    def earlier(key: str, value: object) -> object:
        if key in ("user_attr", "user_attrs") and isinstance(value, dict):
            return {inner: earlier(inner, of) for inner, of in value.items()}
        if key not in ("datetime_start", "datetime_complete", "began_at", "ended_at"):
            return value
        return (datetime.fromisoformat(str(value)) - by).isoformat(timespec="microseconds")

    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    moved = ({key: earlier(key, value) for key, value in line.items()} for line in lines)
    journal.write_text("".join(json.dumps(line) + "\n" for line in moved), encoding="utf-8")


def test_the_zone_of_the_next_attempt_changes_no_budget(tmp_path: Path, move_to: MoveTo) -> None:
    journal = tmp_path / "optuna.journal"
    move_to(TOKYO)
    begin(Study("probe", journal))  # killed two hours later, and found the next day
    put_back(journal, 30 * HOUR)
    study = Study("probe", journal)
    first = began_at(study.all_trials[0])
    assert first is not None
    move_to(BERLIN)
    study = Study("probe", journal)
    assert study.requeue_running(first + 2 * HOUR) == 1
    begin(study)
    counted = []
    for zone in (TOKYO, ANGELES, BERLIN):
        move_to(zone)
        trials = Study("probe", journal).all_trials
        assert began_at(trials[0]) == first
        assert ended_at(trials[0]) == first + 2 * HOUR
        now = datetime.now(UTC) + HOUR
        assert 3 * HOUR <= spent(trials, now) < 3.1 * HOUR
        assert 6 * HOUR <= gpu_time(trials, 2, now) < 6.2 * HOUR
        counted.append([began_at(trial) for trial in trials])
    assert counted[0] == counted[1] == counted[2]


def test_the_hour_that_comes_twice_counts_twice(tmp_path: Path, move_to: MoveTo) -> None:
    """In Berlin, the 25th of October 2026 has the time from two to three again after it."""
    move_to(BERLIN)
    journal = tmp_path / "optuna.journal"
    study = Study("probe", journal)
    began = datetime.now(UTC)
    for k in range(3):
        trial = begin(study, f"t{k:03d}")
        note_outcome(trial, "signature", "s", reused_from=None)
        study._study.tell(trial.number, (0.5, 0.7, 0.6)[k])
    put_back(journal, began - datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    for line in lines:  # from ten past two, when that is for the second time
        if "ended_at" in line.get("user_attr", {}):
            ends = datetime(2026, 10, 25, 1, 40, tzinfo=UTC) + line["trial_id"] * HOUR
            line["user_attr"]["ended_at"] = ends.isoformat()
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    trials = Study("probe", journal).all_trials
    assert 2.5 * HOUR - timedelta(minutes=1) < spent(trials, datetime.now(UTC)) <= 2.5 * HOUR
    assert n_without_gain(trials) == 1


def test_journals_of_before_have_the_local_time_of_whoever_wrote_them(
    tmp_path: Path, move_to: MoveTo
) -> None:
    move_to(TOKYO)
    journal = tmp_path / "optuna.journal"
    study = Study("probe", journal)
    at = datetime(2026, 1, 2, 10, tzinfo=UTC)
    old = optuna.trial.create_trial(
        state=TrialState.FAIL,
        params={"x": 0.5},
        distributions=X,
        user_attrs={"trial": "t000", "ended_at": "2026-01-02T21:00:00"},
    )
    old.datetime_start = at.astimezone().replace(tzinfo=None)
    old.datetime_complete = old.datetime_start + 60 * HOUR
    study._study.add_trial(old)
    (trial,) = Study("probe", journal).all_trials
    assert (began_at(trial), ended_at(trial)) == (at, at + 2 * HOUR)


def test_what_a_search_notes_is_utc(tmp_path: Path, move_to: MoveTo) -> None:
    move_to(ANGELES)
    before = datetime.now(UTC)
    study = Study("probe", tmp_path / "optuna.journal")
    trial = begin(study)
    note_outcome(trial, "error", "ValueError: no", reused_from=None)
    begin(study, "t001")
    study.requeue_running()
    for noted in study.all_trials[:2]:
        for key in ("began_at", "ended_at"):
            text = noted.user_attrs[key]
            assert text.endswith("+00:00")
            assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)


def test_what_is_shown_of_a_sweep_is_utc(tmp_path: Path, move_to: MoveTo) -> None:
    store = Store.open(str(tmp_path))
    move_to(TOKYO)
    before = datetime.now(UTC) - timedelta(seconds=1)
    with EventLog(store, paths.sweep_events("probe")) as log, sweep_lock(store, "probe", Halt()):
        log.emit("sweep_started")
        log.emit("search_started", n_trials=1, n_finished=0)
        shown = {}
        for zone in (TOKYO, ANGELES):
            move_to(zone)
            about, alive = Holders(store).of("probe")
            assert alive
            assert about.endswith("+00:00 (0 min)")
            status = sweep_status(store, "probe")
            assert status.last_event_at.endswith("+00:00")
            assert status.minutes_run < 1
            heard = last_sign_of_life(store, "probe", log.events())
            assert before <= heard <= datetime.now(UTC)
            shown[zone] = about, status_text(status), heard
        assert shown[TOKYO] == shown[ANGELES]
    events = read_events(store, paths.sweep_events("probe"))
    assert all(event["time"].endswith("+00:00") for event in events)
