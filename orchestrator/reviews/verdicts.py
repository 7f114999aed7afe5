"""What a difference in macro-F1 is called, and how two lists go together. Pure."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from scipy.stats import spearmanr

NO_DIFFERENCE = 0.01
"""Macro-F1 differences smaller than this are called none. A convention of the page, not a test."""


class Verdict(StrEnum):
    """What the chosen configuration did, compared with a control."""

    HELPED = "helped"
    NO_DIFFERENCE = "no difference"
    HURT = "hurt"
    UNCLEAR = "unclear"
    """As large as a difference, but not to be told from chance; only where subjects or seeds are compared."""


def verdict_of(difference: float) -> Verdict:
    """Word for a difference in macro-F1, chosen trial minus control.

    >>> verdict_of(0.03), verdict_of(-0.03), verdict_of(0.003)
    (<Verdict.HELPED: 'helped'>, <Verdict.HURT: 'hurt'>, <Verdict.NO_DIFFERENCE: 'no difference'>)
    """
    if abs(difference) < NO_DIFFERENCE:
        return Verdict.NO_DIFFERENCE
    return Verdict.HELPED if difference > 0 else Verdict.HURT


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman rank correlation; None with fewer than three pairs or when a side is constant.

    >>> rank_correlation([1, 2, 3], [30, 20, 10])
    -1.0
    """
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    # Infinite values have a rank like any other; NaN cannot occur (stored.py makes it None).
    return float(np.round(spearmanr(x, y).statistic, 12))
