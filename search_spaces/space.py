"""Ranges that a hyper-parameter may be drawn from."""

import math
from dataclasses import dataclass

from trainables.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Uniform:
    """Real numbers from ``low`` to ``high``, both included, all equally likely."""

    low: float
    """Smallest value."""

    high: float
    """Largest value; above ``low``."""

    def __post_init__(self) -> None:
        _check_limits(self.low, self.high)

    def contains(self, value: float) -> bool:
        """Tell whether a value lies in the range; NaN does not."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Positive numbers from ``low`` to ``high``, both included, their logarithms equally likely."""

    low: float
    """Smallest value; above 0."""

    high: float
    """Largest value; above ``low``."""

    def __post_init__(self) -> None:
        _check_limits(self.low, self.high)
        if self.low <= 0:
            raise SettingsError(f"low is {self.low}; allowed on a logarithmic scale: above 0.")

    def contains(self, value: float) -> bool:
        """Tell whether a value lies in the range; NaN does not."""
        return self.low <= value <= self.high


def _check_limits(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"low is {low} and high is {high}; allowed: finite, low below high.")
