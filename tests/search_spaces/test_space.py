import math

import pytest

from search_spaces.space import Choice, Integer, LogUniform, Uniform
from trainables.errors import SettingsError


@pytest.mark.parametrize("cls", [Uniform, LogUniform])
def test_contains_its_limits_and_nothing_beyond(cls: type[Uniform] | type[LogUniform]) -> None:
    space = cls(0.1, 2.0)
    assert all(space.contains(value) for value in (0.1, 1, 2.0))
    outside = (0.1 - 1e-12, 2.0 + 1e-12, math.nan, math.inf, -1)
    assert not any(space.contains(value) for value in outside)


@pytest.mark.parametrize(
    ("cls", "low", "high"),
    [
        (Uniform, 1.0, 1.0),
        (Uniform, 2.0, 1.0),
        (Uniform, math.nan, 1.0),
        (Uniform, 0.0, math.inf),
        (LogUniform, 0.0, 1.0),
        (LogUniform, -1.0, 1.0),
    ],
)
def test_impossible_limits_are_refused(
    cls: type[Uniform] | type[LogUniform], low: float, high: float
) -> None:
    with pytest.raises(SettingsError, match=f"low is {low}"):
        cls(low, high)


def test_uniform_may_reach_below_zero() -> None:
    assert Uniform(-1.0, 1.0).contains(-0.5)


def test_integers_are_whole() -> None:
    space = Integer(1, 5)
    assert all(space.contains(value) for value in (1, 3, 5, 5.0))
    assert not any(space.contains(value) for value in (0, 6, 2.5, math.nan))
    for low, high in ((1, 1), (3, 2), (0.5, 2)):
        with pytest.raises(SettingsError, match=f"low is {low}"):
            Integer(low, high)  # type: ignore[arg-type]


def test_a_choice_has_distinct_options() -> None:
    space = Choice(("constant", "dann"))
    assert space.contains("dann")
    assert not space.contains("other")
    for options in ((), ("one",), ("a", "a")):
        with pytest.raises(SettingsError, match="at least two, each once"):
            Choice(options)
