"""Flat and clipped epochs, decided on the signal as recorded."""

import numpy as np
import pytest

from orchestrator.psg.quality import UNUSABLE, Flag, clipped_epochs, flat_epochs


def test_the_bits_are_those_of_the_store() -> None:
    assert (Flag.FLAT, Flag.UNSCORED, Flag.CLIPPED) == (1, 2, 4)
    assert UNUSABLE == 3  # a clipped epoch is used


@pytest.mark.parametrize(("n_steps", "is_flat"), [(0, True), (1, True), (2, True), (3, False)])
def test_flat_is_a_span_of_at_most_two_converter_steps(n_steps: int, is_flat: bool) -> None:
    step_uv = 1000 / 65535
    epochs = np.arange(-200, 200)[:, None] * step_uv * 7 * np.ones(100)
    epochs[:, 30:60] += n_steps * step_uv
    assert set(flat_epochs(epochs, step_uv).tolist()) == {
        is_flat
    }  # whatever the rounding at a level


def test_each_epoch_is_judged_by_itself() -> None:
    signal = np.zeros((4, 100))
    signal[1] = 50  # another level, as flat as the first
    signal[2, 7] = 1
    signal[3] = np.sin(np.arange(100))
    assert flat_epochs(signal, 0.1).tolist() == [True, True, False, False]


def test_where_the_step_is_unknown_only_a_constant_is_flat() -> None:
    signal = np.zeros((2, 100))
    signal[1, 0] = 1e-12
    assert flat_epochs(signal, 0.0).tolist() == [True, False]


@pytest.mark.parametrize(("n_at_limit", "is_clipped"), [(0, False), (10, False), (11, True)])
@pytest.mark.parametrize("limit", [-500.0, 500.0])
def test_clipped_is_more_than_a_hundredth_at_a_limit(
    limit: float, n_at_limit: int, is_clipped: bool
) -> None:
    signal = np.random.default_rng(0).uniform(-400, 400, (1, 1000))
    signal[0, :n_at_limit] = limit
    assert clipped_epochs(signal, -500, 500).tolist() == [is_clipped]


def test_without_known_limits_nothing_is_clipped() -> None:
    assert not clipped_epochs(np.full((1, 100), 1e9), -np.inf, np.inf).any()
