"""Ids, signatures, paths and defaults are what they were: else stores are not found again, or mean another thing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.changes import differences
from orchestrator.config.sweep import load_sweep
from tests.golden.made_up import FOLDER, ids

WRITE = "python tests/golden/made_up.py > tests/golden/ids.json"
ORPHANED = f"""\
These ids moved: {{moved}}. Users' stores would be orphaned under the old ones: recordings are converted again, encoders
and folds trained again, begun sweeps refused. Keep the ids. Where they are meant to move, say so in CHANGELOG.md, see
that the stores of earlier versions in tests/stores open still, and write them anew: {WRITE}"""
CHANGED = f"""\
These defaults changed: {{changed}}. A sweep that has begun keeps its own: add a row to CHANGES in
orchestrator/config/defaults.py that says what a file without the key meant until now, and a line to CHANGELOG.md. Then
write them anew: {WRITE}"""
NEW = f"""\
Not written down yet: {{new}}. Where a new key's default is not what happened before there was a key, it takes a row in
CHANGES of orchestrator/config/defaults.py. Then write them down: {WRITE}"""
COLUMNS = f"""\
These columns of tables moved: {{moved}}. A new one is the last field of its class, made by `later` of
orchestrator/tables/rows.py, and none goes: tables of earlier versions are read by these names. Then write them down:
{WRITE}"""
DEFAULTS = "defaults / "
TABLES = "tables / "


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        value = {str(index): inner for index, inner in enumerate(value)}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{where} / {key}" if where else key)
    else:
        yield where, value


def listed(changes: list[str]) -> str:
    rest = len(changes) - 5
    return "; ".join(changes[:5]) + (f"; and {rest} more" if rest > 0 else "")


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return dict(leaves(ids()))


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    return dict(leaves(json.loads((FOLDER / "ids.json").read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def moved(now: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
    return {
        where: f"{where.removeprefix(DEFAULTS)}: {value} -> {now.get(where, 'gone')}"
        for where, value in before.items()
        if now.get(where) != value
    }


def test_no_id_moved(moved: dict[str, str]) -> None:
    of_ids = [text for where, text in moved.items() if not where.startswith((DEFAULTS, TABLES))]
    assert not of_ids, ORPHANED.format(moved=listed(of_ids))


def test_no_column_moved(moved: dict[str, str]) -> None:
    of_tables = [text for where, text in moved.items() if where.startswith(TABLES)]
    assert not of_tables, COLUMNS.format(moved=listed(of_tables))


def test_no_default_changed(moved: dict[str, str]) -> None:
    of_defaults = [text for where, text in moved.items() if where.startswith(DEFAULTS)]
    assert not of_defaults, CHANGED.format(changed=listed(of_defaults))


def test_all_of_them_are_written_down(now: dict[str, Any], before: dict[str, Any]) -> None:
    new = sorted(set(now) - set(before))
    assert not new, NEW.format(new=listed(new))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("defaults/*.yaml")), ids=lambda file: file.stem)
def test_what_a_file_leaves_out_means_what_it_meant(file: Path) -> None:
    # A sweep as an earlier version stored it, and its file, which an update of the program leaves as it is.
    number, method = file.stem.split("-")
    stored = load_sweep(file, unnumbered=int(number))
    written = load_sweep(FOLDER / "sweeps" / f"{method}-bare.yaml", unnumbered=int(number))
    found = [str(difference) for difference in differences(stored, written)]
    assert not found, CHANGED.format(changed=listed(found))
