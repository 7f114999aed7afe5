"""What a search learns from finished sweeps: which trials, which not and why, and that it is told."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.objectives import FURTHER
from orchestrator.methods.selective.results import SHOWN
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.search.samplers import distribution
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.search.warm_start import adopt_trials, check_warm_start, earlier_trials
from orchestrator.telemetry.events import EventLog, read_events
from search_spaces.space import Declared, Integer, LogUniform, Uniform

SPACE: dict[str, Declared] = {
    "tau_quantile": Uniform(0, 0.9),
    "learning_rate": LogUniform(1e-4, 1e-2),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def finished(store: Store, name: str = "old", **manifest: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"trial": "arm-all_source", "kind": "arm", "learning_rate": 1e-3, "objective": 0.4},
        {"trial": "t000", "tau_quantile": 0.5, "learning_rate": 1e-3, "objective": 0.6},
        {"trial": "t001", "tau_quantile": 0.95, "learning_rate": 1e-3, "objective": 0.7},
        {"trial": "t002", "tau_quantile": 0.1, "learning_rate": 1e-5, "objective": 0.5},
        {"trial": "t003", "tau_quantile": 0.2, "learning_rate": 1e-3, "objective": None},
        {"trial": "t004", "tau_quantile": 0.3, "learning_rate": 2e-3, "objective": 0.8},
    ]
    table = pa.Table.from_pylist([{"kind": "trial", "n_kept": 3, **row} for row in reversed(rows)])
    store.write_table(paths.sweep_trials(name), table)
    stages = ["W", "N1", "N2", "N3", "REM"]
    said = {"method": "selective", "objective": "source_val", "declared_stages": stages, **manifest}
    store.write_bytes(paths.sweep_manifest(name), json.dumps(said).encode())


class Search(SearchBase):
    further = FURTHER


def search(**keys: Any) -> SearchBase:
    return Search.model_validate({"n_trials": 4, "warm_start": ("old",), **keys})


def test_trials_inside_the_ranges_are_taken_and_the_others_named(store: Store) -> None:
    finished(store)
    earlier = earlier_trials(store, "old", SPACE, {})
    assert earlier.inside == {
        "t000": ({"tau_quantile": 0.5, "learning_rate": 1e-3}, 0.6),
        "t004": ({"tau_quantile": 0.3, "learning_rate": 2e-3}, 0.8),
    }
    assert earlier.outside == {
        "t001": "tau_quantile 0.95 lies outside",
        "t002": "learning_rate 1e-05 lies outside",
    }


def test_a_parameter_that_was_not_there_cannot_be_learned_from(store: Store) -> None:
    finished(store)
    earlier = earlier_trials(store, "old", {**SPACE, "dropout": Uniform(0, 1)}, {})
    assert not earlier.inside
    assert earlier.outside["t000"] == "has no dropout"


def test_a_budget_is_how_many_batches_were_kept(store: Store) -> None:
    finished(store)
    earlier = earlier_trials(store, "old", {"tau_budget": Integer(1, 5)}, {}, SHOWN.columns)
    assert earlier.inside["t000"] == ({"tau_budget": 3}, 0.6)


def test_they_are_adopted_once_and_it_is_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(store)
    sweep = SweepBase(name="new", method="selective")
    journal = Path(store.uri) / "optuna.journal"
    for _ in range(2):
        study = Study("new", journal)
        with EventLog(store, "events.jsonl") as log:
            run = Run(store=store, sweep=sweep, log=log, halt=Halt())
            adopt_trials(run, search(), SPACE, {}, study)
        known = study._study.get_trials()
        assert [trial.user_attrs["adopted_from"] for trial in known] == [
            "old/t000",
            "old/t004",
        ] or [trial.user_attrs["adopted_from"] for trial in known] == ["old/t004", "old/t000"]
        assert study.trials == study.all_trials == []
    (event,) = read_events(store, "events.jsonl")
    assert (event["sweep"], event["n_trials"]) == ("old", 2)
    assert sorted(event["left_out"]) == ["t001", "t002"]
    said = capsys.readouterr().err
    assert "warm start: 2 trials of 'old', 2 left out" in said
    assert "old/t001: tau_quantile 0.95 lies outside" in said


def test_what_the_search_fixes_must_have_been_the_same(store: Store) -> None:
    finished(store)
    space = {"tau_quantile": SPACE["tau_quantile"]}
    earlier = earlier_trials(store, "old", space, {"learning_rate": 1e-3})
    assert set(earlier.inside) == {"t000"}
    assert earlier.outside["t004"] == "learning_rate 0.002 is not 0.001, which this sweep fixes"


def check(store: Store, *, name: str = "new", objective: str = "source_val", **keys: Any) -> None:
    sweep = SweepBase.model_validate({"name": name, "method": keys.pop("method", "selective")})
    check_warm_start(store, sweep, search(**keys), objective)


def test_only_what_can_be_compared(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"names 'old', which has no final table in .*Run it"):
        check(store)
    finished(store)
    check(store)
    with pytest.raises(ConfigError, match=r'the objective "source_val"; this search has "oracle_'):
        check(store, objective="oracle_target_val")
    with pytest.raises(ConfigError, match=r'has the method "selective"; this search has "sleepmg"'):
        check(store, method="sleepmg")
    with pytest.raises(ConfigError, match="works with a single objective"):
        check(store, also=("cost",))
    with pytest.raises(ConfigError, match="names 'old', which is this sweep itself"):
        check(store, name="old")
    finished(store, declared_stages=["W", "N2"])
    with pytest.raises(ConfigError, match="has the declared_stages"):
        check(store)


def test_a_sweep_that_has_begun_needs_its_teachers_no_more(store: Store) -> None:
    finished(store)
    study = Study("new", Path(store.uri) / "optuna.journal")
    with EventLog(store, "events.jsonl") as log:
        run = Run(
            store=store, sweep=SweepBase(name="new", method="selective"), log=log, halt=Halt()
        )
        adopt_trials(run, search(), SPACE, {}, study)
        store.delete_if_there(paths.sweep_trials("old"))
        adopt_trials(run, search(), SPACE, {}, Study("new", Path(store.uri) / "optuna.journal"))
    with pytest.raises(ConfigError):
        check(store)
    store.write_bytes(paths.sweep_journal("new"), b"")
    check(store)


def test_points_of_a_file_are_tried_though_others_have(store: Store) -> None:
    study = Study("new", Path(store.uri) / "optuna.journal")
    params = {"tau_quantile": 0.5, "learning_rate": 1e-3}
    ranges = {name: distribution(declared) for name, declared in SPACE.items()}
    study.adopt("old/t000", params, ranges, 0.6)
    for _ in range(2):
        study.enqueue(params)
    assert [t.system_attrs["fixed_params"] for t in study.all_trials] == [params]
