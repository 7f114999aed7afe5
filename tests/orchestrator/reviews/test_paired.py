import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap

from orchestrator.reviews.paired import paired


def test_wilcoxon_by_counting_every_assignment_of_signs() -> None:
    differences = [0.05, 0.02, -0.01, 0.04, 0.03, -0.06, 0.08, 0.07]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
    sums = [np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(ranks))]
    extreme = min(np.mean([s >= observed for s in sums]), np.mean([s <= observed for s in sums]))
    found = paired(differences)
    assert found is not None
    assert found.p_value == pytest.approx(2 * extreme)
    assert found.mean == pytest.approx(0.0275)


def test_interval_is_the_percentile_bootstrap() -> None:
    differences = np.random.default_rng(3).normal(0.02, 0.05, 30)
    found = paired(differences.tolist())
    other = bootstrap((differences,), np.mean, method="percentile", rng=np.random.default_rng(7))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(
        (other.confidence_interval.low, other.confidence_interval.high), abs=0.002
    )


def test_same_differences_same_interval() -> None:
    differences = np.random.default_rng(3).normal(0.02, 0.05, 10).tolist()
    assert paired(differences) == paired(differences)


def test_few_pairs_have_a_mean_and_nothing_else() -> None:
    found = paired([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found is not None
    assert (found.n, found.low, found.high, found.p_value) == (5, None, None, None)
    assert found.mean == pytest.approx(0.3)
    assert not found.agrees(0.3)
    assert paired([]) is None


def test_no_difference_at_all_has_p_1() -> None:
    # 0.1 + 0.2 - 0.3 is not zero in floating point, but is no difference.
    found = paired([0.0] * 5 + [0.1 + 0.2 - 0.3])
    assert found is not None
    assert (found.low, found.high, found.p_value) == (0.0, 0.0, 1.0)
    assert not found.agrees(0.1)


def test_agreement_needs_the_side_and_the_test() -> None:
    all_up = paired([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert all_up is not None
    assert all_up.p_value == pytest.approx(2 / 64)
    assert all_up.agrees(0.02)
    assert not all_up.agrees(-0.02)
    # One subject carries the mean: the interval leaves out zero, the ranks do not convince.
    carried = paired([-0.02, -0.01, 0.9, 0.8, 0.7, 0.85])
    assert carried is not None
    assert carried.low is not None
    assert carried.low > 0
    assert carried.p_value == pytest.approx(2 * 5 / 64)
    assert not carried.agrees(0.4)
