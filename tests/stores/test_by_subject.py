"""Sweeps of version 0.1 get the table of subjects when they end today, and it agrees with their final tables."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.labels import LabelGate
from orchestrator.method import method_of
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import loop
from orchestrator.sweeps.begun import stored_sweep
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import SIGNATURE
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.search.tuning import SearchResult
from orchestrator.tables.by_subject import BySubjectRow, pair_of
from orchestrator.tables.rows import read_rows
from orchestrator.telemetry.events import EventLog
from tests.stores.conftest import SWEEPS
from tests.stores.pages import FINISHED
from trainables.stages import STAGE_NAMES

pytestmark = pytest.mark.heavy

OTHER_LOG = "events-of-the-test.jsonl"
PREFIX = {"pretrain": "", "selective": "target_", "sleepmg": "test_"}
SPLIT = {"pretrain": "objective", "selective": "test", "sleepmg": "test"}

Row = dict[str, Any]


def ended_here(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Row], Sequence[BySubjectRow]]:
    """End a stored sweep with the trials that its journal has, as the driver does, but without Ray and training."""
    sweep = stored_sweep(store, name)
    assert sweep is not None
    method = method_of(store, sweep)

    def fixed(run: Run, kind: str, names: list[str], *_: Any) -> Any:
        return {name: {SIGNATURE: method.configured(name, None).signature} for name in names}

    def search(run: Run, *_: Any, **__: Any) -> SearchResult:
        study = Study(name, Path(store.uri) / paths.sweep_journal(name))
        return SearchResult(trials=study.trials, front=set())

    monkeypatch.setattr(loop, "run_fixed", fixed)
    monkeypatch.setattr(loop, "run_search", search)
    monkeypatch.setattr(loop, "ray", SimpleNamespace(put=lambda value: value))
    with EventLog(store, OTHER_LOG) as log:
        run = Run(store=store, sweep=sweep, log=log, halt=Halt())
        final = loop.run_method(method, LabelGate(store, log), run).to_pylist()
        ledger = [e["split"] for e in log.events() if e["event"] == "labels_read"]
    assert sum(split in ("target_test", "fold_test") for split in ledger) <= 1
    stored = store.read_table(paths.sweep_trials_by_subject(name)).to_pylist()
    return final, read_rows(BySubjectRow, stored, "trials_by_subject.parquet")


@pytest.mark.parametrize("name", SWEEPS)
def test_counts_of_all_subjects_give_the_pooled_accuracy(
    store_of_0_1: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, _ = name.split("-")
    final, rows = ended_here(store_of_0_1, name, monkeypatch)
    assert {row.trial for row in rows} == {row["trial"] for row in final}
    for trial in final:
        mine = [row for row in rows if row.trial == trial["trial"]]
        right = sum(row.confusion[pair_of(stage, stage)] for row in mine for stage in STAGE_NAMES)
        n = sum(row.n_epochs for row in mine)
        assert n == sum(sum(row.confusion.values()) for row in mine)
        assert right / n == pytest.approx(trial[f"{PREFIX[method]}accuracy"])
        assert {row.kind for row in mine} == {trial["kind"]}
        assert {row.control for row in mine} == {trial.get("arm", trial.get("row"))}
        assert {row.split for row in mine} == {SPLIT[method]}
        assert len({(row.seed, row.subject) for row in mine}) == len(mine)


@pytest.mark.parametrize("name", FINISHED)
def test_the_tables_of_0_1_stay_as_they_are(
    store_of_0_1: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables() -> dict[str, Any]:
        files = store_of_0_1.files(paths.sweep_folder(name))
        return {path: store_of_0_1.read_table(path) for path in files if path.endswith(".parquet")}

    before = tables()
    final, _ = ended_here(store_of_0_1, name, monkeypatch)
    stored = before.pop(paths.sweep_trials(name)).to_pylist()
    assert [{key: row[key] for key in stored[0]} for row in final] == stored
    after = tables()
    assert all(after[path].equals(table) for path, table in before.items())
    new = {paths.sweep_trials_by_subject(name)}
    if name.startswith("selective"):
        new.add(paths.sweep_predicted(name))
    assert set(after) - set(before) - {paths.sweep_trials(name)} == new


def test_subjects_of_a_cross_validation_have_their_folds(
    store_of_0_1: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = ended_here(store_of_0_1, "sleepmg-finished", monkeypatch)
    folds = store_of_0_1.read_table(paths.sweep_folds("sleepmg-finished")).to_pylist()
    assert {(r.trial, r.seed, r.fold, r.subject) for r in rows} == {
        (fold["trial"], fold["seed"], fold["fold"], subject)
        for fold in folds
        for subject in fold["test_subjects"]
    }
    for fold in folds:
        of_fold = [
            r
            for r in rows
            if (r.trial, r.seed, r.fold) == (fold["trial"], fold["seed"], fold["fold"])
        ]
        assert sum(r.n_epochs for r in of_fold) == fold["n_test_epochs"]
        shares = [r.accuracy * r.n_epochs for r in of_fold]
        assert np.sum(shares) / fold["n_test_epochs"] == pytest.approx(fold["test_accuracy"])


@pytest.mark.parametrize("name", ["pretrain-finished", "selective-finished"])
def test_without_a_cross_validation_there_is_no_fold(
    store_of_0_1: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows = ended_here(store_of_0_1, name, monkeypatch)
    assert {row.fold for row in rows} == {None}


@pytest.mark.parametrize("name", FINISHED)
def test_a_sweep_of_0_1_keeps_no_model(
    store_of_0_1: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_here(store_of_0_1, name, monkeypatch)
    assert store_of_0_1.files(f"{paths.sweep_folder(name)}/models") == []
