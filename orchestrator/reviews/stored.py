"""What a finished sweep left, typed: rows of its tables, and its manifest, with one kind of "no value": None."""

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from orchestrator.store import decoding, paths
from orchestrator.store.decoding import json_object
from orchestrator.store.provenance import OtherCode, encoders_of_other_code, recorded_code
from orchestrator.store.store import Store
from orchestrator.tables.rows import Row, as_value, read_rows, require

if TYPE_CHECKING:
    import pyarrow as pa
    from _typeshed import DataclassInstance

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Majority:
    """What always answering the stage reaches that is most frequent in training."""

    stage: str
    macro_f1: float


def rows_in(row_type: type[Row], table: "pa.Table", file: str) -> tuple[Row, ...]:
    """Return the rows of a table, in stored order; `file` is where it is from, for the error.

    Raises
    ------
    DataError
        A column is missing, so another version wrote the sweep.
    """
    return read_rows(row_type, table.to_pylist(), file)


def read_json(record_type: "type[DataclassInstance]", data: bytes, file: str) -> dict[str, Any]:
    """Values of a JSON object for the fields of a dataclass, in the order of the class; NaN becomes None.

    A field with a default need not be there: a later version added it.

    Raises
    ------
    DataError
        A key is missing, so another version wrote it.
    """
    stored = json_object(data, file)
    needed = [one.name for one in fields(record_type) if one.default is MISSING]
    require(needed, stored, file)
    return {
        one.name: as_value(stored[one.name]) for one in fields(record_type) if one.name in stored
    }


def part_of_manifest(record_type: type[Row], stored: Any) -> Row:
    """Return a part of ``manifest.json`` as a dataclass, under the same conditions."""
    (found,) = read_rows(record_type, [stored], MANIFEST)
    return found


def kept_models(store: Store, name: str, trials: Iterable[str]) -> frozenset[str]:
    """Return those trials, arms or rows of a sweep whose models are in the store."""
    return frozenset(trial for trial in trials if store.exists(paths.model_json(name, trial)))


def refitted_models(store: Store, name: str, trials: Iterable[str]) -> frozenset[str]:
    """Return those trials of a sweep whose kept models were trained once more, when the search had ended.

    Raises
    ------
    IntegrityError
        The record of a model is damaged.
    """
    return frozenset(
        trial
        for trial in kept_models(store, name, trials)
        if "refit"
        in decoding.read_json(store, paths.model_json(name, trial), {"about": dict})["about"]
    )


def other_code_of(store: Store, name: str, encoder_ids: Iterable[str]) -> tuple[OtherCode, ...]:
    """Return those encoders of a sweep that other code trained than the sweep began with."""
    began_with = recorded_code(store, paths.sweep_manifest(name))
    return encoders_of_other_code(store, began_with, encoder_ids)
