"""Logs that are followed: each event once, and none is lost to a line that is broken."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.store.store import Store
from orchestrator.telemetry.follow import Follower

LOG = "sweeps/a/events.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def follower(store: Store) -> Follower[list[Any]]:
    return Follower(store, begin=lambda _: [], add=lambda seen, event: seen.append(event["n"]))


def line(n: int) -> bytes:
    return f'{{"time": "2026-01-01T10:00:00+00:00", "event": "a", "n": {n}}}\n'.encode()


def test_what_is_new_is_added_when_its_line_is_whole(
    store: Store, follower: Follower[list[Any]]
) -> None:
    assert list(follower.look([LOG])) == []
    store.write_bytes(LOG, line(0) + line(1)[:-5])
    assert list(follower.look([LOG])) == [(LOG, [0])]
    store.write_bytes(LOG, line(0) + line(1))
    assert list(follower.look([LOG])) == [(LOG, [0, 1])]
    store.write_bytes(LOG, line(5))  # another run took its place
    assert list(follower.look([LOG])) == [(LOG, [5])]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"n": {"n": 1}\n',
        bytes(9) + b"\n",
        b"\xff\n",
        b"[]\n",
        line(1).replace(b'"n"', b'"of another version"'),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_added_is_named_and_costs_none_of_the_others(
    store: Store, follower: Follower[list[Any]], broken: bytes
) -> None:
    store.write_bytes(LOG, line(0))
    assert list(follower.look([LOG])) == [(LOG, [0])]
    store.write_bytes(LOG, line(0) + broken + line(2))
    with pytest.raises(IntegrityError, match=r"sweeps/a/events\.jsonl:2 is damaged"):
        list(follower.look([LOG]))
    assert list(follower.look([LOG])) == [(LOG, [0, 2])]
