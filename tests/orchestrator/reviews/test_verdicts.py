import math

import pytest
from scipy.stats import spearmanr

from orchestrator.reviews.verdicts import Verdict, rank_correlation, verdict_of


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.02, Verdict.HELPED),
        (0.009, Verdict.NO_DIFFERENCE),
        (0.0, Verdict.NO_DIFFERENCE),
        (-0.009, Verdict.NO_DIFFERENCE),
        (-0.02, Verdict.HURT),
    ],
)
def test_verdict_words(difference: float, verdict: Verdict) -> None:
    assert verdict_of(difference) is verdict


def test_rank_correlation_equals_scipy_and_survives_constants() -> None:
    x, y = [3.0, 1.0, 2.0, 2.0, 9.0], [1.0, 4.0, 4.0, 0.5, 2.0]
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    # By hand: ranks 1 2 3 4 against 2 1 4 3, sum of squares 4, 1 - 6 * 4 / (4 * 15) = 0.6.
    assert rank_correlation([1, 2, 3, 4], [20, 10, 40, 30]) == pytest.approx(0.6)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [1, 2, math.inf]) == 1
