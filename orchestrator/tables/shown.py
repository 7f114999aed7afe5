"""What a method shows of its trials besides what every method does: on the command line, in a status, as metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from orchestrator.config.methods import METHODS, room
from search_spaces.space import Parameter

Column = tuple[str, str, str]
"""Title, name in the final table, and format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What a trial trains on, where it chooses: fields that its method adds to the event ``trial_started``."""

    fields: Mapping[str, Mapping[str, Any]]
    """Name -> JSON Schema."""
    columns: Mapping[str, Callable[[Mapping[str, Any]], str]]
    """Title of a column of ``orchestrator status --watch`` -> what stands in it."""
    text: Callable[[Mapping[str, Any]], str]
    """The same in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """A number that a training tells of each part of its model while it runs, as Prometheus has it."""

    name: str
    labels: tuple[str, str]
    """Of the part, and of what the number belongs to, next to those of sweep and trial."""
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What one method shows of its trials."""

    parameters: Mapping[str, Parameter]
    """What its sweeps may vary."""
    outcomes: tuple[Column, ...]
    """What ``orchestrator sweep`` prints of the final table after the parameters."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Parameter -> column of the final table that has an earlier sweep's value of it, where that has another name."""
    units: tuple[str, ...] = ()
    """What a part of a trial may be, after which a scheduler may end it."""
    selection: Selection | None = None
    """None where a trial trains on all there is."""
    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    """By the first word of a number's key in the details of a pass, which is ``word_belonging/part``."""


@cache
def shown_by_method() -> Mapping[str, Shown]:
    """Return what each method shows, by its name."""
    return {method: room(method, "results").SHOWN for method in METHODS}


def kept_by(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an event ``trial_started`` tells of the trial's selection; None where its method selects nothing.

    Raises
    ------
    KeyError
        It lacks one of the fields.
    """
    for selection in _selections():
        if any(name in event for name in selection.fields):
            return {name: event[name] for name in selection.fields}
    return None


@cache
def selected_fields() -> Mapping[str, Mapping[str, Any]]:
    """Return the fields of all selections, each with its JSON Schema."""
    return {name: kind for one in _selections() for name, kind in one.fields.items()}


def selection_of(kept: Mapping[str, Any]) -> Selection:
    """Return the words for what `kept_by` returned."""
    return next(selection for selection in _selections() if selection.fields.keys() == kept.keys())


def gauge_of(key: str) -> tuple[Gauge, tuple[str, str]]:
    """Return the gauge of a number that a training tells under a key such as ``rho_y/eeg``, and its labels.

    Raises
    ------
    KeyError
        No method tells such a number.
    """
    word, _, part = key.partition("/")
    kind, _, belonging = word.partition("_")
    return gauges()[kind], (part, belonging)


@cache
def gauges() -> Mapping[str, Gauge]:
    """Return the gauges of all methods, by the first word of their keys."""
    return {kind: gauge for one in shown_by_method().values() for kind, gauge in one.gauges.items()}


@cache
def units() -> tuple[str, ...]:
    """Return what a part of a trial may be, sorted."""
    return tuple(sorted({unit for one in shown_by_method().values() for unit in one.units}))


def _selections() -> list[Selection]:
    return [one.selection for one in shown_by_method().values() if one.selection is not None]
