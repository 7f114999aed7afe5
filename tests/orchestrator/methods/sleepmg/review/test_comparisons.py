import math
from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.comparisons import compare, judge, ranking, subject_scores
from orchestrator.reviews.paired import paired
from orchestrator.reviews.verdicts import Verdict


def test_subject_scores_average_recordings_and_seeds(made: Any) -> None:
    entry = made.entry(made.row_row(seed=1), made.row_row(seed=2))
    recordings = [
        made.recording("row-naivemg-seed1", "s1", recording="n1", macro_f1=0.5),
        made.recording("row-naivemg-seed1", "s1", recording="n2", macro_f1=0.7),
        made.recording("row-naivemg-seed2", "s1", recording="n1", macro_f1=0.6),
        made.recording("row-naivemg-seed2", "s1", recording="n2", macro_f1=1.0),
        made.recording("row-naivemg-seed1", "s2", macro_f1=None),
        made.recording("t000", "s1", macro_f1=0.0),
    ]
    assert subject_scores(entry, recordings) == {"s1": pytest.approx(0.7)}


def test_comparison_by_hand(made: Any) -> None:
    chosen = made.entry(made.trial_row(test_macro_f1=0.65))
    row = made.entry(
        made.row_row(seed=1, test_macro_f1=0.58), made.row_row(seed=2, test_macro_f1=0.62)
    )
    subjects = [f"s{i}" for i in range(6)]
    recordings = [
        *(made.recording("t000", s, macro_f1=0.6 + 0.01 * i) for i, s in enumerate(subjects)),
        *(made.recording("row-naivemg-seed1", s, macro_f1=0.50) for s in subjects),
        *(made.recording("row-naivemg-seed2", s, macro_f1=0.54) for s in subjects),
        made.recording("t000", "only here", macro_f1=0.0),
    ]
    found = compare(chosen, row, recordings)
    assert found.difference == pytest.approx(0.05)
    assert found.seed_sd == pytest.approx(
        0.04 / math.sqrt(2)
    )  # of the row, the chosen has one seed
    assert found.over_subjects is not None
    assert found.over_subjects.n == 6
    assert found.over_subjects.mean == pytest.approx(0.105)  # 0.08, 0.09 ... 0.13
    assert found.over_subjects.p_value == pytest.approx(2 / 64)
    assert found.verdict is Verdict.HELPED
    assert compare(row, chosen, recordings).verdict is Verdict.HURT


def test_same_seeds_are_compared_seed_by_seed(made: Any) -> None:
    one = made.entry(
        made.row_row("A", 1, test_macro_f1=0.50), made.row_row("A", 2, test_macro_f1=0.60)
    )
    other = made.entry(
        made.row_row("B", 1, test_macro_f1=0.52), made.row_row("B", 2, test_macro_f1=0.63)
    )
    # Both move by 0.1 with the seed, but together: the differences are 0.02 and 0.03.
    assert compare(other, one, ()).seed_sd == pytest.approx(0.01 / math.sqrt(2))


def test_a_trial_of_several_seeds_brings_its_own_spread(made: Any) -> None:
    row = made.entry(made.row_row(seed=1, test_macro_f1=0.5))
    seeds = {"n_replicates": 5, "test_macro_f1": 0.6, "test_macro_f1_sd": 0.2}
    assert compare(made.entry(made.trial_row(**seeds)), row, ()).seed_sd == 0.2
    assert compare(made.entry(made.trial_row(test_macro_f1=0.6)), row, ()).seed_sd is None


def test_failed_or_undefined_rows_have_no_verdict(made: Any) -> None:
    chosen = made.entry(made.trial_row())
    undefined = made.entry(made.row_row(test_macro_f1=None))
    found = compare(chosen, undefined, ())
    assert (found.difference, found.verdict, found.over_subjects) == (None, None, None)


@pytest.mark.parametrize(
    ("difference", "seed_sd", "over_subjects", "verdict"),
    [
        (0.05, 0.01, [0.05, 0.04, 0.06, 0.05, 0.03, 0.07], Verdict.HELPED),
        (-0.05, None, [-0.05, -0.04, -0.06, -0.05, -0.03, -0.07], Verdict.HURT),
        (0.05, 0.06, [0.05, 0.04, 0.06, 0.05, 0.03, 0.07], Verdict.UNCLEAR),
        (0.05, 0.01, [0.05, 0.04, 0.06, -0.05, -0.03, 0.07], Verdict.UNCLEAR),
        (0.05, 0.01, [-0.05, -0.04, -0.06, -0.05, -0.03, -0.07], Verdict.UNCLEAR),
        (0.05, 0.01, [0.05, 0.04, 0.06, 0.05, 0.03], Verdict.UNCLEAR),
        (0.009, 0.01, [0.05, 0.04, 0.06, 0.05, 0.03, 0.07], Verdict.NO_DIFFERENCE),
    ],
    ids=["clear", "clear harm", "seeds", "subjects", "other side", "few subjects", "small"],
)
def test_verdicts_need_subjects_and_seeds(
    difference: float, seed_sd: float | None, over_subjects: list[float], verdict: Verdict
) -> None:
    assert judge(difference, seed_sd, paired(over_subjects)) is verdict


def test_ranking_is_by_the_mean_over_seeds(made: Any) -> None:
    entries = [
        made.entry(
            made.row_row("A", 1, test_macro_f1=0.9), made.row_row("A", 2, test_macro_f1=0.1)
        ),
        made.entry(made.row_row("B", 1, test_macro_f1=0.6)),
        made.entry(made.row_row("C", 1, test_macro_f1=None)),
    ]
    assert [entry.name for entry in ranking(entries)] == ["B", "A"]
