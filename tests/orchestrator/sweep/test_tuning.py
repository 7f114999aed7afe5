"""What a search notes of its time and money, and what ends it: without Ray."""

import time
from pathlib import Path

import pytest
import ray
from ray.tune import TuneError

from orchestrator.cluster.prices import USD_PER_HOUR
from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.errors import SetupError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.execution import Run
from orchestrator.sweep.halt import Halt
from orchestrator.sweep.journal import journal_of
from orchestrator.sweep.study import Study
from orchestrator.sweep.tuning import _billed, _own_errors
from orchestrator.telemetry.events import EventLog


def run_in(store: Store, log: EventLog) -> Run:
    return Run(store=store, sweep=SweepBase(name="probe", method="any"), log=log, halt=Halt())


def test_on_s3_the_money_is_noted_while_the_search_runs(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt knows what a killed one has spent."""
    node = {"Alive": True, "NodeManagerAddress": "10.0.0.7", "Labels": {USD_PER_HOUR: "1"}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])

    def noted() -> float:
        copy = tmp_path / "copy.journal"
        copy.write_bytes(remote.read_if_there(paths.sweep_journal("probe")) or b"")
        return Study("probe", copy).usd

    search = SearchBase(n_trials=3, max_usd=50)
    with (
        EventLog(remote, paths.sweep_events("probe")) as log,
        journal_of(remote, "probe", tmp_path, Halt()) as journal,
    ):
        study = Study("probe", journal.file)
        study.note_usd(12.5)
        with _billed(run_in(remote, log), search, study, journal) as bill:
            assert bill is not None
            bill.on_step_end(1, [])
            until = time.monotonic() + 10
            while (found := noted()) < 12.5 and time.monotonic() < until:
                time.sleep(0.05)
    assert found == pytest.approx(12.5, abs=0.01)


def test_what_stopped_a_sweep_is_raised_as_it_was() -> None:
    halt = Halt()
    with pytest.raises(TuneError, match="a page"), _own_errors(halt):
        raise TuneError("a page")
    halt.stop(SetupError("the event log cannot be written"))
    with pytest.raises(SetupError, match="cannot be written"), _own_errors(halt):
        raise TuneError("a page")
