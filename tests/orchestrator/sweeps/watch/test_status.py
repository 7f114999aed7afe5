"""What is told of a sweep from its events: counted by hand, over several attempts."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import watch
from orchestrator.cli.main import commands
from orchestrator.errors import ConfigError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import lock as lock_module
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import sweep_lock
from orchestrator.sweeps.watch.event_text import event_text
from orchestrator.sweeps.watch.status import State, summary, sweep_status
from orchestrator.sweeps.watch.status_text import duration_text, status_text
from orchestrator.telemetry.events import EventLog


def at(minute: int, event: str, **fields: Any) -> dict[str, Any]:
    return {"time": f"2026-01-01T10:{minute:02d}:00+00:00", "event": event, **fields}


def done(
    minute: int, trial: str, objective: float, reused_from: str | None = None
) -> dict[str, Any]:
    return at(minute, "trial_done", trial=trial, objective=objective, reused_from=reused_from)


def started(minute: int, trial: str, **more: Any) -> dict[str, Any]:
    params = {"tau_quantile": int(trial[1:]) / 10, "learning_rate": 1e-4}
    return at(minute, "trial_started", trial=trial, params=params, **more)


def failed(minute: int, trial: str) -> dict[str, Any]:
    return at(minute, "trial_failed", trial=trial, reused_from=None, error="ValueError: no")


FIRST_ATTEMPT = [
    at(0, "sweep_started"),
    at(1, "arm_done", arm="no_adapt"),
    at(1, "row_done", row="row-naivemg-seed1"),
    at(2, "search_started", n_trials=8, n_finished=0),
    started(2, "t000"),
    started(2, "t001"),
    at(3, "trial_lost", trial="t001"),
    done(4, "t000", 0.5),
    done(4, "t002", 0.5, "t000"),
    started(4, "t003"),
    failed(5, "t003"),
    started(5, "t004"),
]
SECOND_ATTEMPT = [
    at(20, "sweep_started"),
    at(21, "search_started", n_trials=5, n_finished=3),
    started(21, "t001"),
    started(21, "t004"),
    done(25, "t001", 0.75),
]


def status(events: list[dict[str, Any]], state: State = "running") -> Any:
    return summary("probe", events, state, holder="process 7 on node")


def test_counts_while_it_runs() -> None:
    found = status(FIRST_ATTEMPT)
    assert (found.n_trials, found.n_complete, found.n_reused, found.n_failed) == (8, 2, 1, 1)
    assert (found.n_lost, found.n_fixed) == (1, 2)
    assert [trial.trial for trial in found.running] == ["t001", "t004"]
    assert (found.best_trial, found.best_objective) == ("t000", 0.5)
    # Two were trained in three minutes; five are left.
    assert found.minutes_left == pytest.approx(3 / 2 * 5)
    text = status_text(found)
    assert text.startswith("sweep probe: running, process 7 on node\n")
    assert "trials: 3 of 8 done, 2 complete (1 reused), 1 failed" in text
    assert "left: about 8 min at this pace" in text


def test_an_attempt_forgets_what_the_one_before_left_running() -> None:
    found = status([*FIRST_ATTEMPT, *SECOND_ATTEMPT])
    assert (found.n_trials, found.n_complete, found.n_failed) == (8, 3, 1)
    assert [trial.trial for trial in found.running] == ["t004"]
    assert found.best_trial == "t001"
    assert found.minutes_left == pytest.approx(4 / 1 * 4)


def test_a_trial_that_failed_and_was_tried_again_counts_once() -> None:
    found = status([*FIRST_ATTEMPT, *SECOND_ATTEMPT, done(30, "t003", 0.6)])
    assert (found.n_complete, found.n_failed) == (4, 0)


def test_what_has_ended_runs_nothing() -> None:
    why = at(26, "sweep_stopped", reason="SweepFailedError", message="4 trials failed")
    found = status([*FIRST_ATTEMPT, *SECOND_ATTEMPT, why], "stopped")
    assert found.running == ()
    assert found.last_ended == "t001, objective 0.750"
    assert found.minutes_left is None
    assert found.stopped_because == "4 trials failed"
    assert "because: 4 trials failed" in status_text(found)


def test_how_far_running_trials_are() -> None:
    events = [
        at(0, "sweep_started"),
        at(2, "search_started", n_trials=4, n_finished=0, objective="validation"),
        started(2, "t000", n_parts=3, unit="fold"),
        started(3, "t001", n_kept=30, n_batches=40, mean_emd=2.5),
        at(4, "trial_progress", trial="t000", n_parts=1),
    ]
    now = datetime.fromisoformat("2026-01-01T10:05:10+00:00")
    found = summary("probe", events, "running", now=now)
    first, second = found.running
    assert (first.n_parts_done, first.n_parts, first.running_s) == (1, 3, 190)
    assert (first.params, first.kept) == ({"tau_quantile": 0.0, "learning_rate": 1e-4}, None)
    assert (second.n_parts, second.running_s) == (None, 130)
    assert second.kept == {"n_kept": 30, "n_batches": 40, "mean_emd": 2.5}
    assert found.objective == "validation"
    assert found.minutes_run == pytest.approx(5 + 1 / 6)
    text = status_text(found)
    assert "running: t000 fold 2 of 3, 3 min 10 s; t001, 2 min 10 s\n" in text
    assert "elapsed: 5 min 10 s\n" in text
    best = summary("probe", [*events, done(6, "t001", 0.5)], "running", now=now)
    assert best.best_params == second.params
    assert best.best_kept == second.kept
    assert (
        "best: t001, objective 0.500, learning_rate 0.0001, tau_quantile 0.1, 30 of 40 batches kept, mean EMD 2.5\n"
    ) in status_text(best)


def test_a_trial_that_begins_again_has_no_fold_done() -> None:
    events = [
        at(0, "search_started", n_trials=4, n_finished=0),
        started(1, "t000", n_parts=3, unit="fold"),
        at(2, "trial_progress", trial="t000", n_parts=2),
        at(3, "sweep_started"),
        at(4, "search_started", n_trials=4, n_finished=0),
        started(5, "t000", n_parts=3, unit="fold"),
    ]
    (running,) = status(events).running
    assert (running.n_parts_done, running.running_s) == (0, 0)


def test_the_share_of_training_that_waits_is_that_of_all_trainings() -> None:
    events = [
        at(0, "sweep_started"),
        at(1, "arm_done", arm="random", signature="a", waited_s=1.0, trained_s=10.0),
        {**done(2, "t000", 0.5), "waited_s": 4.0, "trained_s": 10.0},
        done(3, "t001", 0.5, "t000"),
    ]
    assert status(events[:1]).data_wait is None
    assert status(events).data_wait == 0.25
    assert "data wait: 25.0 % of training\n" in status_text(status(events))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (7261, "2 h 1 min")],
)
def test_times_are_told_in_units_that_say_something(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_an_event_is_a_line() -> None:
    line = event_text(
        {**failed(5, "t003"), "host": "node", "pid": 7, "error": "ValueError: no\ntrace"}
    )
    assert line == "2026-01-01T10:05:00+00:00 trial_failed trial=t003 error=ValueError: no"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    with EventLog(store, paths.sweep_events("probe")) as log:
        for event in FIRST_ATTEMPT:
            log.emit(**event)
    return store


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(commands, [*arguments, "--store", store.uri])


def test_the_state_is_that_of_the_lock_and_of_the_final_table(store: Store) -> None:
    assert sweep_status(store, "probe").state == "stopped"
    with sweep_lock(store, "probe", Halt()):
        found = sweep_status(store, "probe")
        assert found.state == "running"
        assert found.holder is not None
    store.write_bytes(paths.sweep_trials("probe"), b"")
    assert sweep_status(store, "probe").state == "finished"
    with pytest.raises(ConfigError, match=r"no sweep 'prob' .* Did you mean 'probe'"):
        sweep_status(store, "prob")
    with (
        sweep_lock(store, "other", Halt()),
        pytest.raises(ConfigError, match=r"sweep 'other' .* about to begin"),
    ):
        sweep_status(store, "other")


def test_the_commands(store: Store) -> None:
    assert "trials: 3 of 8 done" in run(store, "status", "probe").output
    found = json.loads(run(store, "status", "probe", "--json").output)
    assert (found["state"], found["n_complete"]) == ("stopped", 2)
    assert found["best_params"] == {"tau_quantile": 0.0, "learning_rate": 1e-4}
    assert (found["data_wait"], found["best_kept"]) == (None, None)
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        running = json.loads(run(store, "status", "probe", "--json").output)["running"]
        assert [trial["trial"] for trial in running] == ["t001", "t004"]
        assert running[0]["running_s"] > 0
    assert run(store, "status", "probe", "--watch").exit_code == 0  # it does not run
    lines = run(store, "logs", "probe", "--follow").output.splitlines()
    assert len(lines) == len(FIRST_ATTEMPT)
    assert [
        json.loads(x)["event"] for x in run(store, "logs", "probe", "--json").output.splitlines()
    ] == [event["event"] for event in FIRST_ATTEMPT]
    refused = run(store, "stop", "probe").exception
    assert isinstance(refused, ConfigError)
    assert str(refused) == "sweep 'probe' does not run: it is stopped."
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        assert "to stop; it looks every 5 s" in run(store, "stop", "probe", "--now").output
        assert json.loads(store.read_bytes(paths.sweep_stop("probe"))) == {"now": True}


@pytest.mark.heavy
def test_who_watches_stops_when_a_holder_elsewhere_has_died(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = paths.sweep_lock("probe")
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        held = json.loads(store.read_bytes(path))
    store.write_bytes(path, json.dumps(held | {"machine": "another"}).encode())
    monkeypatch.setattr(watch, "_LOOK_S", 0.05)
    monkeypatch.setattr(lock_module, "SILENT_S", 0.2)
    assert sweep_status(store, "probe").state == "running", "one look cannot tell"
    found = run(store, "status", "probe", "--watch", "--json").output.splitlines()
    assert len(found) > 2
    assert [json.loads(line)["state"] for line in found[-2:]] == ["running", "stopped"]
    lines = run(store, "logs", "probe", "--follow").output.splitlines()
    assert len(lines) == len(FIRST_ATTEMPT)
    watch._watch(store, "probe")
