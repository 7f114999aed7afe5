"""YAML files as plain data that remembers where every key and value stood.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``1e-4`` is a number, ``yes`` and
``2025-01-07`` are text, and a number with leading zeros (the subject ``018``) stays text. Mapping
keys are always text.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from orchestrator.config.suggest import did_you_mean
from orchestrator.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a file to a value: ``("search", "enqueue", 2)``."""


class Position(NamedTuple):
    """A place in a text file, counted from 1 as editors do."""

    line: int
    column: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class YamlSource:
    """A YAML file as plain data, and where everything in it stood."""

    path: Path | None
    """The file, as the caller named it; None for data that were in no file."""
    data: Any
    """Dicts with text keys, lists, str, int, float, bool and None."""
    values: Mapping[KeyPath, Position]
    """Where each value starts; ``()`` is the whole file."""
    keys: Mapping[KeyPath, Position]
    """Where the key of each mapping entry stands."""

    def place(self, at: Position) -> str:
        """Return a place as an error begins with it."""
        return "the mapping" if self.path is None else f"{self.path}:{at.line}:{at.column}"

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


def source_of(given: str | Path | Mapping[str, Any]) -> YamlSource:
    """Return what a file says; or a mapping, as a file would say it.

    Raises
    ------
    ConfigError
        See :func:`load`; or the mapping holds what no file can, such as an array.
    """
    if not isinstance(given, Mapping):
        return load(given)
    try:
        data = json.loads(json.dumps(dict(given), default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"the mapping holds what a YAML file cannot: {error}. Allowed: mappings, lists, text, numbers, True, False "
            "and None."
        ) from None
    return YamlSource(path=None, data=data, values={(): Position(1, 1)}, keys={})


def _plain(value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{shown(str(value))} is a {type(value).__name__}")


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
        raise reader.error(node, f"expected 'key: value' lines, found {shown(data)}")
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


def shown(value: object) -> str:
    """Return a value as YAML would have it, cut to a readable length."""
    text = "empty" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
