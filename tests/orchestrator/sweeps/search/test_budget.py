"""Budgets of a search: time side by side, GPU time added up, trials without gain; each counted by hand."""

from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.sweeps.search.budget import exhausted, gpu_time, n_without_gain, spent

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


def trial(
    began: float | None, ended: float | None, value: float | None = 0.5, number: int = 0
) -> FrozenTrial:
    """Return a trial from and to a minute after ten; without an end it runs, without a value it failed."""
    state = TrialState.COMPLETE if value is not None else TrialState.FAIL
    made = optuna.trial.create_trial(state=state, value=value)
    made.number = number
    if ended is None:
        made.state = TrialState.RUNNING if began is not None else TrialState.WAITING
    made.datetime_start = None if began is None else local(TEN + minutes(began))
    made.datetime_complete = None if ended is None else local(TEN + minutes(ended))
    return made


def local(time: datetime) -> datetime:
    """Return a time as Optuna reads it from a journal."""
    return time.astimezone().replace(tzinfo=None)


# Two side by side, one inside another, a pause of a quarter of an hour, one that runs, one that waits.
TRIALS = [
    trial(0, 10), trial(5, 15), trial(6, 8), trial(30, 40), trial(35, None), trial(None, None),
]  # fmt: skip


def test_time_side_by_side_counts_once_and_pauses_do_not() -> None:
    assert spent(TRIALS, TEN + minutes(50)) == minutes(15 + 20)
    assert spent([], TEN) == minutes(0)


def test_gpu_time_adds_up() -> None:
    assert gpu_time(TRIALS, 0.5, TEN + minutes(50)) == minutes((10 + 10 + 2 + 10 + 15) / 2)
    assert gpu_time([], 2, TEN) == minutes(0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.5, 0.4], 2),  # to reach the best again is no gain
        ([0.5, 0.4, 0.6], 0),
        ([0.5, None, 0.4, None], 3),
        ([None, None], 2),
    ],
)
def test_trials_without_gain(values: list[float | None], expected: int) -> None:
    trials = [trial(i, i + 1, value, i) for i, value in enumerate(values)]
    assert n_without_gain(trials) == expected
    assert n_without_gain(trials[::-1]) == expected  # in the order in which they ended


def test_a_trial_that_was_interrupted_is_not_one_without_gain() -> None:
    trials = [
        trial(0, 1, 0.5, 0),
        trial(1, 2, None, 1),
        trial(1, 2, None, 2),
        trial(3, None, 0.5, 3),
    ]
    for each, name in zip(trials, ("t000", "t001", "t002", "t001"), strict=True):
        each.user_attrs = {"trial": name}
    assert n_without_gain(trials) == 1  # t002, which failed; t001 runs again


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"max_hours": 0.6}, None),
        ({"max_hours": 0.5}, "max_hours 0.5"),
        ({"max_gpu_hours": 1.6}, None),
        ({"max_gpu_hours": 1.5}, "max_gpu_hours 1.5"),
        ({"plateau": 4}, None),
        ({"plateau": 3}, "plateau 3"),
    ],
)
def test_the_limit_that_was_reached_is_named(
    limits: dict[str, float], expected: str | None
) -> None:
    search = SearchBase.model_validate({"n_trials": 99, **limits})
    assert exhausted(search, 2, TRIALS, TEN + minutes(50)) == expected


def test_money() -> None:
    search = SearchBase(n_trials=9, max_usd=12.5)
    assert exhausted(search, 0, [], TEN, usd=12.49) is None
    assert exhausted(search, 0, [], TEN, usd=12.5) == "max_usd 12.5"
