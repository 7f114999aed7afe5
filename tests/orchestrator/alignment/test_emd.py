"""Exact EMD: against linear programming and assignment, at known distances, and whatever the tiling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from orchestrator.alignment.emd import Metric, emd, emd_matrix
from orchestrator.errors import DataError, FeatureMismatchError, SolverError

METRICS: Sequence[Metric] = ("euclidean", "sqeuclidean")
Floats = NDArray[np.float64]


def by_linear_programming(source: Floats, target: Floats, metric: Metric) -> float:
    """Cheapest transport by its definition: masses 1/n and 1/m as equality constraints."""
    n, m = len(source), len(target)
    leaves, arrives = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    solution = linprog(
        cdist(source, target, metric).reshape(-1),
        A_eq=np.vstack([leaves, arrives]),
        b_eq=np.r_[np.full(n, 1 / n), np.full(m, 1 / m)],
        method="highs",
    )
    assert solution.success
    return float(solution.fun)


def by_assignment(source: Floats, target: Floats, metric: Metric) -> float:
    cost = cdist(source, target, metric)
    return float(cost[linear_sum_assignment(cost)].mean())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (4, 4, 3), (6, 9, 2), (12, 5, 7), (1, 8, 4)])
def test_emd_is_the_optimum_of_the_linear_program(n: int, m: int, d: int, metric: Metric) -> None:
    rng = np.random.default_rng(n * 100 + m)
    for _ in range(3):
        source, target = rng.normal(size=(n, d)), rng.normal(0.7, 2, size=(m, d))
        expected = by_linear_programming(source, target, metric)
        assert emd(source, target, metric) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "d"), [(32, 30), (32, 2400), (128, 30)])
def test_equal_sizes_are_an_assignment(n: int, d: int, metric: Metric) -> None:
    rng = np.random.default_rng(d)
    source, target = rng.normal(size=(n, d)), rng.gamma(2.0, size=(n, d))
    assert emd(source, target, metric) == pytest.approx(
        by_assignment(source, target, metric), rel=1e-12
    )


def test_ties_and_repeated_epochs() -> None:
    rng = np.random.default_rng(3)
    source, target = (rng.integers(0, 3, size=(24, 2)).astype(float) for _ in range(2))
    assert emd(source, target) == pytest.approx(by_assignment(source, target, "euclidean"))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "d", "offset"),
    [
        (32, 30, 0.0),
        (32, 2400, 5.0),
        (
            33,
            4,
            1e3,
        ),  # a norm at which |x|^2 + |y|^2 - 2xy leaves 1e-7 or more between equal epochs
        (128, 30, 1e6),
        (128, 1, 1e6),  # and here the cheapest plan of those costs is a wrong one
    ],
)
def test_identical_batches_are_exactly_0_apart(
    n: int, d: int, offset: float, kind: str, metric: Metric
) -> None:
    rng = np.random.default_rng(n + d)
    source = (rng.normal(size=(n, d)) + offset).astype(kind)
    assert emd(source, source.copy(), metric) == 0
    assert emd(source, source[rng.permutation(n)], metric) == 0


def test_far_from_the_origin_digits_are_kept() -> None:
    rng = np.random.default_rng(4)
    source, target = rng.normal(size=(2, 64, 2))
    source, target = source + 1e7, target + 1e7
    expected = by_assignment(source, target, "euclidean")  # cdist subtracts first
    assert emd(source, target) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_shared_epoch_among_others_adds_nothing(metric: Metric) -> None:
    # In one dimension the sorted epochs are matched: 0 to 0, and 38.0 to 38.5.
    source, target = np.array([[0.0], [38.0]]), np.array([[38.5], [0.0]])
    assert emd(source, target, metric) == (0.25 if metric == "euclidean" else 0.125)


@pytest.mark.parametrize("metric", METRICS)
def test_symmetry(metric: Metric) -> None:
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(10, 6)), rng.normal(1, 1, size=(7, 6))
    assert emd(source, target, metric) == pytest.approx(emd(target, source, metric), rel=1e-12)


@pytest.mark.heavy
@given(
    source=arrays(np.float64, (5, 3), elements=st.floats(-100, 100)),
    vector=arrays(np.float64, 3, elements=st.floats(-100, 100)),
)
@settings(max_examples=50, deadline=None)
def test_a_shift_costs_its_length(source: Floats, vector: Floats) -> None:
    target = source + vector
    length = float(np.linalg.norm(vector))
    assert emd(source, target) == pytest.approx(length, rel=1e-9, abs=1e-12)
    assert emd(source, target, "sqeuclidean") == pytest.approx(length**2, rel=1e-9, abs=1e-12)


@pytest.mark.heavy
@given(
    clouds=st.tuples(*[arrays(np.float32, (4, 2), elements=st.floats(-8, 8, width=16))] * 3),
)
@settings(max_examples=50, deadline=None)
def test_w1_is_a_distance(clouds: tuple[Any, Any, Any]) -> None:
    a, b, c = clouds
    assert emd(a, a) == 0
    assert emd(a, b) >= 0
    assert (emd(a, b) == 0) == (sorted(map(tuple, a)) == sorted(map(tuple, b)))
    assert emd(a, c) <= emd(a, b) + emd(b, c) + 1e-9


@pytest.mark.heavy
@given(
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
@settings(max_examples=40, deadline=None)
def test_random_small_problems_against_linear_programming(
    n: int, m: int, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    expected = by_linear_programming(source, target, "euclidean")
    assert emd(source * scale, target * scale) == pytest.approx(expected * scale, rel=1e-7)


def test_float32_gives_what_its_values_give_in_float64() -> None:
    source, target = np.random.default_rng(6).normal(size=(2, 32, 30)).astype(np.float32)
    value = emd(source, target)
    assert type(value) is float
    assert value == emd(source.astype(np.float64), target.astype(np.float64))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [30, 2400])
def test_the_tiling_does_not_change_a_bit(d: int, metric: Metric) -> None:
    rng = np.random.default_rng(7)
    sources = rng.normal(size=(7, 16, d)).astype(np.float32)
    targets = rng.normal(0.3, 1.2, size=(5, 16, d)).astype(np.float32)
    whole = emd_matrix(sources, targets, metric)
    assert whole.shape == (7, 5)
    assert whole.dtype == np.float64
    for rows, columns in [(slice(0, 3), slice(0, 5)), (slice(3, 7), slice(1, 2))]:
        part = emd_matrix(sources[rows], targets[columns], metric)
        assert part.tobytes() == whole[rows, columns].tobytes()
    assert emd(sources[2], targets[4], metric) == whole[2, 4]


def test_the_matrix_takes_unequal_sizes() -> None:
    rng = np.random.default_rng(8)
    sources, targets = rng.normal(size=(2, 6, 3)), rng.normal(size=(3, 4, 3))
    expected = [[by_linear_programming(s, t, "euclidean") for t in targets] for s in sources]
    np.testing.assert_allclose(emd_matrix(sources, targets), expected, rtol=1e-9)


def test_features_of_different_encoders_do_not_compare() -> None:
    with pytest.raises(FeatureMismatchError, match=r"30 dimensions.*128") as caught:
        emd(np.zeros((4, 30)), np.zeros((4, 128)))
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_value_that_is_not_finite_has_no_distance(value: float, side: int) -> None:
    clouds = np.zeros((2, 4, 3))
    clouds[side, 1, 2] = value
    with pytest.raises(SolverError, match="NaN or infinity"):
        emd(clouds[0], clouds[1])


def test_a_solver_that_stops_early_gives_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.alignment.emd._MAX_PIVOTS", 1)
    source, target = np.random.default_rng(9).normal(size=(2, 32, 3))
    with (
        pytest.warns(UserWarning, match="numItermax"),
        pytest.raises(SolverError, match="stopped early"),
    ):
        emd(source, target)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'cosine' is unknown; allowed: euclidean, sqeuclidean"):
        emd(np.zeros((2, 2)), np.zeros((2, 2)), "cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [((3,), (3, 1), "expected batches"), ((0, 2), (3, 2), "empty"), ((3, 2), (0, 2), "empty")],
)
def test_shapes_that_are_no_clouds_are_refused(
    source: tuple[int, ...], target: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        emd(np.zeros(source), np.zeros(target))
