"""A made-up finished sweep, so that each test changes only what it is about."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.methods.selective.results import BatchRow, PredictedRow, TrialRow
from orchestrator.methods.selective.review.records import Manifest, read_manifest
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.rows import read_rows, table_of

STAGES = ("W", "N1", "N2", "N3", "REM")
TRIAL_SCHEMA = pa.schema(
    {
        "trial": pa.string(),
        "kind": pa.string(),
        "arm": pa.string(),
        "state": pa.string(),
        "enqueued": pa.bool_(),
        "reused_from": pa.string(),
        "tau_quantile": pa.float64(),
        "tau_absolute": pa.float64(),
        "learning_rate": pa.float64(),
        "n_kept": pa.int32(),
        "n_selectable": pa.int32(),
        "n_subjects_kept": pa.int32(),
        "n_steps": pa.int32(),
        "objective": pa.float64(),
        "on_line": pa.bool_(),
        "n_replicates": pa.int32(),
        "objective_low": pa.float64(),
        "objective_high": pa.float64(),
        "cost": pa.float64(),
        "transfer_margin": pa.float64(),
        "on_front": pa.bool_(),
        "stopped_after": pa.int32(),
        "target_macro_f1": pa.float64(),
        "target_accuracy": pa.float64(),
        "target_kappa": pa.float64(),
        **{f"kept_{stage}": pa.int32() for stage in STAGES},
        "signature": pa.string(),
        "error": pa.string(),
    }
)


def trial_row(trial: str = "t000", **changes: Any) -> dict[str, Any]:
    """One row of trials.parquet."""
    row = {
        "trial": trial,
        "kind": "trial",
        "arm": None,
        "state": "complete",
        "enqueued": True,
        "on_line": changes.get("enqueued", True),
        "reused_from": None,
        "tau_quantile": 0.5,
        "tau_absolute": 0.1,
        "learning_rate": 1e-4,
        "n_kept": 10,
        "n_selectable": 20,
        "n_subjects_kept": 4,
        "n_steps": 30,
        "objective": 0.6,
        "n_replicates": 1,
        "objective_low": None,
        "objective_high": None,
        "cost": 960.0,
        "transfer_margin": 0.01,
        "on_front": None,
        "stopped_after": None,
        "target_macro_f1": 0.6,
        "target_accuracy": 0.7,
        "target_kappa": 0.5,
        "kept_W": 100,
        "kept_N1": 0,
        "kept_N2": 0,
        "kept_N3": 100,
        "kept_REM": 0,
        "signature": "abc",
        "error": None,
    }
    assert changes.keys() <= row.keys()
    return row | changes


def arm_row(arm: str, **changes: Any) -> dict[str, Any]:
    """One arm of trials.parquet."""
    own: dict[str, Any] = {
        "kind": "arm",
        "arm": arm,
        "enqueued": False,
        "tau_quantile": None,
        "tau_absolute": None,
        "objective": 0.5,
    }
    if arm == "no_adapt":
        own |= {"n_kept": 0, "n_subjects_kept": 0, "n_steps": 0, "learning_rate": None}
    if arm == "all_source":
        own |= {"n_kept": 20}
    return trial_row(f"arm-{arm}", **(own | changes))


def make_trial(trial: str = "t000", **changes: Any) -> TrialRow:
    (row,) = read_rows(TrialRow, [trial_row(trial, **changes)], "trials.parquet")
    return row


def make_arm(arm: str, **changes: Any) -> TrialRow:
    (row,) = read_rows(TrialRow, [arm_row(arm, **changes)], "trials.parquet")
    return row


def batch_row(batch_id: int = 0, **changes: Any) -> dict[str, Any]:
    """One row of batches.parquet; the reward follows the distance."""
    emd = changes.get("emd", 8.0)
    row = {
        "batch_id": batch_id,
        "subject": "s01",
        "recording": "s01n1",
        "first_epoch": 32 * batch_id,
        "n": 32,
        "selectable": True,
        "emd": emd,
        "reward": None if emd is None else (1 / emd if emd else float("inf")),
        "W": 16,
        "N1": 0,
        "N2": 0,
        "N3": 16,
        "REM": 0,
    }
    assert changes.keys() <= row.keys()
    return row | changes


def make_batch(batch_id: int = 0, **changes: Any) -> BatchRow:
    (row,) = read_rows(BatchRow, [batch_row(batch_id, **changes)], "batches.parquet")
    return row


def manifest_json(**changes: Any) -> dict[str, Any]:
    """manifest.json of a sweep on one target subject."""
    stored = {
        "name": "tau-lab",
        "method": "selective",
        "objective": "source_val",
        "also": [],
        "declared_stages": ["W", "N3"],
        "source_dataset": "lab",
        "target_dataset": "site",
        "source_subjects": [f"s{i:02d}" for i in range(1, 13)],
        "validation_subjects": ["s10"],
        "early_stop_subject": "s05",
        "target_subjects": ["x18"],
        "target_adapt_subjects": ["x18"],
        "target_is_labelled": True,
        "adapt_to": "target",
        "batch_size": 32,
        "n_source_batches": 110,
        "n_selectable": 98,
        "n_target_batches": 25,
        "n_target_epochs": 822,
        "layer": "afr_gap",
        "metric": "euclidean",
        "aggregate": "mean",
        "encoder_id": "e3a91c",
        "score_id": "5c0de5",
        "default_learning_rate": 1e-4,
        "n_steps": 30,
        "seed": 7,
        "target_evaluation_epochs": 465,
        "target_stage_counts": {"W": 328, "N1": 0, "N2": 0, "N3": 137, "REM": 0},
        "pretrain": {
            "source_val_macro_f1": 0.71,
            "majority_macro_f1": 0.36,
            "n_steps": 240,
            "n_passes": 9,
        },
        "versions": {"torch": "2.13.0", "ray": "2.60.0", "sleep-orchestrator": "0.1.0"},
    }
    assert changes.keys() <= stored.keys()
    return stored | changes


def make_manifest(**changes: Any) -> Manifest:
    return read_manifest(json.dumps(manifest_json(**changes)).encode())


def whole_sweep(seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Trials and batches of a sweep with 5 enqueued and 9 sampled trials, 3 arms and 110 batches."""
    rng = np.random.default_rng(seed)
    batches = []
    sizes = [10, 10, 10, 10, 6, 10, 10, 10, 9, 6, 10, 9]  # 110 batches, 98 of them selectable
    for batch_id, subject in enumerate(np.repeat(np.arange(12), sizes).tolist()):
        emd = 6 + 0.5 * (subject % 5) + float(rng.gamma(4, 0.35))
        awake = int(np.clip(rng.normal(40 - 4 * emd + 6, 5), 0, 32))
        batches.append(
            batch_row(
                batch_id,
                subject=f"s{subject + 1:02d}",
                recording=f"s{subject + 1:02d}n1",
                selectable=subject not in (4, 9),
                emd=emd,
                W=awake,
                N3=32 - awake,
            )
        )
    selectable = [b for b in batches if b["selectable"]]
    n = len(selectable)
    rewards = sorted((b["reward"] for b in selectable), reverse=True)
    trials = []
    for i in range(14):
        enqueued = i < 5
        p = (0, 0.25, 0.5, 0.75, 0.9)[i] if enqueued else float(rng.uniform(0, 0.95))
        n_kept = int(np.ceil((1 - p) * n))
        kept = sorted(selectable, key=lambda b: -b["reward"])[:n_kept]
        f1 = 0.60 + 0.12 * float(np.sin(2.6 * p)) + 0.01 * float(rng.normal())
        rate = 1e-4 if enqueued else float(10 ** rng.uniform(-5, -2))
        if not enqueued:
            f1 -= 0.05 * abs(np.log10(rate) + 4) ** 1.5 * float(rng.uniform(0.5, 1))
        trials.append(
            trial_row(
                f"t{i:03d}",
                enqueued=enqueued,
                tau_quantile=p,
                tau_absolute=float(np.nextafter(rewards[n_kept - 1], 0)),
                learning_rate=rate,
                n_kept=n_kept,
                n_selectable=n,
                n_subjects_kept=len({b["subject"] for b in kept}),
                objective=f1 + 0.06 - 0.05 * p,
                target_macro_f1=f1,
                **{f"kept_{stage}": sum(b[stage] for b in kept) for stage in STAGES},
            )
        )
    trials += [
        arm_row("no_adapt", n_selectable=n, target_macro_f1=0.598),
        arm_row("all_source", n_kept=n, n_selectable=n, target_macro_f1=0.604),
        arm_row("random", n_kept=(n + 1) // 2, n_selectable=n, target_macro_f1=0.641),
    ]
    return trials, batches


SaveSweep = Callable[..., Store]


@pytest.fixture
def save_sweep(tmp_path: Path) -> SaveSweep:
    """Write a sweep into a local store; keyword arguments replace the trials, batches or manifest."""

    def save(
        name: str = "tau-lab",
        trials: list[dict[str, Any]] | None = None,
        batches: list[dict[str, Any]] | None = None,
        predicted: Sequence[PredictedRow] = (),
        **manifest: Any,
    ) -> Store:
        store = Store.open(str(tmp_path / "runs"))
        made_trials, made_batches = whole_sweep()
        rows = made_trials if trials is None else trials
        batch_rows = made_batches if batches is None else batches
        store.write_table(paths.sweep_trials(name), pa.Table.from_pylist(rows, schema=TRIAL_SCHEMA))
        store.write_table(paths.sweep_batches(name), pa.Table.from_pylist(batch_rows))
        if predicted:
            store.write_table(paths.sweep_predicted(name), table_of(PredictedRow, predicted))
        data = json.dumps(manifest_json(name=name, **manifest)).encode()
        store.write_bytes(paths.sweep_manifest(name), data)
        return store

    return save


def unjudged_sweep() -> dict[str, Any]:
    """A sweep on a target that nobody scored, for `save_sweep`."""
    trials, batches = whole_sweep()
    metrics = dict.fromkeys(("target_macro_f1", "target_accuracy", "target_kappa"))
    says = {"t002": (40, 60), "arm-no_adapt": (90, 10)}
    best = max(
        (row for row in trials if row["kind"] == "trial"), key=lambda row: row["objective"] or 0
    )["trial"]
    says[best] = says.pop("t002")
    return {
        "trials": [row | metrics for row in trials],
        "batches": batches,
        "predicted": [
            PredictedRow(
                trial=trial,
                subject=subject,
                n_epochs=100,
                certainty=0.75,
                information=0.25,
                epochs={"W": awake, "N1": 0, "N2": 0, "N3": deep, "REM": 0},
            )
            for trial, (awake, deep) in says.items()
            for subject in (None, "x18")
        ],
        "target_is_labelled": False,
        "target_evaluation_epochs": 0,
        "target_stage_counts": {},
    }


class Made:
    """The builders above, for tests: files of tests cannot import each other."""

    trial_row = staticmethod(trial_row)
    arm_row = staticmethod(arm_row)
    batch_row = staticmethod(batch_row)
    trial = staticmethod(make_trial)
    arm = staticmethod(make_arm)
    batch = staticmethod(make_batch)
    manifest = staticmethod(make_manifest)
    sweep = staticmethod(whole_sweep)
    unjudged = staticmethod(unjudged_sweep)


@pytest.fixture
def made() -> type[Made]:
    return Made
