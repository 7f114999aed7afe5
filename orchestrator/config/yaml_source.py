"""YAML files whose mistakes are reported at file:line:column.

``load`` reads a file into plain data and remembers where every key and value stood; ``validate``
puts that data through a pydantic model and turns whatever is wrong into one ``ConfigError`` with a
line per mistake.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``1e-4`` is a number, ``yes`` and
``2025-01-07`` are text, and a number with leading zeros (the subject ``018``) stays text. Mapping
keys are always text.
"""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a file to a value: ``("search", "enqueue", 2)``."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class Section(BaseModel):
    """Base of every mapping in our YAML files: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Position(NamedTuple):
    """A place in a text file, counted from 1 as editors do."""

    line: int
    column: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class YamlSource:
    """A YAML file as plain data, and where everything in it stood."""

    path: Path
    """The file, as the caller named it."""
    data: Any
    """Dicts with text keys, lists, str, int, float, bool and None."""
    values: Mapping[KeyPath, Position]
    """Where each value starts; ``()`` is the whole file."""
    keys: Mapping[KeyPath, Position]
    """Where the key of each mapping entry stands."""

    def position(self, path: KeyPath, *, of_key: bool = False) -> Position:
        """Place of a value (or of its key), or of the nearest enclosing value in the file."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path not in self.values:
            path = path[:-1]
        return self.values[path]


# --- reading -------------------------------------------------------------------------------------

_CORE_SCHEMA: Sequence[tuple[str, str, str]] = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes with the scalars of YAML 1.2; ``_Reader`` turns them into data."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


class _CoreDumper(yaml.SafeDumper):
    """Quotes exactly the text that ``_CoreLoader`` would not read back as text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012

    def ignore_aliases(self, data: object) -> bool:
        """Write repeated values out: a person reads this file."""
        return True


for _kind, _pattern, _first in _CORE_SCHEMA:
    for _class in (_CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}",
            re.compile(rf"^(?:{_pattern})$"),
            [*_first, ""] if _kind == "null" else list(_first),
        )


class _Reader:
    """Turns composed nodes into data and notes where each of them stood."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[KeyPath, Position] = {}
        self.keys: dict[KeyPath, Position] = {}
        self.open: list[yaml.Node] = []

    def read(self, node: yaml.Node, path: KeyPath = ()) -> Any:
        """Return the data of ``node``; refuse duplicate keys, foreign tags and loops of aliases."""
        self.values[path] = _position(node.start_mark)
        if any(node is ancestor for ancestor in self.open):
            raise self.error(node, "an alias refers to the block that contains it")
        self.open.append(node)
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        data: Any
        if isinstance(node, yaml.MappingNode) and kind == "map":
            data = {}
            for key_node, value_node in node.value:
                key = self.key(key_node, data, path)
                self.keys[*path, key] = _position(key_node.start_mark)
                data[key] = self.read(value_node, (*path, key))
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            data = [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode):
            data = self.scalar(node, kind)
        else:
            raise self.error(node, f"the tag '{node.tag}' is not supported; write plain values")
        self.open.pop()
        return data

    def key(self, node: yaml.Node, siblings: Mapping[str, object], path: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, "a key must be text, not a list or a mapping")
        key = str(self.scalar(node, "str"))
        if key in siblings:
            first = self.keys[*path, key]
            raise self.error(
                node, f"duplicate key '{key}'; it is already given in line {first.line}"
            )
        return key

    def scalar(self, node: yaml.ScalarNode, kind: str) -> str | int | float | bool | None:
        text = str(node.value)
        try:
            text.encode()  # an escape such as "\ud800" is legal YAML and no text
            match kind:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text)
                case "float":
                    return float(re.sub(r"\.(inf|nan)$", r"\1", text, flags=re.IGNORECASE))
        except ValueError:
            kind = {"str": "text"}.get(kind, f"{kind} value")
            raise self.error(node, f"{text[:40]!r} is not a valid {kind}") from None
        raise self.error(node, f"the tag '{node.tag}' is not supported; write plain values")

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        position = _position(node.start_mark)
        return ConfigError(f"{self.file}:{position.line}:{position.column}: {message}.")


def load(path: str | Path) -> YamlSource:
    """Read a YAML file into plain data that knows where it stood.

    Parameters
    ----------
    path : str or Path
        The file; messages name it as written here.

    Returns
    -------
    YamlSource
        An empty file has an empty mapping as data.

    Raises
    ------
    ConfigError
        No such file, a folder, not readable, not UTF-8, not YAML, a duplicate key, or a top level
        that is no mapping.
    """
    file = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file.{_similar_files(Path(path))}") from None
    except IsADirectoryError:
        raise ConfigError(f"{file}: this is a folder; name a YAML file in it.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: not a text file in UTF-8 (byte {error.start}); is it a YAML file?"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}.") from None

    reader = _Reader(file)
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        if node is None:
            return YamlSource(path=Path(path), data={}, values={(): Position(1, 1)}, keys={})
        data = reader.read(node)
    except yaml.MarkedYAMLError as error:
        where = _position(error.problem_mark or error.context_mark)
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{file}:{where.line}:{where.column}: not valid YAML: {what}.") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ConfigError(
            f"{file}:{where.line}:{where.column}: not valid YAML: {error.reason}."
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}:1:1: nested too deeply.") from None
    if not isinstance(data, dict):
        raise reader.error(node, f"expected 'key: value' lines, found {_shown(data)}")
    return YamlSource(path=Path(path), data=data, values=reader.values, keys=reader.keys)


def dump_yaml(data: Mapping[str, object]) -> str:
    """Write plain data as YAML that ``load`` reads back to the same data; same data, same bytes."""
    text = yaml.dump(data, Dumper=_CoreDumper, sort_keys=False, default_flow_style=None)
    return str(text)


def _position(mark: Any) -> Position:
    return Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)


def _similar_files(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir() if item.suffix in {".yaml", ".yml"}]
    except OSError:
        return f" The folder {path.parent} does not exist either."
    return did_you_mean(path.name, names)


# --- messages ------------------------------------------------------------------------------------


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the sentence `` Did you mean 'x'?``, with a leading space, or an empty text.

    Examples
    --------
    >>> did_you_mean("n_trails", ["n_trials", "n_steps"])
    " Did you mean 'n_trials'?"
    """
    allowed = list(allowed)
    folded = {name.casefold(): name for name in reversed(allowed)}
    close = difflib.get_close_matches(given.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{folded[close[0]]}'?" if close else ""


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
        Frozen, with ``extra="forbid"``.
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
    source = load(path)
    try:
        return model_class.model_validate_json(json.dumps(source.data), strict=True)
    except ValidationError as error:
        found = {
            _explain(model_class, source, detail)
            for detail in error.errors()
            if not _follows_from_another(detail)
        }
    lines = (f"{source.path}:{at.line}:{at.column}: {message}" for at, message in sorted(found))
    raise ConfigError("\n".join(lines))


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
    shown = "" if given is _ABSENT else f" is {_shown(given)}"
    return source.position(path), f"{_name(path)}{shown}: {problem.rstrip('.')}."


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


def _shown(value: object) -> str:
    """Return a value as YAML would have it, cut to a readable length."""
    text = "empty" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


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
