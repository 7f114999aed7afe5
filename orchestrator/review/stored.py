"""The manifest of a finished sweep -> values for a frozen dataclass, with one kind of "no value": None."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from orchestrator.store.decoding import json_object
from orchestrator.tables.rows import as_value, require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def read_json(record_type: "type[DataclassInstance]", data: bytes, file: str) -> dict[str, Any]:
    """Values of a JSON object for the fields of a dataclass, in the order of the class; NaN becomes None.

    Raises
    ------
    DataError
        A key is missing, so another version wrote it.
    """
    stored = json_object(data, file)
    require([field.name for field in fields(record_type)], stored, file)
    return {field.name: as_value(stored[field.name]) for field in fields(record_type)}
