"""What is judged of each subject alone, against scikit-learn."""

import math

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from orchestrator.psg.feed import StoredRecording
from orchestrator.sweeps.by_subject import by_subject_table, metrics_by_subject, rows_by_subject
from orchestrator.sweeps.objective import Judged
from orchestrator.tables.by_subject import PAIRS, BySubjectRow, Replicate, pair_of
from orchestrator.tables.rows import read_rows, schema_of
from trainables.stages import STAGE_NAMES, Stage

RECORDINGS = [
    StoredRecording(dataset="clinic", subject=subject, recording=recording, epochs_sha256="")
    for subject, recording in (("p2", "p2-n1"), ("p1", "p1-n1"), ("p2", "p2-n2"), ("p3", "p3-n1"))
]


def a_night(seed: int = 0, n: int = 400) -> tuple[NDArray[np.int64], ...]:
    """Recording, true and predicted stage of epochs of all recordings but the last, in no order."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 5, n)
    predicted = np.where(rng.random(n) < 0.6, true, rng.integers(0, 5, n))
    return rng.integers(0, 3, n), true, predicted


def of(trial: str = "t000", seed: int = 1) -> Replicate:
    return Replicate(trial=trial, kind="trial", control=None, seed=seed, split="test")


def judged(recording: NDArray[np.int64], true: object, predicted: object) -> Judged:
    rows = pa.table({"recording": pa.array(recording, pa.int32())})
    return Judged(rows=rows, true=np.asarray(true), predicted=np.asarray(predicted))


def test_metrics_of_each_subject_are_those_of_scikit_learn() -> None:
    recording, true, predicted = a_night()
    rows = rows_by_subject(of(), judged(recording, true, predicted), RECORDINGS, tuple(Stage))
    assert [row.subject for row in rows] == ["p1", "p2"], "who has no epoch has no row"
    for row, mine in zip(rows, (recording == 1, recording != 1), strict=True):
        pair = true[mine], predicted[mine]
        assert row.n_epochs == mine.sum()
        assert row.macro_f1 == pytest.approx(f1_score(*pair, average="macro"))
        assert row.accuracy == pytest.approx(accuracy_score(*pair))
        assert row.kappa == pytest.approx(cohen_kappa_score(*pair))
        assert [row.f1[name] for name in STAGE_NAMES] == pytest.approx(
            list(f1_score(*pair, labels=list(Stage), average=None))
        )
        expected = confusion_matrix(*pair, labels=list(Stage))
        assert [row.confusion[pair_of(*names)] for names in PAIRS] == expected.ravel().tolist()


def alone(true: list[int], predicted: list[int], *declared: Stage) -> dict[str, object]:
    subject = np.full(len(true), "p1")
    found = metrics_by_subject(
        np.array(true), np.array(predicted), subject, declared or tuple(Stage)
    )
    return found["p1"]


def test_a_subject_without_rem_can_reach_1() -> None:
    found = alone([0, 1, 2, 3], [0, 1, 2, 3])
    assert (found["macro_f1"], found["kappa"]) == (1.0, 1.0)
    assert found["f1"] == {"W": 1.0, "N1": 1.0, "N2": 1.0, "N3": 1.0, "REM": None}


def test_a_stage_that_is_predicted_but_never_true_counts() -> None:
    found = alone([0, 0, 2], [0, 4, 2])
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["f1"] == {"W": 2 / 3, "N1": None, "N2": 1.0, "N3": None, "REM": 0.0}
    counts = found["confusion"]
    assert isinstance(counts, dict)
    assert {name: n for name, n in counts.items() if n} == {
        **{"W_as_W": 1, "W_as_REM": 1, "N2_as_N2": 1},
    }


@pytest.mark.parametrize("n", [1, 5])
def test_kappa_of_one_stage_throughout_is_none(n: int) -> None:
    right, wrong = alone([2] * n, [2] * n), alone([2] * n, [3] * n)
    assert (right["n_epochs"], right["macro_f1"], right["kappa"]) == (n, 1.0, None)
    assert (wrong["n_epochs"], wrong["macro_f1"], wrong["kappa"]) == (n, 0.0, 0.0)


def test_no_epochs_are_no_subjects() -> None:
    none = np.zeros(0, np.int64)
    assert metrics_by_subject(none, none, np.zeros(0, "U1"), tuple(Stage)) == {}
    assert rows_by_subject(of(), judged(none, none, none), RECORDINGS, tuple(Stage)) == []


def test_counts_of_all_subjects_are_those_of_the_pooled_epochs() -> None:
    recording, true, predicted = a_night(seed=1)
    rows = rows_by_subject(of(), judged(recording, true, predicted), RECORDINGS, tuple(Stage))
    summed = [sum(row.confusion[pair_of(*names)] for row in rows) for names in PAIRS]
    assert summed == confusion_matrix(true, predicted, labels=list(Stage)).ravel().tolist()


def test_a_subject_has_the_fold_in_which_it_is_tested() -> None:
    found = judged(*a_night())
    rows = rows_by_subject(of(), found, RECORDINGS, tuple(Stage), {"p1": 7, "p2": 0, "p3": 1})
    assert [(row.subject, row.fold) for row in rows] == [("p1", 7), ("p2", 0)]
    without = rows_by_subject(of(), found, RECORDINGS, tuple(Stage))
    assert [row.fold for row in without] == [None, None]


def test_the_table_is_sorted_by_trial_and_reads_back_the_same() -> None:
    one_stage = judged(np.array([3]), [4], [4])
    rows = [
        row
        for trial, seed in (("t010", 1), ("t010", 2), ("t002", 1), ("arm-random", 2**40))
        for found in (one_stage, judged(*a_night(seed)))
        for row in rows_by_subject(of(trial, seed), found, RECORDINGS, tuple(Stage))
    ]
    table = by_subject_table(rows)
    assert table.schema == schema_of(BySubjectRow)
    again = read_rows(BySubjectRow, table.to_pylist(), "trials_by_subject.parquet")
    assert [(row.trial, row.seed) for row in again[::3]] == [
        *(("arm-random", 2**40), ("t002", 1), ("t010", 1), ("t010", 2)),
    ]
    assert set(again) == set(rows)
    lone = again[0]
    assert (lone.subject, lone.kappa, lone.f1["W"], lone.fold) == ("p3", None, None, None)
    assert not any(math.isnan(value) for value in table["kappa"].to_pylist() if value is not None)


def test_the_columns_of_counts_are_true_as_predicted() -> None:
    counts = [name for name in schema_of(BySubjectRow).names if "_as_" in name]
    assert len(counts) == 25
    assert counts[:6] == ["W_as_W", "W_as_N1", "W_as_N2", "W_as_N3", "W_as_REM", "N1_as_W"]
