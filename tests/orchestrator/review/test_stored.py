import json
import math
from dataclasses import dataclass

import pytest

from orchestrator.errors import DataError
from orchestrator.review.stored import read_json, read_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    pass_: int
    value: float | None
    names: tuple[str, ...] = ()


def test_nan_becomes_none_lists_tuples_and_keywords_get_an_underscore() -> None:
    rows = [{"pass": 1, "value": math.nan, "names": ["a", "b"], "unused": 0}]
    assert read_rows(Point, rows, "points.parquet") == (
        Point(pass_=1, value=None, names=("a", "b")),
    )


def test_missing_column_is_named_as_stored() -> None:
    with pytest.raises(DataError, match=r"points\.parquet .* lacks 'pass', 'names'"):
        read_rows(Point, [{"value": 1.0}], "points.parquet")


def test_json_gives_the_fields_alone() -> None:
    data = json.dumps({"names": [], "pass_": 2, "value": None, "more": {}}).encode()
    assert read_json(Point, data, "p.json") == {"pass_": 2, "value": None, "names": ()}
