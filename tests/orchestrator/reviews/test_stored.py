import json
from dataclasses import dataclass

from orchestrator.reviews.stored import read_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    pass_: int
    value: float | None
    names: tuple[str, ...] = ()


def test_json_gives_the_fields_alone() -> None:
    data = json.dumps({"names": [], "pass_": 2, "value": None, "more": {}}).encode()
    assert read_json(Point, data, "p.json") == {"pass_": 2, "value": None, "names": ()}
