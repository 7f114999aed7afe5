"""Batches cut by hand: gaps closed, remainder dropped, never across recordings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.alignment.batches import batch_table, check_source_batches, cut_batches
from orchestrator.errors import ConfigError


def epochs(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def test_a_batch_cut_by_hand() -> None:
    usable = epochs(0, 1, 4, 5, 6, 10, 11)  # 2, 3, 7, 8 and 9 are flat or unscored
    batches = cut_batches([("s1", "n1", usable)], 3)
    assert [b.epochs.tolist() for b in batches] == [[0, 1, 4], [5, 6, 10]]  # 11 is left over
    assert [b.batch_id for b in batches] == [0, 1]
    assert {(b.subject, b.recording) for b in batches} == {("s1", "n1")}


def test_a_remainder_never_joins_the_next_recording() -> None:
    batches = cut_batches(
        [("s1", "n1", epochs(0, 1, 2)), ("s1", "n2", epochs(0, 1, 2)), ("s2", "n3", epochs(5))], 2
    )
    assert [(b.recording, b.epochs.tolist()) for b in batches] == [("n1", [0, 1]), ("n2", [0, 1])]


def test_ids_follow_subject_recording_and_time_whatever_the_order_given() -> None:
    night = epochs(0, 1, 2, 3)
    forward = [("a", "1", night), ("a", "2", night), ("b", "0", night)]
    expected = [("a", "1", 0), ("a", "1", 2), ("a", "2", 0), ("a", "2", 2), ("b", "0", 0)]
    for recordings in (forward, forward[::-1]):
        batches = cut_batches(recordings, 2)
        assert [b.batch_id for b in batches] == list(range(6))
        assert [(b.subject, b.recording, b.epochs[0]) for b in batches[:5]] == expected


@pytest.mark.heavy
@given(
    st.lists(st.sets(st.integers(0, 300), max_size=80), min_size=1, max_size=4),
    st.integers(1, 32),
)
def test_every_epoch_is_in_one_batch_at_most_and_in_time_order(
    nights: list[set[int]], size: int
) -> None:
    recordings = [(f"s{i}", "n", epochs(*sorted(night))) for i, night in enumerate(nights)]
    batches = cut_batches(recordings, size)
    assert len(batches) == sum(len(night) // size for night in nights)
    for subject, _, usable in recordings:
        mine = [b.epochs for b in batches if b.subject == subject]
        assert all(len(chunk) == size for chunk in mine)
        joined = np.concatenate(mine).tolist() if mine else []
        assert joined == usable[: len(joined)].tolist()
        assert len(usable) - len(joined) < size


def test_too_few_batches_are_refused_with_their_number() -> None:
    check_source_batches(8, 128)
    with pytest.raises(ConfigError, match=r"7 batches of 128.*at least 8") as caught:
        check_source_batches(7, 128)
    assert caught.value.exit_code == 2


def test_the_table_says_what_the_ids_mean() -> None:
    source = cut_batches([("s1", "n1", epochs(0, 2, 3, 9))], 2)
    target = cut_batches([("t1", "m1", epochs(4, 5, 6))], 2)
    assert batch_table(source, target).to_pylist() == [
        {
            "role": role,
            "batch_id": batch_id,
            "subject": subject,
            "recording": recording,
            "first_epoch": members[0],
            "n": 2,
            "epochs": members,
        }
        for role, batch_id, subject, recording, members in [
            ("source", 0, "s1", "n1", [0, 2]),
            ("source", 1, "s1", "n1", [3, 9]),
            ("target", 0, "t1", "m1", [4, 5]),
        ]
    ]
