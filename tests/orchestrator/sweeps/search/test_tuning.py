"""What a search notes of its time and money, and what ends it: without Ray."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from ray.tune import TuneError

from orchestrator.cluster.prices import USD_PER_HOUR
from orchestrator.config.objectives import COST, Objective
from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.errors import InterruptedSweepError, SetupError
from orchestrator.method import Scores
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.search import tuning
from orchestrator.sweeps.search.journal import OwnBackend, journal_of
from orchestrator.sweeps.search.searcher import StudySearch
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.search.tuning import _billed, _own_errors, run_search
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Uniform

HOUR = timedelta(hours=1)


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


def test_the_time_for_which_a_sweep_lay_killed_is_not_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path / "store"))
    friday = datetime.now(UTC) - 60 * HOUR
    with journal_of(store, "probe", tmp_path, Halt()) as journal:
        left = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            user_attrs={"trial": "t000"},
        )
        left.datetime_start = friday.astimezone().replace(tzinfo=None)
        Study("probe", journal.file)._study.add_trial(left)

    limits: list[str | None] = []

    def tune(trainable: Any, searcher: StudySearch, *others: Any) -> None:
        limits.append(searcher._hooks.exhausted())

    monkeypatch.setattr(tuning, "_tune", tune)
    with EventLog(store, paths.sweep_events("probe")) as log:
        log.emit("search_started", n_trials=2, n_finished=0, time=friday.isoformat())
        log.emit(
            "trial_started", time=friday.isoformat(), trial="t000", signature="s", params={"x": 0.5}
        )
        log.emit("trial_progress", time=(friday + 2 * HOUR).isoformat(), trial="t000", n_parts=1)
        log.emit("sweep_started")
        for max_hours in (2.5, 1.5):
            with pytest.raises(InterruptedSweepError):
                run_search(
                    run_in(store, log),
                    SearchBase(n_trials=3, max_hours=max_hours),
                    space={"x": Uniform(0, 1)},
                    first=[],
                    trial=lambda inputs_ref, params, after_part: {},
                    inputs_ref=[],
                    identify=str,
                    evaluate=lambda params: Scores(values=(0.5,)),
                )
    assert limits == [None, "max_hours 1.5"]


class ByCost(SearchBase):
    further: ClassVar[Mapping[str, Objective]] = {"cost": COST}


@pytest.mark.parametrize("begun_by_0_1", [False, True])
def test_the_journal_names_the_objectives_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun_by_0_1: bool
) -> None:
    """Those of 0.1 have no names; one that goes on gets them."""
    store = Store.open(str(tmp_path / "store"))
    search = ByCost(n_trials=3, also=("cost",))
    file = Path(store.uri_of(paths.sweep_journal("probe")))
    if begun_by_0_1:
        with journal_of(store, "probe", tmp_path, Halt()) as journal:
            Study("probe", journal.file, search.directions)
    monkeypatch.setattr(tuning, "_tune", lambda *_: None)
    for _ in range(2):  # attempts
        with (
            EventLog(store, paths.sweep_events("probe")) as log,
            pytest.raises(InterruptedSweepError),
        ):
            run_search(
                run_in(store, log),
                search,
                space={"x": Uniform(0, 1)},
                first=[],
                trial=lambda inputs_ref, params, after_part: {},
                inputs_ref=[],
                identify=str,
                evaluate=lambda params: Scores(values=(0.5, 1.0)),
                objective_name="source_val",
            )
    found = optuna.load_study(study_name="probe", storage=JournalStorage(OwnBackend(str(file))))
    assert found.metric_names == ["source_val", "cost"]
    assert file.read_text(encoding="utf-8").count('"study:metric_names"') == 1


def test_what_stopped_a_sweep_is_raised_as_it_was() -> None:
    halt = Halt()
    with pytest.raises(TuneError, match="a page"), _own_errors(halt):
        raise TuneError("a page")
    halt.stop(SetupError("the event log cannot be written"))
    with pytest.raises(SetupError, match="cannot be written"), _own_errors(halt):
        raise TuneError("a page")
