"""Rows of tables: the class is the schema, the writer and the reader."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import pyarrow as pa
import pytest

from orchestrator.errors import DataError
from orchestrator.methods.pretrain import results as pretrain
from orchestrator.methods.selective import results as selective
from orchestrator.methods.sleepmg import results as sleepmg
from orchestrator.tables.by_subject import BySubjectRow
from orchestrator.tables.rows import (
    WideInt,
    column_of,
    later,
    read_rows,
    schema_of,
    spread,
    table_of,
    values_of,
)

_COUNTS = {"W": pa.int32(), "N3": pa.int32()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    pass_: int
    seed: WideInt
    value: float | None
    counts: Mapping[str, int] = spread(_COUNTS, prefix="n_")
    names: tuple[str, ...] = ()


POINT = Point(pass_=1, seed=2**40, value=None, counts={"N3": 3, "W": 2}, names=("a", "b"))


def test_a_field_is_a_column_and_a_spread_one_is_a_column_for_each_key() -> None:
    assert schema_of(Point) == pa.schema(
        [
            ("pass", pa.int32()),
            ("seed", pa.int64()),
            ("value", pa.float64()),
            ("n_W", pa.int32()),
            ("n_N3", pa.int32()),
            ("names", pa.list_(pa.string())),
        ]
    )
    assert list(values_of(POINT).items()) == [
        *(("pass", 1), ("seed", 2**40), ("value", None)),
        *(("n_W", 2), ("n_N3", 3), ("names", ("a", "b"))),
    ]


def test_what_is_written_reads_back_the_same() -> None:
    points = (POINT, replace(POINT, value=0.5, names=()))
    table = table_of(Point, points)
    assert table.schema == schema_of(Point)
    assert read_rows(Point, table.to_pylist(), "points.parquet") == points
    assert len({*points, POINT}) == 2, "rows are hashable, whatever they hold"


def test_a_table_without_rows_has_all_columns() -> None:
    assert table_of(Point, []).schema == schema_of(Point)


def test_nan_becomes_none_lists_tuples_and_other_columns_are_ignored() -> None:
    row = {"pass": 1, "seed": 1, "value": math.nan, "names": ["a", "b"], "unused": 0}
    (point,) = read_rows(Point, [row | {"n_W": 0, "n_N3": 1}], "points.parquet")
    assert point == Point(pass_=1, seed=1, value=None, counts={"W": 0, "N3": 1}, names=("a", "b"))


def test_missing_columns_are_named_as_stored() -> None:
    with pytest.raises(DataError, match=r"points\.parquet .* lacks 'pass', 'value', 'names'"):
        read_rows(Point, [{"seed": 1, "n_W": 1}], "points.parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterPoint(Point):
    """As a later version has it."""

    shade: float | None = later()
    kind: str = later("point")


def test_a_column_that_a_later_version_added_has_its_default_in_older_tables() -> None:
    older = table_of(Point, [POINT]).to_pylist()
    (found,) = read_rows(LaterPoint, older, "points.parquet")
    assert (found.seed, found.shade, found.kind) == (2**40, None, "point")
    newer = replace(found, shade=0.5, kind="line")
    table = table_of(LaterPoint, [newer])
    assert table.schema.names == [*schema_of(Point).names, "shade", "kind"]
    assert read_rows(LaterPoint, table.to_pylist(), "points.parquet") == (newer,)


def test_a_parameter_that_a_later_version_added_is_none() -> None:
    row = {"pass": 1, "seed": 1, "value": 0.5, "names": [], "n_W": 2}
    (point,) = read_rows(Point, [row], "points.parquet")
    assert point.counts == {"W": 2, "N3": None}


@pytest.mark.parametrize(
    "row_type",
    [
        *(selective.TrialRow, selective.BatchRow, pretrain.TrialRow, pretrain.SubjectRow),
        *(sleepmg.TrialRow, sleepmg.FoldRow, sleepmg.RecordingRow),
        *(sleepmg.ConfusionRow, sleepmg.ModalityRow, BySubjectRow),
    ],
)
def test_no_two_fields_of_a_table_are_one_column(row_type: type) -> None:
    names = schema_of(row_type).names
    assert len(set(names)) == len(names)
    assert {column_of(one.name) for one in fields(row_type) if not one.metadata} <= set(names)
