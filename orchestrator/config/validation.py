"""YAML data through a pydantic model: whatever is wrong becomes one ``ConfigError`` with a line per mistake.

Each line says file:line:column, the key, the value and what is allowed.
"""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.config.suggest import did_you_mean
from orchestrator.config.yaml_source import KeyPath, Position, YamlSource, load, shown
from orchestrator.errors import ConfigError

ModelT = TypeVar("ModelT", bound=BaseModel)


class Section(BaseModel):
    """Base of every mapping in our YAML files: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def not_allowed(given: object, allowed: Iterable[str]) -> PydanticCustomError:
    """Error for a validator: the value is none of ``allowed``."""
    return PydanticCustomError(
        "not_allowed", "{problem}", {"problem": _not_allowed(given, list(allowed))}
    )


def one_of(allowed: Sequence[str]) -> Callable[[Any], Any]:
    """Make a validator that accepts only the names in ``allowed``."""

    def check(value: Any) -> Any:
        if value not in allowed:
            raise not_allowed(value, allowed)
        return value

    return check


def _not_allowed(given: object, allowed: Sequence[str]) -> str:
    hint = did_you_mean(given, allowed) if isinstance(given, str) else ""
    return f"not allowed.{hint} Allowed: {', '.join(allowed)}"


def _unknown_key(name: str, section: str, allowed: Sequence[str]) -> str:
    return (
        f"unknown key '{name}' in {section}.{did_you_mean(name, allowed)}"
        f" Allowed: {', '.join(allowed)}."
    )


def wrong_key(key: str, problem: str, *deeper: str | int) -> PydanticCustomError:
    """Error for a validator of a whole section, shown at one of its keys (or deeper in it)."""
    return PydanticCustomError("wrong_key", "{problem}", {"problem": problem, "at": (key, *deeper)})


def validate(model_class: type[ModelT], path: str | Path) -> ModelT:
    """Read a YAML file into a model, or report every mistake in it at once.

    Parameters
    ----------
    model_class : type of BaseModel
        Frozen, with ``extra="forbid"``; or a ``RootModel`` of a union of such models.
    path : str or Path
        The YAML file.

    Returns
    -------
    ModelT
        Types are strict as in JSON: ``"12"`` and ``true`` are no numbers; lists become tuples.

    Raises
    ------
    ConfigError
        One line per mistake, in the order of the file:
        ``x.yaml:12:5: unknown key 'n_trails' in search. Did you mean 'n_trials'? Allowed: ...``.
    """
    return validated(model_class, load(path))


def validated(model_class: type[ModelT], source: YamlSource) -> ModelT:
    """Return the model of a file that is read already; see :func:`validate`."""
    model, mistakes = check(model_class, source)
    if model is None:
        raise as_error(source, mistakes)
    return model


Mistake = tuple[Position, str]
"""Where in a file, and a sentence on what is wrong."""


def check(
    model_class: type[ModelT], source: YamlSource
) -> tuple[ModelT, set[Mistake]] | tuple[None, set[Mistake]]:
    """Make a model of a file's data; or return None, and every mistake."""
    try:
        return model_class.model_validate_json(json.dumps(source.data), strict=True), set()
    except ValidationError as error:
        return None, {
            _explain(model_class, source, detail)
            for detail in error.errors()
            if not _follows_from_another(detail)
        }


def as_error(source: YamlSource, mistakes: Iterable[Mistake]) -> ConfigError:
    """Return the error of a file with these mistakes, a line each, in the order of the file."""
    lines = (f"{source.place(at)}: {what}" for at, what in sorted(set(mistakes)))
    return ConfigError("\n".join(lines))


def _follows_from_another(detail: ErrorDetails) -> bool:
    """Tell whether pydantic reports a mistake only because it reports another one, too."""
    # A list counts as too short when its items are wrong; a default is missing when what it is made of is.
    return detail["type"] == "default_factory_not_called" or (
        detail["type"] == "too_short" and len(detail["input"]) > 0
    )


