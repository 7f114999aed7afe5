from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.entries import chosen_trial, row_entries, trial_entries


def test_objective_chooses_and_neither_test_metrics_nor_rows_have_a_say(made: Any) -> None:
    sweep = made.sweep(
        made.manifest_json(),
        {
            "trials": [
                made.trial_row("t003", objective=0.7, test_macro_f1=0.1),
                made.trial_row("t001", objective=0.7, test_macro_f1=0.2),
                made.trial_row("t000", objective=0.6, test_macro_f1=0.9),
                made.trial_row("t004", objective=None),
                made.failed(made.trial_row("t005")) | {"objective": 0.95},
                made.row_row(objective=0.99),
            ]
        },
    )
    chosen = chosen_trial(sweep.trials)
    assert chosen is not None
    assert chosen.trial == "t001"
    assert chosen_trial(sweep.trials[3:]) is None
    assert [entry.name for entry in trial_entries(sweep)] == ["t003", "t001", "t000", "t004"]


def test_rows_come_in_the_order_of_the_file_with_their_finished_seeds(made: Any) -> None:
    manifest = made.ablation_json(rows=[{"name": n, "ours": None} for n in ("B", "A", "C")])
    rows = row_entries(
        made.sweep(
            manifest,
            {
                "trials": [
                    made.row_row("A", 2, test_macro_f1=0.5),
                    made.row_row("A", 1, test_macro_f1=0.6),
                    made.row_row("B", 1, test_macro_f1=None),
                    made.failed(made.row_row("B", 2)),
                    made.failed(made.row_row("C", 1)),
                ]
            },
        )
    )
    assert [(row.name, len(row.runs), row.n_planned) for row in rows] == [
        ("B", 1, 2),
        ("A", 2, 2),
        ("C", 0, 1),
    ]
    assert [run.seed for run in rows[1].runs] == [1, 2]
    assert rows[1].mean("test_macro_f1") == pytest.approx(0.55)
    assert rows[1].sd("test_macro_f1") == pytest.approx(0.0707107)  # |0.6 - 0.5| / sqrt 2
    assert (rows[0].mean("test_macro_f1"), rows[0].sd("test_macro_f1")) == (None, None)
    assert rows[2].mean("objective") is None
