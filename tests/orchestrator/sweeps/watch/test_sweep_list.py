"""All sweeps of a store: one line each, also of those that have only begun, and of those that are damaged."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import commands, main
from orchestrator.config.sweep import dump
from orchestrator.errors import StoreUnreachableError
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import sweep_lock
from orchestrator.sweeps.watch.sweep_list import ListedSweep, sweeps_of, sweeps_text
from orchestrator.telemetry.events import EventLog


def at(minute: int, event: str, **fields: Any) -> dict[str, Any]:
    return {"time": f"2026-01-01T10:{minute:02d}:00+00:00", "event": event, **fields}


def trial(minute: int, name: str, objective: float | None) -> Iterator[dict[str, Any]]:
    yield at(minute, "trial_started", trial=name, params={"x": 0.5}, signature=f"s-{name}")
    if objective is None:
        yield at(minute, "trial_failed", trial=name, reused_from=None, error="ValueError: no")
    else:
        yield at(minute, "trial_done", trial=name, reused_from=None, objective=objective)


SEARCHED = [
    at(0, "sweep_started"),
    at(2, "search_started", n_trials=8, n_finished=0, objective="source_val"),
    *trial(3, "t000", 0.5),
    *trial(4, "t001", 0.75),
    *trial(5, "t002", None),
]
ROWS = [
    at(0, "sweep_started"),
    at(1, "row_done", row="a"),
    at(2, "row_done", row="b"),
    at(3, "sweep_stopped", reason="InterruptedSweepError", message="interrupted, 2 of 4 rows done"),
]


def add(store: Store, name: str, events: list[dict[str, Any]]) -> None:
    with EventLog(store, paths.sweep_events(name)) as log:
        for event in events:
            log.emit(**event)


@pytest.fixture
def sweeps(store: Store, make_sweep: Callable[..., SelectiveSweep]) -> Store:
    """A store with a sweep that was killed in its search, one that was interrupted, and one about to begin."""
    add(store, "killed", SEARCHED)
    store.write_bytes(paths.sweep_file("killed"), dump(make_sweep()).encode())
    add(store, "rows", ROWS)
    with sweep_lock(store, "begun", Halt(), beat_s=60):
        held = store.read_bytes(paths.sweep_lock("begun"))
    gone = json.loads(held) | {"process_started": "long ago"}
    store.write_bytes(paths.sweep_lock("begun"), json.dumps(gone).encode())
    return store


def by_name(store: Store) -> dict[str, ListedSweep]:
    return {sweep.name: sweep for sweep in sweeps_of(store)}


def test_where_each_stands(sweeps: Store) -> None:
    assert list(by_name(sweeps)) == ["begun", "killed", "rows"]
    found = by_name(sweeps)
    assert found["begun"] == ListedSweep(name="begun", state="stopped")
    assert found["killed"] == ListedSweep(
        name="killed",
        state="stopped",
        method="selective",
        n_trials=8,
        n_done=3,
        n_failed=1,
        objective="source_val",
        best_objective=0.75,
        last_sign_of_life="2026-01-01T10:05:00.000+00:00",
    )
    assert found["rows"] == ListedSweep(
        name="rows",
        state="stopped",
        n_fixed=2,
        last_sign_of_life="2026-01-01T10:03:00.000+00:00",
        because="interrupted, 2 of 4 rows done",
    )
    sweeps.write_bytes(paths.sweep_trials("rows"), b"")
    with sweep_lock(sweeps, "killed", Halt(), beat_s=60):
        found = by_name(sweeps)
    assert (found["killed"].state, found["rows"].state) == ("running", "finished")
    assert found["rows"].because is None


def test_a_training_that_speaks_later_than_the_log_is_the_last_sign(sweeps: Store) -> None:
    later = 1767262500  # 10:15 UTC on that day: date -u -d @1767262500
    sweeps.write_bytes(paths.live_metrics("killed", "s-a"), json.dumps({"at": later}).encode())
    sweeps.write_bytes(paths.live_metrics("killed", "s-b"), json.dumps({"at": 1e300}).encode())
    sweeps.write_bytes(paths.live_metrics("rows", "s-c"), json.dumps({"at": 5.0}).encode())
    found = by_name(sweeps)
    assert found["killed"].last_sign_of_life == "2026-01-01T10:15:00.000+00:00"
    assert found["rows"].last_sign_of_life == "2026-01-01T10:03:00.000+00:00"


@pytest.mark.parametrize(
    "damaged",
    [
        paths.sweep_events("killed"),
        paths.sweep_file("killed"),
        paths.sweep_lock("killed"),
        paths.live_metrics("killed", "s-t003"),
    ],
)
def test_a_damaged_sweep_says_so_and_the_others_are_listed(sweeps: Store, damaged: str) -> None:
    before = by_name(sweeps)
    sweeps.write_bytes(damaged, b"\x07 no such thing\n")
    found = by_name(sweeps)
    broken = found["killed"]
    assert broken == ListedSweep(name="killed", state="unreadable", because=broken.because)
    assert broken.because is not None
    assert sweeps.uri_of(damaged) in broken.because
    assert found | {"killed": before["killed"]} == before
    assert f"\nkilled: {broken.because}" in run(sweeps, "status").output


def test_an_event_that_lacks_something_is_damage_of_its_sweep_alone(sweeps: Store) -> None:
    add(sweeps, "killed", [at(9, "trial_started", trial="t009")])
    because = by_name(sweeps)["killed"].because
    assert because is not None
    assert ":9 is damaged: the event 'trial_started' has no 'params'" in because


def test_a_store_that_is_out_of_reach_ends_the_list(
    sweeps: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Store, path: str) -> bytes:
        raise StoreUnreachableError("the bucket is gone")

    monkeypatch.setattr(Store, "read_bytes", away)
    with pytest.raises(StoreUnreachableError):
        sweeps_of(sweeps)


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(commands, [*arguments, "--store", store.uri])


def test_the_list_for_people(sweeps: Store) -> None:
    assert run(sweeps, "status").output.splitlines() == [
        "sweep   method     state    trials            best   objective   last sign of life",
        "begun   -          stopped  -                 -      -           -",
        "killed  selective  stopped  3 of 8, 1 failed  0.750  source_val  2026-01-01 10:05 UTC",
        "rows    -          stopped  2 fixed           -      -           2026-01-01 10:03 UTC",
        "rows: interrupted, 2 of 4 rows done",
    ]
    assert "1 failed" not in sweeps_text([ListedSweep(name="x", state="running", n_trials=4)])


def test_the_list_for_programs(sweeps: Store) -> None:
    begun, killed, _ = json.loads(run(sweeps, "status", "--json").output)
    assert (begun["name"], begun["method"], begun["last_sign_of_life"]) == ("begun", None, None)
    assert (killed["n_done"], killed["n_trials"], killed["best_objective"]) == (3, 8, 0.75)


def test_a_store_without_sweeps(store: Store) -> None:
    store.write_bytes("epochs/x/manifest.json", b"{}")
    result = run(store, "status")
    assert result.exit_code == 0
    assert result.output.startswith(f"There is no sweep in {store.uri}: `orchestrator sweep FILE`")
    assert json.loads(run(store, "status", "--json").output) == []


def test_a_store_that_is_not_there(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["status", "--json", "--store", store.uri])
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (2, "")
    assert f"{store.uri} does not exist. No sweep has begun there: `orchestrator sweep FILE`" in (
        " ".join(said.err.split())
    )


def test_who_watches_names_a_sweep(sweeps: Store) -> None:
    result = run(sweeps, "status", "--watch")
    assert result.exit_code == 2
    assert "--watch follows one sweep: name it." in result.output
