"""Ranges that a hyper-parameter may be drawn from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included, all equally likely."""

    low: int
    """Smallest value."""

    high: int
    """Largest value; above ``low``."""

    def __post_init__(self) -> None:
        _check_limits(self.low, self.high)
        if int(self.low) != self.low or int(self.high) != self.high:
            raise SettingsError(
                f"low is {self.low} and high is {self.high}; allowed: whole numbers."
            )

    def contains(self, value: float) -> bool:
        """Tell whether a value is one of the numbers."""
        return self.low <= value <= self.high and value == int(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, none nearer to another."""

    options: tuple[str, ...]
    """At least two, each once."""

    def __post_init__(self) -> None:
        if len(set(self.options)) < max(2, len(self.options)):
            raise SettingsError(f"options are {self.options}; allowed: at least two, each once.")

    def contains(self, value: object) -> bool:
        """Tell whether a value is one of the options."""
        return value in self.options


Declared = Uniform | LogUniform | Integer | Choice
"""What a parameter may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One thing that a sweep may vary: everything that is known of it apart from the setting itself.

    The keys of a sweep file, their reference and checks, the columns of the tables, and the words of the page come
    from here.
    """

    declared: Declared
    """Its range, or its options."""
    what: str
    """What it is, for the reference of sweep files: a sentence."""
    section: str = ""
    """Section of a sweep file that holds its own value under the same name; empty: there is none."""
    title: str = ""
    """Word for it on a page, where its own name is not the word."""
    matters_if: str = ""
    """What a row of the final table must have, or the parameter does nothing there; empty: it always matters."""
    note: str = ""
    """Sentences on its options for the page."""
    format: str = ""
    """On the command line. Empty: no column, except for a choice that the search varies."""


def as_data(declared: Declared) -> dict[str, Any]:
    """Return the options of a choice, or the limits and the scale of a range, as a manifest has them."""
    if isinstance(declared, Choice):
        return {"options": list(declared.options)}
    return {
        "low": declared.low,
        "high": declared.high,
        "log": isinstance(declared, LogUniform),
    }


def shown_columns(parameters: Mapping[str, Parameter]) -> list[tuple[str, str, str]]:
    """Return title, name and format of the parameters with a column on the command line."""
    return [(p.title or name, name, p.format) for name, p in parameters.items() if p.format]


def titles_of(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Return the words for parameters whose own name is not the word."""
    return {name: parameter.title for name, parameter in parameters.items() if parameter.title}


Space = Mapping[str, Declared]
"""What is searched, by name."""

Params = Mapping[str, Any]
"""Values of parameters by name: a number, or the text of a choice; which, their space says."""


def _check_limits(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"low is {low} and high is {high}; allowed: finite, low below high.")
