"""Ranges that the search of a sweep file gives to its parameters, each inside the one that is declared for it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from orchestrator.config.sweep_sections import rising
from orchestrator.config.validation import Section


class UniformRange(Section):
    """Range of a parameter, drawn uniformly."""

    uniform: Annotated[tuple[float, float], AfterValidator(rising), Field(examples=[[0, 0.5]])]
    """``[low, high]`` inside the declared range."""


class LogUniformRange(Section):
    """Range of a parameter, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[float, float], AfterValidator(rising), Field(examples=[[1e-3, 1e-2]])
    ]
    """``[low, high]`` inside the declared range."""


class IntegerRange(Section):
    """Range of a whole number, drawn uniformly."""

    integer: Annotated[tuple[int, int], AfterValidator(rising), Field(examples=[[32, 128]])]
    """``[low, high]`` inside the declared range, both whole numbers."""
