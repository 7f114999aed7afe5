"""Mean and spread of the values that are known: a metric may be missing, and one value has no spread. Pure."""

import statistics
from collections.abc import Iterable


def mean(values: Iterable[float | None]) -> float | None:
    """Mean; None without a value.

    >>> mean([1.0, None, 2.0]), mean([None])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def sd(values: Iterable[float | None]) -> float | None:
    """Standard deviation (n - 1); None with fewer than two values.

    >>> sd([1.0, None, 3.0]), sd([1.0])
    (1.4142135623730951, None)
    """
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None
