"""Which batches a tau keeps: by hand, at ties, at infinite rewards, and as R > tau_absolute."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.alignment.emd import emd_matrix
from orchestrator.alignment.selection import (
    Aggregate,
    rewards,
    select_absolute,
    select_budget,
    select_quantile,
)

Floats = NDArray[np.float64]

tau_quantiles = st.floats(0, 0.999) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
reward_lists = st.lists(
    st.floats(1e-6, 1e6) | st.sampled_from([0.5, 2.0, float("inf")]), min_size=1, max_size=60
)


@pytest.mark.parametrize(
    ("n", "tau", "n_kept"),
    [
        (98, "0", 98),
        (98, "0.25", 74),  # 73.5
        (98, "0.5", 49),
        (98, "0.75", 25),  # 24.5
        (98, "0.9", 10),  # 9.8
        (98, "0.95", 5),  # 4.9
        (10, "0.9", 1),  # in floats (1 - 0.9) * 10 is just below 1
        (10, "0.7", 3),  # and (1 - 0.7) * 10 just above 3
        (100, "0.93", 7),
        (1000, "0.999", 1),
        (3, "0.99", 1),
        (1, "0.5", 1),
        (7, "0.1", 7),  # 6.3
    ],
)
def test_how_many_are_kept_by_hand(n: int, tau: str, n_kept: int) -> None:
    reward_S = 1 + np.random.default_rng(n).permutation(n).astype(np.float64)
    selection = select_quantile(reward_S, float(tau))
    assert selection.n_kept == n_kept
    assert sorted(reward_S[selection.kept]) == list(np.arange(n - n_kept, n) + 1.0)


@pytest.mark.heavy
def test_how_many_are_kept_by_exact_arithmetic() -> None:
    for n in range(1, 130):
        reward_S = np.arange(1, n + 1, dtype=np.float64)
        for percent in range(0, 100):
            exact = -((-(100 - percent) * n) // 100)  # ceiling, in integers
            assert select_quantile(reward_S, percent / 100).n_kept == exact, (n, percent)


def test_ties_stay_together() -> None:
    reward_S = np.array([1.0, 2.0, 2.0, 2.0, 3.0])
    assert select_quantile(reward_S, 0.6).kept.tolist() == [1, 2, 3, 4]  # 2 asked for
    assert select_quantile(reward_S, 0.8).kept.tolist() == [4]
    assert select_quantile(np.full(9, 0.25), 0.9).n_kept == 9


def test_tau_absolute_lies_just_below_the_lowest_kept_reward() -> None:
    tau = select_quantile(np.array([0.1, 0.2, 0.3, 0.4]), 0.5).tau_absolute
    assert tau < 0.3
    assert np.nextafter(tau, 1) == 0.3


def test_an_infinite_reward_is_the_highest() -> None:
    reward_S = np.array([1.0, np.inf, 5.0, np.inf])
    few = select_quantile(reward_S, 0.75)  # one asked for, and its equal
    assert few.kept.tolist() == [1, 3]
    assert few.tau_absolute == np.finfo(np.float64).max
    assert select_quantile(reward_S, 0.25).kept.tolist() == [1, 2, 3]


@pytest.mark.heavy
@given(reward_lists, tau_quantiles)
def test_exactly_the_kept_have_more_than_tau(values: list[float], tau: float) -> None:
    reward_S = np.array(values)
    selection = select_quantile(reward_S, tau)
    assert np.flatnonzero(reward_S > selection.tau_absolute).tolist() == selection.kept.tolist()


@pytest.mark.heavy
@given(reward_lists, tau_quantiles)
def test_no_more_are_kept_than_asked_for_but_for_ties(values: list[float], tau: float) -> None:
    reward_S = np.array(values)
    kept = reward_S[select_quantile(reward_S, tau).kept]
    asked = float((1 - Fraction(tau)) * len(values))
    assert len(kept) >= asked - 1e-8
    assert (kept > kept.min()).sum() < asked + 1e-8  # without the tie at the edge: too few


@pytest.mark.heavy
@given(reward_lists, tau_quantiles, tau_quantiles)
def test_a_higher_tau_keeps_a_subset(values: list[float], one: float, other: float) -> None:
    reward_S = np.array(values)
    low, high = (select_quantile(reward_S, tau) for tau in sorted([one, other]))
    assert set(high.kept) <= set(low.kept)
    assert low.tau_absolute <= high.tau_absolute


@pytest.mark.heavy
@given(reward_lists, tau_quantiles)
def test_the_unit_of_the_rewards_does_not_matter(values: list[float], tau: float) -> None:
    reward_S = np.array(values)
    kept = select_quantile(reward_S, tau).kept
    # Exact in floats. A factor of 10 may round two neighbours to one, so it gets well separated rewards.
    assert select_quantile(reward_S * 8, tau).kept.tolist() == kept.tolist()
    apart = np.unique(reward_S.round(3) + 1)
    assert (
        select_quantile(apart * 10, tau).kept.tolist() == select_quantile(apart, tau).kept.tolist()
    )


@pytest.mark.heavy
@given(reward_lists)
def test_0_keeps_all(values: list[float]) -> None:
    assert select_quantile(np.array(values), 0).kept.tolist() == list(range(len(values)))


@pytest.mark.parametrize("tau", [-0.01, 1.0, 1.5, float("nan")])
def test_a_tau_outside_its_range_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match=r"allowed: 0 <= tau_quantile < 1"):
        select_quantile(np.arange(4.0), tau)


@pytest.mark.parametrize("reward_S", [np.array([]), np.array([1.0, np.nan])])
def test_rewards_that_cannot_be_ranked_are_refused(reward_S: Floats) -> None:
    with pytest.raises(ValueError, match="not NaN"):
        select_quantile(reward_S, 0.5)


@pytest.mark.parametrize(
    ("aggregate", "distances"),
    [("mean", [3.0, 2.0, 0.0]), ("median", [2.0, 0.0, 0.0]), ("min", [1.0, 0.0, 0.0])],
)
def test_rewards_by_hand(aggregate: Aggregate, distances: list[float]) -> None:
    emd_ST = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 6.0], [0.0, 0.0, 0.0]])
    emd_S, reward_S = rewards(emd_ST, aggregate)
    assert emd_S.tolist() == distances
    expected = [1 / x if x else np.inf for x in distances]
    assert reward_S.tolist() == expected


def test_rewards_are_means_unless_told_otherwise() -> None:
    emd_ST = np.array([[1.0, 3.0]])
    assert rewards(emd_ST)[0].tolist() == [2.0]


def test_selection_recovers_planted_subjects_better_than_chance() -> None:
    # Two domains of feature clouds; one of three source subjects was recorded like the target.
    rng = np.random.default_rng(0)
    n_batches, shape = 10, (10, 32, 8)
    target = rng.normal(0.0, 1.0, (6, 32, 8))
    planted = rng.normal(0.0, 1.0, shape)
    others = [rng.normal(shift, 1.3, shape) for shift in (0.4, -0.3)]
    sources = np.concatenate([others[0], planted, others[1]])
    _, reward = rewards(emd_matrix(sources, target), "mean")
    kept = select_quantile(reward, 2 / 3).kept
    assert len(kept) == n_batches
    precision = np.isin(kept, np.arange(n_batches, 2 * n_batches)).mean()
    assert precision >= 0.9  # a random third would have 0.33


REWARDS = np.array([0.3, 0.1, 0.6, 0.2, 0.5, 0.4])


@pytest.mark.parametrize(
    ("budget", "kept"), [(1, [2]), (3, [2, 4, 5]), (6, range(6)), (99, range(6))]
)
def test_a_budget_keeps_the_best_and_no_more(budget: int, kept: Sequence[int]) -> None:
    selection = select_budget(REWARDS, budget)
    assert selection.kept.tolist() == list(kept)
    assert selection.tau_quantile == pytest.approx(1 - len(kept) / 6)
    # All readings name the same batches.
    assert select_absolute(REWARDS, selection.tau_absolute).kept.tolist() == list(kept)
    assert select_quantile(REWARDS, selection.tau_quantile).kept.tolist() == list(kept)


def test_a_budget_leaves_out_what_ties_at_the_cut() -> None:
    assert select_budget(np.array([2.0, 2.0, 3.0, 1.0]), 2).kept.tolist() == [2]
    assert select_budget(np.array([2.0, 2.0, 1.0]), 1).kept.tolist() == [0, 1]  # else none
    assert select_budget(np.array([np.inf, np.inf, 1.0]), 2).kept.tolist() == [0, 1]


@pytest.mark.parametrize(("tau", "kept"), [(0.0, range(6)), (0.3, [2, 4, 5]), (0.6, []), (7.0, [])])
def test_an_absolute_tau_keeps_what_lies_above_it(tau: float, kept: Sequence[int]) -> None:
    selection = select_absolute(REWARDS, tau)
    assert selection.kept.tolist() == list(kept)
    assert selection.tau_absolute == tau
    assert selection.tau_quantile == pytest.approx(1 - len(kept) / 6)


@pytest.mark.parametrize(
    ("select", "value"),
    [
        (select_budget, 0),
        (select_budget, 1.5),
        (select_absolute, np.nan),
        (select_absolute, np.inf),
    ],
)
def test_a_tau_that_is_none_is_refused(select: Callable[..., object], value: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        select(REWARDS, value)
    with pytest.raises(ValueError, match="NaN"):
        select(np.array([np.nan]), 1)
