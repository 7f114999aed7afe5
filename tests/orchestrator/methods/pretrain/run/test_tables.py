"""The tables of a sweep of pretrainings, by hand."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.method import Done
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.methods.pretrain.run.tables import tables_of
from orchestrator.methods.pretrain.trial.pretraining import Trial
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from orchestrator.sweeps.objective import Judged
from orchestrator.tables.by_subject import BySubjectRow
from orchestrator.tables.rows import read_rows, schema_of
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage

RECORDINGS = [
    StoredRecording(dataset="home", subject=subject, recording=recording, epochs_sha256="")
    for subject, recording in (("v2", "v2-n1"), ("v2", "v2-n2"), ("v3", "v3-n1"))
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one encoder."""
    store = Store.open(str(tmp_path))
    about = {
        "weights_sha256": sha256(b"w"),
        **{"n_passes": 5, "best_pass": 3, "n_steps": 40, "early_stop_macro_f1": 0.5},
        **{"n_train_epochs": 80, "train_stage_counts": {"N2": 80}, "learned_stages": ["N2"]},
    }
    store.write_bytes(paths.encoder_weights("abc"), b"w")
    store.write_bytes(paths.encoder_json("abc"), json.dumps(about).encode())
    return store


def ended(
    name: str = "t000", signature: str | None = "abc", error: str | None = None
) -> Done[Trial]:
    request = EncoderRequest(
        encoder=EncoderSettings(dropout=0.25),
        pretrain=PretrainSettings(batch_size=48),
        stages=(Stage.W, Stage.N2),
        modality="eeg",
        seed=1,
        train=(),
        early_stop=(),
    )
    return Done(
        name=name,
        trial=Trial(request=request),
        is_control=False,
        enqueued=True,
        signature=signature,
        objective=None if error else 0.75,
        replicates=(),
        error=error,
    )


def tables(store: Store, found: Judged, *done: Done[Trial]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The final table and those of subjects, where the encoder predicts this."""
    return tables_of(store, RECORDINGS, [Stage.W, Stage.N2], done, {"abc": found}.__getitem__)


def judged(recording: list[int], true: list[int], predicted: list[int]) -> Judged:
    rows = pa.table({"recording": pa.array(recording, pa.int32())})
    return Judged(rows=rows, true=np.array(true), predicted=np.array(predicted))


def test_a_trial_has_its_settings_its_encoder_and_its_subjects(store: Store) -> None:
    # v2 has two nights and one wrong epoch of four; v3 is right.
    found = judged([0, 0, 1, 1, 2, 2], [0, 2, 0, 2, 0, 2], [0, 2, 2, 2, 0, 2])
    trials, of_subjects, _ = tables(store, found, ended())
    assert trials.schema == schema_of(TrialRow)
    assert of_subjects.schema == schema_of(SubjectRow)
    (row,) = trials.to_pylist()
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
    subjects = of_subjects.to_pylist()
    assert [(s["subject"], s["n_epochs"]) for s in subjects] == [("v2", 4), ("v3", 2)]
    assert [s["macro_f1"] for s in subjects] == pytest.approx([of_v2, 1.0])


def test_a_subject_without_a_declared_stage_does_not_count(store: Store) -> None:
    trials, *_ = tables(store, judged([2, 2], [0, 2], [0, 2]), ended())
    (row,) = trials.to_pylist()
    assert (row["n_subjects"], row["lowest_subject_macro_f1"]) == (1, 1.0)


def test_a_failed_trial_has_settings_and_an_error_alone(store: Store) -> None:
    failure = ended("t001", None, "DivergedError: too fast")
    trials, subjects, by_subject = tables(store, judged([0], [0], [0]), failure, ended())
    first, failed = trials.to_pylist()
    assert (first["trial"], failed["trial"]) == ("t000", "t001")
    assert (failed["state"], failed["error"]) == ("failed", "DivergedError: too fast")
    assert failed["batch_size"] == 48
    assert failed["encoder_id"] is failed["objective"] is failed["n_subjects"] is None
    assert len(subjects) == len(by_subject) == 1


def test_held_out_subjects_are_marked_as_those_of_the_objective(store: Store) -> None:
    # v2 has no N2 in truth and prediction, which its macro-F1 over declared stages takes as 0.
    found = judged([0, 1, 2, 2], [0, 0, 0, 2], [0, 0, 0, 0])
    _, of_subjects, table = tables(store, found, ended("t001"), ended())
    rows = read_rows(BySubjectRow, table.to_pylist(), "trials_by_subject.parquet")
    assert [(row.trial, row.subject, row.n_epochs) for row in rows] == [
        *(("t000", "v2", 2), ("t000", "v3", 2), ("t001", "v2", 2), ("t001", "v3", 2)),
    ]
    assert {(row.kind, row.control, row.seed, row.split, row.fold) for row in rows} == {
        ("trial", None, 1, "objective", None)
    }
    v2, v3 = rows[:2]
    assert (v2.macro_f1, v2.accuracy, v2.kappa) == (1.0, 1.0, None)
    assert v3.macro_f1 == pytest.approx(1 / 3)
    assert (v3.accuracy, v3.kappa) == (0.5, 0.0)
    assert of_subjects["macro_f1"].to_pylist()[:2] == pytest.approx([0.5, 1 / 3])
