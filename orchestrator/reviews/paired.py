"""Differences between two configurations on the same subjects: interval and test. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

FEW_PAIRS = 6
"""Below this many pairs a two-sided Wilcoxon test cannot reach 0.05, and a bootstrap has too few values to draw
from: neither is given."""

N_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Mean of paired differences, with what is known about its chance."""

    n: int
    """Pairs, one for each subject."""
    mean: float
    low: float | None
    """95 % bootstrap interval of the mean over subjects; None below ``FEW_PAIRS``."""
    high: float | None
    p_value: float | None
    """Two-sided Wilcoxon signed-rank test, not corrected for other comparisons; None below ``FEW_PAIRS``."""

    def agrees(self, difference: float) -> bool:
        """Whether the interval leaves out zero on the side of `difference`, and the test reaches 0.05."""
        if self.low is None or self.high is None or self.p_value is None or self.p_value >= 0.05:
            return False
        return self.low > 0 if difference > 0 else self.high < 0


def paired(differences: Sequence[float]) -> Paired | None:
    """Summarise one difference for each subject; None without any.

    Notes
    -----
    Percentile bootstrap (Efron, Annals of Statistics 7(1), 1979) with a fixed seed. The test leaves out pairs without
    difference (Wilcoxon, Biometrics Bulletin 1(6), 1945); if that is all of them, p is 1.

    Examples
    --------
    >>> paired([0.25] * 6)
    Paired(n=6, mean=0.25, low=0.25, high=0.25, p_value=0.03125)
    """
    if not differences:
        return None
    # Differences of equal numbers must be ties, whatever their last digit says.
    d = np.round(np.asarray(differences, np.float64), 12)
    low = high = p_value = None
    if len(d) >= FEW_PAIRS:
        draws = np.random.default_rng(0).integers(0, len(d), (N_DRAWS, len(d)))
        low, high = (float(q) for q in np.percentile(d[draws].mean(axis=1), [2.5, 97.5]))
        p_value = _wilcoxon(d[d != 0])
    return Paired(n=len(d), mean=float(d.mean()), low=low, high=high, p_value=p_value)


def _wilcoxon(nonzero: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    if not nonzero.size:
        return 1.0
    return float(wilcoxon(nonzero).pvalue)
