import math

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.errors import EpochsError, TrainableError
from trainables.metrics import (
    accuracy,
    confusion_matrix,
    kappa,
    macro_f1,
    macro_f1_of_used,
    stage_f1,
)
from trainables.stages import Stage

# Epochs as (true, predicted); true may be unscored.
nights = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=60)
declarations = st.lists(st.sampled_from(Stage), min_size=1, max_size=5, unique=True)


@pytest.mark.heavy
@settings(max_examples=60, deadline=None)
@given(night=nights, declared=declarations)
def test_metrics_agree_with_sklearn(night: list[tuple[int, int]], declared: list[Stage]) -> None:
    true, predicted = np.array(night).T
    kept = np.isin(true, declared)
    if not kept.any():
        for metric in (macro_f1, macro_f1_of_used, stage_f1, accuracy, kappa):
            with pytest.raises(EpochsError, match="declared"):
                metric(true, predicted, declared)
        return
    true_kept, predicted_kept = true[kept], predicted[kept]
    assert macro_f1(true, predicted, declared) == pytest.approx(
        oracle.f1_score(
            true_kept, predicted_kept, labels=declared, average="macro", zero_division=0
        )
    )
    assert accuracy(true, predicted, declared) == pytest.approx(
        oracle.accuracy_score(true_kept, predicted_kept)
    )
    # sklearn's kappa is NaN, and warns, where a single stage fills both arrays; ours is 0.
    if len({*true_kept, *predicted_kept}) == 1:
        assert kappa(true, predicted, declared) == 0
        assert math.isnan(kappa(true, predicted, declared, undefined=math.nan))
    else:
        assert kappa(true, predicted, declared) == pytest.approx(
            oracle.cohen_kappa_score(true_kept, predicted_kept)
        )
    # Without labels, scikit-learn takes those in truth or prediction.
    assert macro_f1_of_used(true, predicted, declared) == pytest.approx(
        oracle.f1_score(true_kept, predicted_kept, average="macro")
    )
    np.testing.assert_allclose(
        stage_f1(true, predicted, declared),
        oracle.f1_score(
            true_kept, predicted_kept, labels=list(Stage), average=None, zero_division=np.nan
        ),
    )
    np.testing.assert_array_equal(
        confusion_matrix(true_kept, predicted_kept),
        oracle.confusion_matrix(true_kept, predicted_kept, labels=list(Stage)),
    )


def test_hand_scored_ten_epoch_night() -> None:
    true = np.array([0, 0, 1, 2, 2, 2, 3, 3, 4, -1])
    predicted = np.array([0, 1, 1, 2, 2, 3, 3, 3, 2, 0])
    # F1: W 2/3, N1 2/3, N2 4/6, N3 4/5, REM 0; the unscored epoch does not count.
    assert macro_f1(true, predicted, tuple(Stage)) == pytest.approx((3 * 2 / 3 + 0.8) / 5)
    assert accuracy(true, predicted) == pytest.approx(6 / 9)
    # Chance: (2*1 + 1*2 + 3*3 + 2*3 + 1*0) / 81
    assert kappa(true, predicted) == pytest.approx((6 / 9 - 19 / 81) / (1 - 19 / 81))


def test_predicting_an_undeclared_stage_counts_as_a_miss() -> None:
    true, predicted = np.array([0, 0, 3, 3]), np.array([0, 2, 3, 3])
    assert macro_f1(true, predicted, [Stage.W, Stage.N3]) == pytest.approx((2 / 3 + 1) / 2)


def test_declared_stage_that_nobody_uses_lowers_the_mean() -> None:
    true = np.array([0, 3], dtype=np.int8)
    assert macro_f1(true, true, [Stage.W, Stage.N3]) == 1.0
    assert macro_f1(true, true, [Stage.W, Stage.N3, Stage.REM]) == pytest.approx(2 / 3)


NAN = math.nan


@pytest.mark.parametrize(
    ("true", "predicted", "f1", "macro"),
    [
        # Without REM: nothing is said of it, and three of four right stages are not four of five.
        ([0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1, NAN], 1.0),
        # REM is predicted but never true: 0, which counts. W: 2 * 1 / (2 * 1 + 1).
        ([0, 0, 2], [0, 4, 2], [2 / 3, NAN, 1, NAN, 0], (2 / 3 + 1 + 0) / 3),
        # N1 is true but never predicted: 0, which counts.
        ([0, 1], [0, 0], [2 / 3, 0, NAN, NAN, NAN], 1 / 3),
        # One epoch, right and wrong.
        ([3], [3], [NAN, NAN, NAN, 1, NAN], 1.0),
        ([3], [2], [NAN, NAN, 0, 0, NAN], 0.0),
    ],
)
def test_a_stage_that_nobody_uses_says_nothing_of_one_subject(
    true: list[int], predicted: list[int], f1: list[float], macro: float
) -> None:
    found = np.array(true), np.array(predicted)
    np.testing.assert_allclose(stage_f1(*found), f1)
    assert macro_f1_of_used(*found) == pytest.approx(macro)
    assert macro_f1_of_used(*found) == pytest.approx(oracle.f1_score(*found, average="macro"))


def test_kappa_of_one_stage_throughout_is_undefined() -> None:
    rem = np.full(7, int(Stage.REM))
    assert kappa(rem, rem) == 0
    assert math.isnan(kappa(rem, rem, undefined=math.nan))
    # Always another answer is defined: no agreement, and none by chance.
    assert kappa(rem, rem - 1, undefined=math.nan) == 0


def test_empty_night_is_refused() -> None:
    empty = np.array([], dtype=np.int64)
    for metric in (macro_f1, macro_f1_of_used, stage_f1, accuracy, kappa):
        with pytest.raises(TrainableError, match="none of 0 epochs"):
            metric(empty, empty, tuple(Stage))
    assert confusion_matrix(empty, empty).sum() == 0


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([0, 1], [0], r"shape \(2,\) and predicted ones \(1,\)"),
        ([0, 5], [0, 1], "true stages hold 5; allowed: 0 to 4"),
        ([0, 1], [0, -1], "predicted stages hold -1; allowed: 0 to 4"),
        ([0, 1], [0.0, 1.0], "predicted stages are float64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    true: list[int], predicted: list[float], message: str
) -> None:
    with pytest.raises(EpochsError, match=message):
        confusion_matrix(np.array(true), np.array(predicted))
