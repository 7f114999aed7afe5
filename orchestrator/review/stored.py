"""Rows and manifests of a finished sweep -> frozen dataclasses with one kind of "no value": None.

A trial that failed and a metric that is undefined are stored as null or NaN. Both become None here, so
that nothing after this file has to ask which of the two it meets.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import DataError
from orchestrator.store.decoding import json_object

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


def read_rows(
    record_type: type[Record], rows: Iterable[Mapping[str, Any]], file: str
) -> tuple[Record, ...]:
    """Rows of a table in stored order; NaN becomes None, and columns without a field are ignored.

    Raises
    ------
    DataError
        A column is missing, so the table was not written by this version.
    """
    columns = {field.name: column_of(field.name) for field in fields(record_type)}
    read: list[Record] = []
    for row in rows:
        require(columns.values(), row, file)
        read.append(
            record_type(**{name: as_value(row[column]) for name, column in columns.items()})
        )
    return tuple(read)


def read_json(record_type: type[Record], data: bytes, file: str) -> dict[str, Any]:
    """Values of a JSON object for the fields of a dataclass, in the order of the class; errors as in `read_rows`."""
    stored = json_object(data, file)
    require([field.name for field in fields(record_type)], stored, file)
    return {field.name: as_value(stored[field.name]) for field in fields(record_type)}


def column_of(field: str) -> str:
    """Name of the column behind a field: a Python keyword has an underscore after it.

    >>> column_of("pass_"), column_of("test_kappa")
    ('pass', 'test_kappa')
    """
    return field.removesuffix("_")


def require(names: Iterable[str], stored: Mapping[str, Any], file: str) -> None:
    """Raise DataError naming what `stored` lacks."""
    missing = [name for name in names if not isinstance(stored, Mapping) or name not in stored]
    if missing:
        raise DataError(
            f"{file} of the sweep lacks {', '.join(repr(name) for name in missing)}, so another "
            "version wrote it. Run the sweep again under a new name."
        )


def as_value(value: Any) -> Any:
    """Turn NaN into None and lists into tuples, also inside mappings."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list):
        return tuple(as_value(item) for item in value)
    if isinstance(value, dict):
        return {key: as_value(item) for key, item in value.items()}
    return value