def _explain(
    model_class: type[BaseModel], source: YamlSource, detail: ErrorDetails
) -> tuple[Position, str]:
    """Place and wording of one pydantic error."""
    path, keys = _follow(model_class, detail["loc"])
    context = detail.get("ctx", {})
    name = path[-1] if path else ""
    section = _name(path[:-1])
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return source.position(path, of_key=True), _unknown_key(str(name), section, keys)
        case "literal_error" if detail["loc"][-1] == "[key]":
            allowed = _quoted(str(context["expected"]))
            return source.position(path, of_key=True), _unknown_key(str(name), section, allowed)
        case kind if detail["loc"] and detail["loc"][-1] == "[key]":
            problem = _problem(kind, detail)
            return source.position(path, of_key=True), f"the key '{name}' of {section} {problem}."
        case "missing" if isinstance(name, int):
            path, problem = path[:-1], f"has too few items; item {name + 1} is missing"
        case "missing":
            return source.position(path[:-1], of_key=True), f"missing key '{name}' in {section}."
        case "union_tag_not_found":
            (key,) = _quoted(str(context["discriminator"]))[-1:]
            if meant := difflib.get_close_matches(key, detail["input"], n=1):
                return source.position((*path, *meant), of_key=True), _unknown_key(
                    meant[0], _name(path), [key]
                )
            return source.position(path, of_key=True), f"missing key '{key}' in {_name(path)}."
        case "union_tag_invalid":
            path = (*path, *_quoted(str(context["discriminator"]))[-1:])
            problem = _not_allowed(context["tag"], _quoted(str(context["expected_tags"])))
        case "literal_error":
            problem = _not_allowed(detail["input"], _quoted(str(context["expected"])))
        case "wrong_key":
            path = (*path, *context["at"])
            problem = context["problem"]
        case "value_error":
            problem = str(context["error"])
            # A dataclass of settings checks itself and begins its message with the field.
            named = re.match(r"(\w+) is .+?; ", problem)
            if named and named[1] in keys:
                path = (*path, named[1])
                problem = problem[named.end() :]
        case kind:
            problem = _problem(kind, detail)
    given = _value_at(source.data, path)
    value = "" if given is _ABSENT else f" is {shown(given)}"
    end = "" if problem.endswith("?") else "."
    return source.position(path), f"{_name(path)}{value}: {problem.rstrip('.')}{end}"


def _problem(kind: str, detail: ErrorDetails) -> str:
    """Our words for a kind of pydantic error, or else pydantic's."""
    problem = _PROBLEMS.get(kind) or re.sub(r"^\w+ should", "must", detail["msg"])
    if kind == "string_type" and isinstance(detail["input"], int | float):
        problem += "; put it in quotes"
    if kind == "tuple_type" and isinstance(detail["input"], str):
        problem += f", as in [{detail['input']}]"
    return problem.replace(" after validation", "")


_ABSENT = object()

_PROBLEMS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "model_type": "must be a mapping with 'key: value' entries",
    "dataclass_type": "must be a mapping with 'key: value' entries",
    "dict_type": "must be a mapping with 'key: value' entries",
    "model_attributes_type": "must be a mapping with 'key: value' entries",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
}


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _name(path: KeyPath) -> str:
    """Write a key path as a person would: ``recordings[0].stages.file``."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return name.removeprefix(".") or "this file"


def _value_at(data: Any, path: KeyPath) -> Any:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return data


# --- from pydantic's locations to paths in the file ----------------------------------------------


def _follow(model_class: type, loc: Sequence[int | str]) -> tuple[KeyPath, list[str]]:
    """Translate a pydantic location to a key path; list the keys of the innermost section in it.

    Tags of unions and the mark ``[key]`` are in the location but not in the file.
    """
    path: list[str | int] = []
    at: Any = model_class
    keys = list(_fields(at))
    for step in loc:
        if step == "[key]":
            continue
        if len(members := _members(at)) > 1:
            at = next(member for member in members if step in _tags(member))
        else:
            path.append(step)
            at = _inside(at, step)
        keys = list(_fields(at)) or keys
    return tuple(path), keys


def _members(annotation: Any) -> list[Any]:
    """Alternatives of a union without ``None``; a type that is no union is its only alternative."""
    if typing.get_origin(annotation) is Annotated:
        return _members(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return _members(annotation.model_fields["root"].annotation)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return [arg for arg in typing.get_args(annotation) if arg is not types.NoneType]
    return [annotation]


def _inside(annotation: Any, step: int | str) -> Any:
    """Type of the value under one key or index; ``None`` where the type does not say."""
    (annotation,) = _members(annotation)
    if fields := _fields(annotation):
        return fields.get(str(step))
    arguments = typing.get_args(annotation)
    return arguments[0 if isinstance(step, int) else -1] if arguments else None


def _fields(annotation: Any) -> dict[str, Any]:
    """Keys a section may have, as the file spells them, with their types; else nothing."""
    if len(members := _members(annotation)) != 1 or not isinstance(members[0], type):
        return {}
    if issubclass(members[0], BaseModel):
        fields: Mapping[str, FieldInfo] = members[0].model_fields
        return {field.alias or name: field.annotation for name, field in fields.items()}
    if dataclasses.is_dataclass(members[0]):
        return typing.get_type_hints(members[0])
    return {}


def _tags(annotation: Any) -> Iterator[object]:
    """Literals by which a union tells this section from its siblings."""
    for field in _fields(annotation).values():
        if typing.get_origin(field) is typing.Literal:
            yield from typing.get_args(field)
