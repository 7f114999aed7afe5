"""Content ids must be the same in every process and on every day."""

from typing import Any

import pytest

from orchestrator.store.hashing import content_id


def test_an_id_is_stable() -> None:
    # First digits of what `printf '{"a":1,"b":[0.5,"x"]}' | sha256sum` prints.
    assert content_id({"a": 1, "b": [0.5, "x"]}) == "d9dda6d0c61c7433"


def test_order_does_not_matter_and_everything_else_does() -> None:
    base: dict[str, Any] = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert content_id(base) == content_id({"b": {"d": None, "c": [1, 2]}, "a": 1})
    others: list[dict[str, Any]] = [
        {"a": 2, "b": {"c": [1, 2], "d": None}},
        {"a": "1", "b": {"c": [1, 2], "d": None}},
        {"a": 1, "b": {"c": [2, 1], "d": None}},
        {"a": 1, "b": {"c": [1, 2]}},
        {"a": 1},
        {},
    ]
    assert len({content_id(parts) for parts in [base, *others]}) == 7


def test_length() -> None:
    assert len(content_id({"a": 1})) == 16
    assert len(content_id({"a": 1}, length=64)) == 64
    assert content_id({"a": 1}, length=64).startswith(content_id({"a": 1}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1}, b"x"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        content_id({"a": value})
