"""The tables of a sweep of pretrainings, by hand."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from orchestrator.sweep.objective import Judged
from orchestrator.sweep.pretrain.results import Entry, Tables
from orchestrator.tables.pretrain import SubjectRow, TrialRow
from orchestrator.tables.rows import schema_of
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage

RECORDINGS = [
    StoredRecording(dataset="home", subject=subject, recording=recording, epochs_sha256="")
    for subject, recording in (("v2", "v2-n1"), ("v2", "v2-n2"), ("v3", "v3-n1"))
]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    store = Store.open(str(tmp_path))
    about = {
        "weights_sha256": sha256(b"w"),
        **{"n_passes": 5, "best_pass": 3, "n_steps": 40, "early_stop_macro_f1": 0.5},
        **{"n_train_epochs": 80, "train_stage_counts": {"N2": 80}, "learned_stages": ["N2"]},
    }
    store.write_bytes(paths.encoder_weights("abc"), b"w")
    store.write_bytes(paths.encoder_json("abc"), json.dumps(about).encode())
    return Tables(store, RECORDINGS, [Stage.W, Stage.N2])


def entry(trial: str = "t000", signature: str | None = "abc", error: str | None = None) -> Entry:
    return Entry(
        trial=trial,
        enqueued=True,
        encoder=EncoderSettings(dropout=0.25),
        pretrain=PretrainSettings(batch_size=48),
        signature=signature,
        objective=None if error else 0.75,
        error=error,
    )


def judged(recording: list[int], true: list[int], predicted: list[int]) -> Judged:
    rows = pa.table({"recording": pa.array(recording, pa.int32())})
    return Judged(rows=rows, true=np.array(true), predicted=np.array(predicted))


def test_a_trial_has_its_settings_its_encoder_and_its_subjects(tables: Tables) -> None:
    # v2 has two nights and one wrong epoch of four; v3 is right.
    tables.add(entry(), judged([0, 0, 1, 1, 2, 2], [0, 2, 0, 2, 0, 2], [0, 2, 2, 2, 0, 2]))
    found = tables.tables()
    assert found["trials"].schema == schema_of(TrialRow)
    assert found["subjects"].schema == schema_of(SubjectRow)
    (row,) = found["trials"].to_pylist()
    of_v2 = (2 / 3 + 4 / 5) / 2  # W: one hit, one miss; N2: two hits, one false alarm
    assert row == {
        "trial": "t000",
        "kind": "trial",
        "state": "complete",
        "enqueued": True,
        "reused_from": None,
        "learning_rate": 1e-3,
        "weight_decay": 1e-3,
        "dropout": 0.25,
        "batch_size": 48,
        "n_passes": 5,
        "best_pass": 3,
        "n_steps": 40,
        "early_stop_macro_f1": 0.5,
        "objective": 0.75,
        "accuracy": pytest.approx(5 / 6),
        "kappa": pytest.approx(2 / 3),
        "n_subjects": 2,
        "lowest_subject_macro_f1": pytest.approx(of_v2),
        "mean_subject_macro_f1": pytest.approx((of_v2 + 1) / 2),
        "encoder_id": "abc",
        "signature": "abc",
        "error": None,
    }
    subjects = found["subjects"].to_pylist()
    assert [(s["subject"], s["n_epochs"]) for s in subjects] == [("v2", 4), ("v3", 2)]
    assert [s["macro_f1"] for s in subjects] == pytest.approx([of_v2, 1.0])


def test_a_subject_without_a_declared_stage_does_not_count(tables: Tables) -> None:
    tables.add(entry(), judged([2, 2], [0, 2], [0, 2]))
    (row,) = tables.tables()["trials"].to_pylist()
    assert (row["n_subjects"], row["lowest_subject_macro_f1"]) == (1, 1.0)


def test_a_failed_trial_has_settings_and_an_error_alone(tables: Tables) -> None:
    tables.add(entry("t001", None, "DivergedError: too fast"), None)
    tables.add(entry(), judged([0], [0], [0]))
    first, failed = tables.tables()["trials"].to_pylist()
    assert (first["trial"], failed["trial"]) == ("t000", "t001")
    assert (failed["state"], failed["error"]) == ("failed", "DivergedError: too fast")
    assert failed["batch_size"] == 48
    assert failed["encoder_id"] is failed["objective"] is failed["n_subjects"] is None
    assert len(tables.tables()["subjects"]) == 1
