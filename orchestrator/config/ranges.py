"""Ranges that the search of a sweep file gives to its parameters, each inside the one that is declared for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from orchestrator.config.sweep_sections import rising
from orchestrator.config.validation import Section, wrong_key
from search_spaces.space import Choice, Integer, LogUniform, Params, Uniform
from trainables.errors import SettingsError

Positive = Annotated[float, Field(gt=0)]


class Range(Section):
    """Limits of a parameter, inside the declared ones unless the file says that it means others."""

    extend: bool = False
    """Limits outside the declared range are meant, and allowed as far as the parameter itself goes; otherwise they are
    taken for a slip."""


class UniformRange(Range):
    """Range of a parameter, drawn uniformly."""

    uniform: Annotated[tuple[float, float], AfterValidator(rising), Field(examples=[[0, 0.5]])]
    """``[low, high]`` inside the declared range."""


class LogUniformRange(Range):
    """Range of a parameter, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[Positive, Positive], AfterValidator(rising), Field(examples=[[1e-3, 1e-2]])
    ]
    """``[low, high]`` inside the declared range."""


class IntegerRange(Range):
    """Range of a whole number, drawn uniformly."""

    integer: Annotated[tuple[int, int], AfterValidator(rising), Field(examples=[[32, 128]])]
    """``[low, high]`` inside the declared range, both whole numbers."""


def check_inside(
    section: BaseModel,
    space: Mapping[str, Uniform | LogUniform | Integer | Choice],
    module: str,
    try_out: Callable[[str, Any], object],
) -> None:
    """Refuse a section that names no parameter, or one with values outside its declared range.

    One that extends the range may have all values that the parameter itself may have.

    Parameters
    ----------
    section : BaseModel
        A range, or nothing, for each parameter of `space`, under its name.
    space : mapping
        Declared ranges.
    module : str
        Which module declares them, for the message.
    try_out : callable
        Builds settings with one parameter set to a value; raises ``SettingsError`` for one that is not allowed.
    """
    if not section.model_fields_set:
        raise PydanticCustomError("no_parameter", "must name at least one parameter to vary")
    for name in [name for name in space if name in section.model_fields_set]:
        chosen = dict(getattr(section, name))
        extends = chosen.pop("extend", False)
        ((kind, values),) = chosen.items()
        for index, value in enumerate(values):
            if space[name].contains(value):
                continue
            if not extends:
                raise wrong_key(name, beyond(space[name], module), kind, index)
            try:
                try_out(name, value)
            except SettingsError as error:
                raise wrong_key(name, f"is impossible: {error}", kind, index) from error


def beyond(declared: Uniform | LogUniform | Integer | Choice, module: str) -> str:
    """Return what to say of a value outside a range that `module` declares."""
    problem = f"must lie in {in_file(declared)}, the range of {module}"
    if isinstance(declared, Choice):
        return problem
    return f"{problem}; a range with 'extend: true' may go beyond it"


def check_first_trials(
    trials: Sequence[Params],
    space: Mapping[str, Uniform | LogUniform | Integer | Choice],
    sections: Mapping[str, str],
) -> None:
    """Refuse enqueued trials that are equal, or whose own value of what they leave out lies outside the search.

    Parameters
    ----------
    trials : sequence of mapping
        With a value for every parameter of `space`.
    space : mapping
        What the search varies.
    sections : mapping
        Section of the file that holds a parameter's own value.
    """
    for index, trial in enumerate(trials):
        for name, value in trial.items():
            if not space[name].contains(value):  # left out: what is given lies inside
                problem = (
                    f"leaves {name} out, and its own value {value} in {sections[name]} lies outside "
                    f"space.{name} {in_file(space[name])}; give one inside"
                )
                raise wrong_key("search", problem, "enqueue", index)
        if trial in trials[:index]:
            raise wrong_key("search", "is given twice", "enqueue", index)


def in_file(declared: Uniform | LogUniform | Integer | Choice) -> str:
    """Return limits or options as a sweep file has them.

    >>> in_file(Uniform(0, 0.5)), in_file(Choice(("constant", "dann")))
    ('[0, 0.5]', '[constant, dann]')
    """
    if isinstance(declared, Choice):
        return f"[{', '.join(declared.options)}]"
    return f"[{declared.low:g}, {declared.high:g}]"
