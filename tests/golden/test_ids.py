"""Ids, signatures and paths are what they were: under another one, nobody's store would be found again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.made_up import FOLDER, ids

GOLDEN = FOLDER / "ids.json"
ORPHANED = """\
{n} of the ids that users' stores are searched under moved, the first one {first}: {before} -> {now}.
Users' stores would be orphaned: recordings are converted again, encoders and folds trained again, and begun sweeps \
refused. Keep the ids. Where they are meant to move, say so in CHANGELOG.md, have the example stores of earlier \
versions in tests/stores open still, and write these anew: python tests/golden/made_up.py > tests/golden/ids.json"""


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where} / {key}" if where else key)
    elif isinstance(value, list):
        yield from _leaves({str(i): inner for i, inner in enumerate(value)}, where)
    else:
        yield where, value


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return dict(_leaves(ids()))


def test_no_id_moved(now: dict[str, Any]) -> None:
    before = dict(_leaves(json.loads(GOLDEN.read_text(encoding="utf-8"))))
    moved = [where for where, value in before.items() if now.get(where) != value]
    assert not moved, ORPHANED.format(
        n=len(moved), first=moved[0], before=before[moved[0]], now=now.get(moved[0], "gone")
    )


def test_every_id_is_written_down(now: dict[str, Any]) -> None:
    before = dict(_leaves(json.loads(GOLDEN.read_text(encoding="utf-8"))))
    new = sorted(set(now) - set(before))
    assert not new, (
        f"{', '.join(new)}: not in {GOLDEN.name} yet. Add them: "
        "python tests/golden/made_up.py > tests/golden/ids.json"
    )
