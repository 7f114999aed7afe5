"""Logs that are followed: each event once, and none is lost to a line that is broken."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.store import Store
from orchestrator.telemetry.follow import Follower

LOG = "sweeps/a/events.jsonl"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def follower(store: Store) -> Follower[list[Any]]:
    return Follower(store, begin=lambda _: [], add=lambda seen, event: seen.append(event["n"]))


def test_what_is_new_is_added_when_its_line_is_whole(
    store: Store, follower: Follower[list[Any]]
) -> None:
    assert list(follower.look([LOG])) == []
    store.write_bytes(LOG, b'{"n": 0}\n{"n": ')
    assert list(follower.look([LOG])) == [(LOG, [0])]
    store.write_bytes(LOG, b'{"n": 0}\n{"n": 1}\n')
    assert list(follower.look([LOG])) == [(LOG, [0, 1])]
    store.write_bytes(LOG, b'{"n": 5}\n')  # another run took its place
    assert list(follower.look([LOG])) == [(LOG, [5])]


def test_a_line_that_is_no_event_is_passed_over(
    store: Store, follower: Follower[list[Any]]
) -> None:
    store.write_bytes(LOG, b'{"n": 0}\n{"n": {"n": 1}\n{"n": 2}\n')
    assert list(follower.look([LOG])) == [(LOG, [0, 2])]
    assert list(follower.look([LOG])) == [(LOG, [0, 2])]


def test_an_event_that_cannot_be_added_costs_none_of_the_others(
    store: Store, follower: Follower[list[Any]]
) -> None:
    store.write_bytes(LOG, b'{"n": 0}\n{"of": "another version"}\n{"n": 2}\n')
    with pytest.raises(KeyError):
        list(follower.look([LOG]))
    assert list(follower.look([LOG])) == [(LOG, [0, 2])]
