"""A search that is asked again: the same seed and the same outcomes propose the same."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from orchestrator.config.proposals import Scheduler
from orchestrator.config.sweep_sections import SearchBase
from orchestrator.method import Scores
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ERROR, SIGNATURE, so_far
from orchestrator.sweeps.search.proposals import first_other, why_not_comparable
from orchestrator.sweeps.search.searcher import Hooks, begin_search
from orchestrator.sweeps.search.study import Study, reused_from
from search_spaces.selective import SPACE

USED = {name: SPACE[name] for name in ("tau_quantile", "learning_rate")}
FIRST = [{"tau_quantile": tau, "learning_rate": 1e-4} for tau in (0.0, 0.5)]
N_TRIALS = 24  # the sampler draws its first ten at random, whatever it is told
SEARCH = SearchBase(n_trials=N_TRIALS, max_concurrent=1)


def identify(params: Mapping[str, float]) -> str:
    """Taus of the same tenth train the same; what is too large cannot be told apart at all."""
    if params["tau_quantile"] > 0.94:
        raise ValueError("too large")
    return f"{params['tau_quantile']:.1f}" + (
        f"/{params['learning_rate']}" if params["tau_quantile"] < 0.7 else ""
    )


def objective(signature: str) -> float:
    return math.sin(sum(map(ord, signature)))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> list[optuna.trial.FrozenTrial]:
    """A search of one trial at a time, in which every fifth one fails."""
    study = Study("probe", tmp_path_factory.mktemp("search") / "optuna.journal")
    searcher = begin_search(
        study,
        USED,
        FIRST,
        SEARCH,
        seed=3,
        hooks=Hooks(
            identify=identify,
            evaluate=lambda params: Scores(values=(objective(identify(params)),)),
            evaluate_part=so_far,
            changed=lambda: None,
            told=lambda told: None,
            started=lambda name, signature, params: None,
            exhausted=lambda: None,
            is_held=lambda: False,
        ),
        halt=Halt(),
    )
    for number in itertools.count():
        params = searcher.suggest(str(number))
        if not isinstance(params, dict):
            break
        outcome = {ERROR: "no"} if number % 5 == 4 else {SIGNATURE: identify(params)}
        searcher.on_trial_complete(str(number), outcome)
    assert study.n_attempts == 1
    return study.trials


def other(trials: list[optuna.trial.FrozenTrial], folder: Path, **changes: Any) -> str | None:
    given = {"seed": 3, "identify": identify, **changes}
    return first_other(trials, USED, FIRST, SEARCH, journal=folder / "fresh.journal", **given)


def test_the_search_has_what_a_search_may_have(done: list[optuna.trial.FrozenTrial]) -> None:
    assert len(done) == N_TRIALS
    assert any(reused_from(trial) for trial in done)
    assert any(trial.value is None for trial in done)


def test_the_same_seed_and_outcomes_propose_the_same(
    done: list[optuna.trial.FrozenTrial], tmp_path: Path
) -> None:
    assert other(done, tmp_path) is None


def test_another_seed_proposes_otherwise_from_the_first_draw(
    done: list[optuna.trial.FrozenTrial], tmp_path: Path
) -> None:
    assert other(done, tmp_path, seed=4) == "t002"


def changed(trial: optuna.trial.FrozenTrial, **changes: Any) -> optuna.trial.FrozenTrial:
    given = {
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": trial.user_attrs,
        "value": trial.value,
        "state": trial.state,
    }
    return optuna.trial.create_trial(**given | changes)


def test_a_changed_objective_shows_in_a_later_proposal(
    done: list[optuna.trial.FrozenTrial], tmp_path: Path
) -> None:
    assert done[0].value is not None
    found = other([changed(done[0], value=done[0].value + 9), *done[1:]], tmp_path)
    assert found is not None
    assert int(found[1:]) >= 10


def test_a_changed_parameter_is_found_where_it_is(
    done: list[optuna.trial.FrozenTrial], tmp_path: Path
) -> None:
    params = {**done[7].params, "learning_rate": np.nextafter(done[7].params["learning_rate"], 1)}
    trials = [*done[:7], changed(done[7], params=params), *done[8:]]
    assert other(trials, tmp_path) == "t007"


@pytest.mark.parametrize(
    ("search", "n_attempts", "reason"),
    [
        (SearchBase(n_trials=3, max_concurrent=1), 1, None),
        (SearchBase(n_trials=1, max_concurrent=2), 1, None),
        (SearchBase(n_trials=3, max_concurrent=1), 2, "interrupted"),
        (SearchBase(n_trials=3, max_concurrent=2), 1, "side by side"),
        (SearchBase(n_trials=3, max_concurrent=1, warm_start=("old",)), 1, "other sweeps"),
        (
            SearchBase(n_trials=3, max_concurrent=1, scheduler=Scheduler(name="asha")),
            1,
            "a scheduler",
        ),
        (None, 0, "no search"),
    ],
)
def test_proposals_that_depend_on_the_order_of_ends_are_not_compared(
    search: SearchBase | None, n_attempts: int, reason: str | None
) -> None:
    found = why_not_comparable(search, n_attempts)
    assert (found is None) == (reason is None)
    if reason is not None:
        assert found is not None
        assert reason in found
