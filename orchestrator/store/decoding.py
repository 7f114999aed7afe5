"""Stored JSON -> plain data. What is damaged is named by file, line and column, with what can be done about it.

A file is written whole or not at all, and of one that grows by lines, half a line at its end is cut off. So whatever
else cannot be read is no trace of a process that was killed: a disk, a copy or an editor has changed the file since.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from types import MappingProxyType, UnionType
from typing import Any

import pyarrow as pa

from orchestrator.errors import IntegrityError
from orchestrator.store.lines import whole_lines
from orchestrator.store.store import Store

Kinds = Mapping[str, type | UnionType]
"""Keys that an object must have, each with the type of its value; ``datetime`` is a text with a time and its zone."""

_ANY: Kinds = MappingProxyType({})

_ANOTHER_NAME = "Restore it from a copy, or run the sweep under another name with `--as NEWNAME`"
_CLUSTER = "Remove it, and end what is left of the cluster with 'orchestrator down --verify'"

_HINTS: Mapping[str, str] = {
    "encoder.json": "Remove its folder, and pretrain again",
    "events.jsonl": (
        "Restore it from a copy; without one, delete this line, and with it what it told: of labels that were read, "
        "perhaps"
    ),
    "file.json": _CLUSTER,
    "fold.json": "Remove its folder, and the same command trains the fold again",
    "lock.json": "If no process runs the sweep, remove it",
    "manifest.json": _ANOTHER_NAME,
    "optuna.journal": (
        "Restore it from a copy; without one, keep only the lines before this one: trials that the others tell of are "
        "tried again, and what they trained is found"
    ),
    "ray.yaml": _CLUSTER,
    "running.json": _CLUSTER,
    "stop.json": "Remove it, and ask again with 'orchestrator stop'",
    "sweep.yaml": _ANOTHER_NAME,
}
_LIVE_HINT = "Remove it: it only says how a training was doing"
_OTHER_HINT = "Remove it, and run the command that makes it again"


def damaged(
    where: str, what: str, *, line: int | None = None, column: int | None = None
) -> IntegrityError:
    """Return the error of a stored file that cannot be used.

    Parameters
    ----------
    where : str
        The file: a path or a URI.
    what : str
        What is wrong with it.
    line, column : int, optional
        Where in the file, both from 1.
    """
    place = ":".join(str(part) for part in (where, line, column) if part is not None)
    return IntegrityError(f"{place} is damaged: {what}. {advice(where)}")


def advice(where: str) -> str:
    """Return what can be done about a stored file that is damaged, in a sentence."""
    path = PurePosixPath(where)
    other = _LIVE_HINT if path.parent.name == "live" else _OTHER_HINT
    return f"{_HINTS.get(path.name, other)}."


def json_object(data: bytes, where: str, kinds: Kinds = _ANY) -> dict[str, Any]:
    """Return the object in a JSON file.

    Parameters
    ----------
    data : bytes
        Content of the file.
    where : str
        The file: a path or a URI.
    kinds : mapping
        What it must have.

    Raises
    ------
    IntegrityError
        It is no JSON, or none that was written there. Names file, line and column.

    Examples
    --------
    >>> json_object(b'{"pid": 4711}', "lock.json", {"pid": int})
    {'pid': 4711}
    """
    try:
        return _object(data, kinds)
    except _NotOursError as problem:
        raise damaged(where, problem.what, line=problem.line, column=problem.column) from None


def json_lines(
    data: bytes, where: str, kinds: Kinds = _ANY, *, first: int = 1
) -> list[dict[str, Any]]:
    """Return the object in each line of a file that grows by lines; half a line at its end is left out.

    Parameters
    ----------
    data : bytes
        Content of the file, or the rest of it.
    where : str
        The file: a path or a URI.
    kinds : mapping
        What each object must have.
    first : int
        Number of the first line in `data`.

    Raises
    ------
    IntegrityError
        A line is no JSON, or none that was written there. Names file and line.
    """
    found = []
    for number, line in enumerate(whole_lines(data).split(b"\n")[:-1], start=first):
        try:
            found.append(_object(line, kinds))
        except _NotOursError as problem:
            raise damaged(where, problem.what, line=number) from None
    return found


def json_metadata(schema: pa.Schema, key: bytes, where: str, kinds: Kinds = _ANY) -> dict[str, Any]:
    """Return the object that the schema of a Parquet file carries under a key; empty where there is none.

    Raises
    ------
    IntegrityError
        As :func:`json_object` does, but for line and column: these are no places in the file.
    """
    try:
        return _object((schema.metadata or {}).get(key, b"{}"), kinds)
    except _NotOursError as problem:
        raise damaged(where, f"of its metadata {key.decode()!r}, {problem.what}") from None


def read_json(store: Store, path: str, kinds: Kinds = _ANY) -> dict[str, Any]:
    """Return the object in a JSON file of a store; FileNotFoundError where there is none.

    Raises
    ------
    IntegrityError
        As :func:`json_object` does.
    """
    return json_object(store.read_bytes(path), store.uri_of(path), kinds)


class _NotOursError(Exception):
    """Bytes that hold no object as this package writes them."""

    def __init__(self, what: str, line: int = 1, column: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.column = column


def _object(data: bytes, kinds: Kinds) -> dict[str, Any]:
    if not data.strip():
        raise _NotOursError("nothing is in it")
    if not data.strip(b"\0"):
        raise _NotOursError(f"it holds {len(data)} zero bytes, as after a power failure")
    try:
        found: Any = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = data[: error.start]
        at = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise _NotOursError(f"byte 0x{data[error.start]:02x} is no UTF-8 text", *at) from None
    except json.JSONDecodeError as error:
        raise _NotOursError(f"it is no JSON ({error.msg})", error.lineno, error.colno) from None
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of 5000 digits
        raise _NotOursError(f"it is no JSON of ours ({error})") from None
    if not isinstance(found, dict):
        raise _NotOursError(f"it holds {_shown(found)}, and no JSON object")
    for key, kind in kinds.items():
        if key not in found:
            raise _NotOursError(f"it has no {key!r}")
        if not _is(found[key], kind):
            raise _NotOursError(f"its {key!r} is {_shown(found[key])}")
    return found


def _is(value: object, kind: type | UnionType) -> bool:
    if kind is not datetime:
        return isinstance(value, kind)
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
