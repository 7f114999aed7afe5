"""A made-up finished sweep of pretrainings, so that each test changes only what it is about."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.rows import schema_of

Row = dict[str, Any]
Save = Callable[..., Store]


def trial_row(trial: str = "t000", **changes: Any) -> Row:
    """One row of trials.parquet."""
    row: Row = {
        **{"trial": trial, "kind": "trial", "state": "complete", "enqueued": False},
        **{"reused_from": None, "learning_rate": 1e-3, "weight_decay": 1e-3, "dropout": 0.5},
        **{"batch_size": 64, "n_passes": 6, "best_pass": 4, "n_steps": 120},
        **{"early_stop_macro_f1": 0.6, "objective": 0.6, "accuracy": 0.7, "kappa": 0.5},
        **{"n_subjects": 3, "lowest_subject_macro_f1": 0.5, "mean_subject_macro_f1": 0.58},
        **{"encoder_id": f"e-{trial}", "signature": f"e-{trial}", "error": None},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def failed(row: Row, error: str = "DivergedError: too fast\nTraceback") -> Row:
    """A trial that did not finish."""
    settings = {"trial", "kind", "enqueued", "learning_rate", "weight_decay", "dropout"}
    nothing = dict.fromkeys(row.keys() - settings - {"batch_size"})
    return row | nothing | {"state": "failed", "error": error}


def subject_rows(trial: str, *macro_f1: float) -> list[Row]:
    """Rows of subjects.parquet: held-out subjects v2, v3 ..."""
    return [
        {
            **{"trial": trial, "subject": f"v{i}", "n_epochs": 100, "macro_f1": value},
            **{"accuracy": value + 0.05, "kappa": value - 0.05},
        }
        for i, value in enumerate(macro_f1, start=2)
    ]


def manifest_json(**changes: Any) -> Row:
    """manifest.json of a search over dropout and batch size."""
    stored: Row = {
        **{"name": "probe", "method": "pretrain", "objective": "source_val"},
        "declared_stages": ["W", "N2", "N3"],
        **{"modality": "eeg", "dataset": "home", "train_subjects": ["s1", "s2"]},
        **{"early_stop_subjects": ["v1"], "objective_subjects": ["v2", "v3", "v4"]},
        "searched": ["dropout", "batch_size"],
        "space": {
            "batch_size": {"low": 16, "high": 128, "log": False},
            "dropout": {"low": 0.0, "high": 0.8, "log": False},
        },
        "encoder": {"architecture": "mrcnn", "dropout": 0.5},
        "pretrain": {
            **{"n_passes": 6, "batch_size": 128, "learning_rate": 1e-3, "n_full_rate_passes": 10},
            **{"weight_decay": 1e-3, "patience": 3, "min_passes": 1},
        },
        **{"seed": 1, "n_train_epochs": 400, "n_early_stop_epochs": 200},
        "n_objective_epochs": 600,
        "train_stage_counts": {"W": 100, "N1": 0, "N2": 200, "N3": 100, "REM": 0},
        "majority": {"stage": "N2", "macro_f1": 0.25},
        "versions": {"torch": "2.13.0"},
    }
    assert changes.keys() <= stored.keys()
    return stored | changes


TRIALS = [
    trial_row("t000", enqueued=True, objective=0.60),
    trial_row("t001", dropout=0.2, batch_size=33, objective=0.712345678901),
    trial_row("t002", dropout=0.7, batch_size=100, objective=0.66),
    failed(trial_row("t003", dropout=0.1)),
]
SUBJECTS = [
    *subject_rows("t000", 0.5, 0.6, 0.7),
    *subject_rows("t001", 0.62, 0.70, 0.78),
    *subject_rows("t002", 0.6, 0.65, 0.7),
]


class Made:
    """What tests make sweeps of."""

    trial_row = staticmethod(trial_row)
    failed = staticmethod(failed)
    subject_rows = staticmethod(subject_rows)
    manifest_json = staticmethod(manifest_json)
    trials = TRIALS
    subjects = SUBJECTS


@pytest.fixture
def made() -> type[Made]:
    return Made


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a made-up sweep into a local store, with the schemas of the engine."""

    def saved(
        trials: Sequence[Row] = TRIALS, subjects: Sequence[Row] = SUBJECTS, **changes: Any
    ) -> Store:
        store = Store.open(str(tmp_path / "runs"))
        store.write_table(
            paths.sweep_trials("probe"),
            pa.Table.from_pylist(list(trials), schema=schema_of(TrialRow)),
        )
        store.write_table(
            paths.sweep_subjects("probe"),
            pa.Table.from_pylist(list(subjects), schema=schema_of(SubjectRow)),
        )
        store.write_bytes(
            paths.sweep_manifest("probe"), json.dumps(manifest_json(**changes)).encode()
        )
        return store

    return saved
