"""Tables whose rows are frozen dataclasses: the class gives the Arrow schema, the writer and the reader.

A field is a column; a field made by :func:`spread` holds a mapping, each of whose keys is a column. A trial that failed
and a metric that is undefined are stored as null or NaN. Both are read as None, so that nobody after this file has to
ask which of the two it meets.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

import pyarrow as pa

from orchestrator.errors import DataError
from search_spaces.space import Choice, Declared, Integer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

WideInt = Annotated[int, pa.int64()]
"""A whole number that may be larger than 32 bits hold, such as a seed."""

_ARROW_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int32(),
    float: pa.float64(),
    tuple[str, ...]: pa.list_(pa.string()),
}
_SPREAD, _PREFIX, _LATER = "spread", "prefix", "later"


def later(default: Any = None) -> Any:
    """Return a field for a column that tables of earlier versions lack; in these it is read as `default`."""
    return field(default=default, metadata={_LATER: True})


def spread(columns: Mapping[str, pa.DataType], prefix: str = "") -> Any:
    """Return a field for a mapping that has these keys; the column of a key is `prefix` and the key."""
    return field(hash=False, metadata={_SPREAD: columns, _PREFIX: prefix})


def columns_of(space: Mapping[str, Declared]) -> dict[str, pa.DataType]:
    """Return the type of each parameter of a search space, to :func:`spread`.

    >>> from search_spaces.pretrain import SPACE
    >>> {name: str(kind) for name, kind in columns_of(SPACE).items()}
    {'learning_rate': 'double', 'weight_decay': 'double', 'dropout': 'double', 'batch_size': 'int32'}
    """
    return {name: _type_of_parameter(declared) for name, declared in space.items()}


def _type_of_parameter(declared: Declared) -> pa.DataType:
    match declared:
        case Choice():
            return pa.string()
        case Integer():
            return pa.int32()
        case _:
            return pa.float64()


def schema_of(row_type: "type[DataclassInstance]") -> pa.Schema:
    """Return the schema of the table whose rows a dataclass describes, in the order of its fields."""
    columns: list[tuple[str, pa.DataType]] = []
    for one in fields(row_type):
        if _SPREAD in one.metadata:
            kinds = one.metadata[_SPREAD]
            columns += [(column, kinds[key]) for key, column in _spread_columns(one).items()]
        else:
            columns.append((column_of(one.name), _arrow_type(one.type)))
    return pa.schema(columns)


def values_of(row: "DataclassInstance") -> dict[str, Any]:
    """Return a row as column -> value, in the order of the table."""
    values: dict[str, Any] = {}
    for one in fields(row):
        value = getattr(row, one.name)
        if _SPREAD in one.metadata:
            values |= {column: value[key] for key, column in _spread_columns(one).items()}
        else:
            values[column_of(one.name)] = value
    return values


def table_of(row_type: type[Row], rows: Iterable[Row]) -> pa.Table:
    """Return the rows as a table, in their order."""
    return pa.Table.from_pylist([values_of(row) for row in rows], schema=schema_of(row_type))


def read_rows(row_type: type[Row], rows: Iterable[Mapping[str, Any]], file: str) -> tuple[Row, ...]:
    """Return rows of a table in stored order; NaN becomes None, and columns without a field are ignored.

    A key of a mapping need not be there, nor a field made by :func:`later`: a later version may have added them.

    Parameters
    ----------
    row_type : type
        A dataclass.
    rows : iterable of mapping
        Column -> value, as ``pyarrow.Table.to_pylist`` gives them.
    file : str
        Where they are from, for the error.

    Raises
    ------
    DataError
        A column is missing, so the table was not written by this version.
    """
    needed = [
        column_of(one.name)
        for one in fields(row_type)
        if not one.metadata.keys() & {_SPREAD, _LATER}
    ]
    read: list[Row] = []
    for row in rows:
        require(needed, row, file)
        values: dict[str, Any] = {}
        for one in fields(row_type):
            if _SPREAD in one.metadata:
                columns = _spread_columns(one).items()
                values[one.name] = {key: as_value(row.get(column)) for key, column in columns}
            elif (column := column_of(one.name)) in row:
                values[one.name] = as_value(row[column])
        read.append(row_type(**values))
    return tuple(read)


def _spread_columns(one: "Field[Any]") -> dict[str, str]:
    """Return key -> column of a field made by :func:`spread`."""
    return {key: one.metadata[_PREFIX] + key for key in one.metadata[_SPREAD]}


def column_of(name: str) -> str:
    """Return the column behind a field: a Python keyword has an underscore after it.

    >>> column_of("pass_"), column_of("test_kappa")
    ('pass', 'test_kappa')
    """
    return name.removesuffix("_")


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


def _arrow_type(annotation: Any) -> pa.DataType:
    if get_origin(annotation) in (UnionType, Union):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is Annotated:
        kind: pa.DataType = get_args(annotation)[1]
        return kind
    return _ARROW_TYPES[annotation]
