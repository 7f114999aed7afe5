"""Made-up hypnograms look like nights: cycles, early N3, late REM, short N1, and every stage in them."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.psg.synthetic_hypnogram import draw_stages
from trainables.stages import Stage

NIGHT = 960  # epochs of eight hours


def nights(n_epochs: int, n: int = 30) -> list[NDArray[np.int8]]:
    return [draw_stages(np.random.default_rng((7, i)), n_epochs) for i in range(n)]


def bouts(stages: NDArray[np.int8], stage: Stage) -> list[int]:
    return [len(list(group)) for value, group in groupby(stages) if value == stage]


def rem_periods(stages: NDArray[np.int8]) -> Iterator[int]:
    """Starts of REM periods: REM after at least 15 minutes without any."""
    last = -NIGHT
    for epoch in map(int, np.flatnonzero(stages == Stage.REM)):
        if epoch - last > 30:
            yield epoch
        last = epoch


@pytest.mark.heavy
@pytest.mark.parametrize("n_epochs", [60, 240, NIGHT])
def test_every_recording_of_half_an_hour_or_more_holds_every_stage(n_epochs: int) -> None:
    for stages in nights(n_epochs):
        assert stages.shape == (n_epochs,)
        assert stages.dtype == np.int8
        assert np.bincount(stages, minlength=5).min() >= 0.04 * n_epochs
        assert len(np.bincount(stages)) == 5


@pytest.mark.parametrize("n_epochs", [1, 2, 5])
def test_a_short_recording_is_possible(n_epochs: int) -> None:
    for stages in nights(n_epochs):
        assert stages.shape == (n_epochs,)
        assert stages[0] == Stage.W


def test_sleep_begins_from_wake_by_way_of_n1() -> None:
    for stages in nights(NIGHT):
        asleep = int(np.argmax(stages != Stage.W))
        assert asleep > 0
        assert stages[asleep] == Stage.N1


@pytest.mark.heavy
def test_n3_comes_early_and_rem_late() -> None:
    all_nights = np.stack(nights(NIGHT))
    first, second = all_nights[:, : NIGHT // 2], all_nights[:, NIGHT // 2 :]
    assert (first == Stage.N3).mean() > 1.4 * (second == Stage.N3).mean()
    assert (second == Stage.REM).mean() > 1.4 * (first == Stage.REM).mean()


@pytest.mark.heavy
def test_n1_bouts_and_awakenings_are_short() -> None:
    asleep = [night[np.argmax(night != Stage.W) :] for night in nights(NIGHT)]
    mean_bout = {
        stage: np.mean([length for night in asleep for length in bouts(night, stage)])
        for stage in Stage
    }
    assert mean_bout[Stage.N1] < 4
    assert mean_bout[Stage.W] < 4
    assert min(mean_bout[stage] for stage in (Stage.N2, Stage.N3, Stage.REM)) > 7


def test_cycles_of_eight_hours_last_about_ninety_minutes() -> None:
    between_min = [
        np.diff(starts).mean() / 2
        for starts in (list(rem_periods(night)) for night in nights(NIGHT))
        if len(starts) > 1
    ]
    assert len(between_min) == 30
    assert 80 < np.mean(between_min) < 110


@pytest.mark.heavy
def test_same_generator_same_night() -> None:
    assert np.array_equal(nights(240)[3], nights(240)[3])
    assert not np.array_equal(nights(240)[3], nights(240)[4])
