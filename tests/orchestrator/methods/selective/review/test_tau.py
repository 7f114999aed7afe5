from typing import Any

from orchestrator.methods.selective.review.tau import (
    CURVE_COLUMNS,
    arm_rows,
    curve_rows,
    enqueued_rows,
    sampled_rows,
)


def test_columns_are_those_that_other_code_relies_on() -> None:
    assert ",".join(CURVE_COLUMNS) == (
        "trial,kind,enqueued,tau_quantile,tau_absolute,learning_rate,n_kept,kept_fraction,"
        "n_steps,objective,target_macro_f1"
    )


def test_points_then_cloud_then_arms_each_in_order_of_tau(made: Any) -> None:
    rows = curve_rows(
        [
            made.arm("random"),
            made.trial("t003", tau_quantile=0.1, enqueued=False),
            made.trial("t001", tau_quantile=0.9),
            made.arm("no_adapt"),
            made.trial("t000", tau_quantile=0.0),
        ]
    )
    assert [row.trial for row in rows] == ["t000", "t001", "t003", "arm-no_adapt", "arm-random"]
    assert [row.trial for row in enqueued_rows(rows)] == ["t000", "t001"]
    assert [row.trial for row in sampled_rows(rows)] == ["t003"]
    assert [row.trial for row in arm_rows(rows)] == ["arm-no_adapt", "arm-random"]


def test_points_with_the_same_tau_are_all_kept(made: Any) -> None:
    rows = curve_rows([made.trial("t005"), made.trial("t002"), made.trial("t003")])
    assert [row.trial for row in rows] == ["t002", "t003", "t005"]


def test_failed_trials_are_left_out_and_undefined_metrics_are_not(made: Any) -> None:
    rows = curve_rows(
        [made.trial("t000", state="failed"), made.trial("t001", target_macro_f1=None)]
    )
    assert [(row.trial, row.target_macro_f1) for row in rows] == [("t001", None)]


def test_kept_fraction_is_of_the_selectable_batches(made: Any) -> None:
    (some, none) = curve_rows(
        [made.trial("t000", n_kept=5, n_selectable=20), made.arm("no_adapt", n_selectable=0)]
    )
    assert (some.kept_fraction, none.kept_fraction) == (0.25, None)
