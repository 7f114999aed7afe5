"""Ranges that the search of a sweep file gives to its parameters, each inside the one that is declared for it."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, create_model
from pydantic_core import PydanticCustomError

from orchestrator.config.sweep_sections import rising
from orchestrator.config.validation import Section, wrong_key
from search_spaces.space import Choice, Declared, Integer, LogUniform, Parameter, Params, Uniform
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

    def declared(self) -> Uniform:
        """Return it in the terms of ``search_spaces``."""
        return Uniform(*self.uniform)


class LogUniformRange(Range):
    """Range of a parameter, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[Positive, Positive], AfterValidator(rising), Field(examples=[[1e-3, 1e-2]])
    ]
    """``[low, high]`` inside the declared range."""

    def declared(self) -> LogUniform:
        """Return it in the terms of ``search_spaces``."""
        return LogUniform(*self.log_uniform)


class IntegerRange(Range):
    """Range of a whole number, drawn uniformly."""

    integer: Annotated[tuple[int, int], AfterValidator(rising), Field(examples=[[32, 128]])]
    """``[low, high]`` inside the declared range, both whole numbers."""

    def declared(self) -> Integer:
        """Return it in the terms of ``search_spaces``."""
        return Integer(*self.integer)


OptionT = TypeVar("OptionT", bound=str)


def _several(value: tuple[OptionT, ...]) -> tuple[OptionT, ...]:
    if len(set(value)) < max(2, len(value)):
        raise PydanticCustomError("options", "must name at least two options, each once")
    return value


class ChoiceRange(Section, Generic[OptionT]):
    """Options of a parameter, all equally likely to be drawn."""

    choice: Annotated[
        tuple[OptionT, ...],
        AfterValidator(_several),
        Field(json_schema_extra={"minItems": 2, "uniqueItems": True}),
    ]
    """At least two of the declared options, each once."""

    def declared(self) -> Choice:
        """Return it in the terms of ``search_spaces``."""
        return Choice(self.choice)


_RANGES: Mapping[type, type[Section]] = {
    Uniform: UniformRange,
    LogUniform: LogUniformRange,
    Integer: IntegerRange,
}

SectionT = TypeVar("SectionT", bound=BaseModel)


def varied(
    parameters: Mapping[str, Parameter], **own: tuple[Any, Any]
) -> Callable[[type[SectionT]], type[SectionT]]:
    """Give the class of a ``space`` a key for each parameter: a range of its kind, or nothing.

    Parameters
    ----------
    parameters : mapping
        In the order of the keys.
    own : (type, Field)
        For parameters whose range is written differently.
    """

    def field_of(name: str, parameter: Parameter, module: str) -> tuple[Any, Any]:
        section = _section_of(name, parameter.declared, module)
        return section | None, Field(default=None, description=parameter.what)

    def decorate(cls: type[SectionT]) -> type[SectionT]:
        fields = {
            name: own.get(name) or field_of(name, parameter, cls.__module__)
            for name, parameter in parameters.items()
        }
        return _with_fields(cls, fields)

    return decorate


def valued(
    parameters: Mapping[str, Parameter],
    examples: Mapping[str, Any],
    descriptions: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[type[SectionT]], type[SectionT]]:
    """Give the class of a first trial a key for each parameter: one of its values, or nothing.

    Parameters
    ----------
    parameters : mapping
        In the order of the keys.
    examples : mapping
        Values for the reference; a parameter without one is shown with the first of its range.
    descriptions : mapping
        For the reference, where there is more to say than whose values these are.
    """

    def decorate(cls: type[SectionT]) -> type[SectionT]:
        fields = {
            name: (
                _value_of(parameter.declared) | None,
                Field(
                    default=None,
                    examples=[examples.get(name, _any_of(parameter.declared))],
                    description=descriptions.get(name, f"Of ``space.{name}``."),
                ),
            )
            for name, parameter in parameters.items()
        }
        return _with_fields(cls, fields)

    return decorate


def _with_fields(cls: type[SectionT], fields: Mapping[str, tuple[Any, Any]]) -> type[SectionT]:
    more: dict[str, Any] = dict(fields)
    return create_model(
        cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **more
    )


def _section_of(name: str, declared: Declared, module: str) -> Any:
    """Return the class of a range; one of options is made, and put into a module, so that it can be pickled."""
    if not isinstance(declared, Choice):
        return _RANGES[type(declared)]
    base: Any = ChoiceRange
    made = create_model(
        f"{name.title().replace('_', '')}Range",
        __base__=base[_value_of(declared)],
        __module__=module,
        __doc__=f"Options of ``{name}``, all equally likely to be drawn.",
    )
    setattr(sys.modules[module], made.__name__, made)
    return made


def _any_of(declared: Declared) -> Any:
    return declared.options[0] if isinstance(declared, Choice) else declared.low


def _value_of(declared: Declared) -> Any:
    match declared:
        case Choice():
            return Literal[declared.options]
        case Integer():
            return int
        case _:
            return float


def written(declared: Declared) -> dict[str, Any]:
    """Return a range as a sweep file has it.

    >>> written(LogUniform(0.001, 1))
    {'log_uniform': (0.001, 1)}
    """
    match declared:
        case Choice(options):
            return {"choice": options}
        case Uniform(low, high):
            return {"uniform": (low, high)}
        case LogUniform(low, high):
            return {"log_uniform": (low, high)}
        case Integer(low, high):
            return {"integer": (low, high)}


def declared_in(space: BaseModel, names: Iterable[str]) -> dict[str, Declared]:
    """Return the parameters that a ``space`` varies in the terms of ``search_spaces``, by name."""
    chosen = {name: section for name in names if (section := getattr(space, name)) is not None}
    found = {name: section.declared() for name, section in chosen.items()}
    return {name: declared for name, declared in found.items() if declared is not None}


def check_inside(
    section: BaseModel,
    space: Mapping[str, Declared],
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


def beyond(declared: Declared, module: str) -> str:
    """Return what to say of a value outside a range that `module` declares."""
    problem = f"must lie in {in_file(declared)}, the range of {module}"
    if isinstance(declared, Choice):
        return problem
    return f"{problem}; a range with 'extend: true' may go beyond it"


def check_first_trials(
    trials: Sequence[Params],
    space: Mapping[str, Declared],
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


def check_enqueued(index: int, trial: Params, space: Mapping[str, Declared]) -> None:
    """Refuse an enqueued trial with a value that the search does not vary, or that lies outside its range.

    Parameters
    ----------
    index : int
        Of the trial in ``enqueue``.
    trial : mapping
        The values that are given.
    space : mapping
        What the search varies.
    """
    for name, value in trial.items():
        if name not in space:
            problem = f"is not varied by this search; it varies {', '.join(space)}"
        elif not space[name].contains(value):
            problem = f"lies outside space.{name} {in_file(space[name])}"
        else:
            continue
        raise wrong_key("enqueue", problem, index, name)


def in_file(declared: Declared) -> str:
    """Return limits or options as a sweep file has them.

    >>> in_file(Uniform(0, 0.5)), in_file(Choice(("constant", "dann")))
    ('[0, 0.5]', '[constant, dann]')
    """
    if isinstance(declared, Choice):
        return f"[{', '.join(declared.options)}]"
    return f"[{declared.low:g}, {declared.high:g}]"
