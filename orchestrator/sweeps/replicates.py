"""A trial that trains with several seeds: its metrics are means, its objective has an interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.sweeps.objective import Evaluation


def replicate_columns(objectives: Sequence[float]) -> dict[str, Any]:
    """Return number of seeds and the 95 % confidence interval of the mean objective over them, as columns.

    Parameters
    ----------
    objectives : sequence of float
        With each seed; empty where there is one.
    """
    low, high = interval(objectives) or (None, None)
    return {"n_replicates": max(1, len(objectives)), "objective_low": low, "objective_high": high}


def mean_evaluation(found: Sequence[Evaluation]) -> Evaluation:
    """Return the mean of metrics over the seeds of a trial."""
    return Evaluation(
        macro_f1=float(np.mean([one.macro_f1 for one in found])),
        accuracy=float(np.mean([one.accuracy for one in found])),
        kappa=float(np.mean([one.kappa for one in found])),
        n_epochs=found[0].n_epochs,
    )


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the confidence interval of a mean over seeds, by Student's t; None for fewer than two values.

    Examples
    --------
    >>> low, high = interval([0.70, 0.72, 0.74])
    >>> round(low, 3), round(high, 3)
    (0.67, 0.77)
    """
    if len(values) < 2:
        return None
    from scipy.stats import t as student  # here: half a second that other sweeps need not wait

    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    half = student.ppf((1 + level) / 2, len(values) - 1) * error
    return float(mean - half), float(mean + half)
