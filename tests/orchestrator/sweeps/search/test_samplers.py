"""Who proposes and who ends trials: Optuna's own classes, with our defaults."""

from typing import Any

import optuna
import pytest

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import ConfigError
from orchestrator.methods.sleepmg.config.objectives import FURTHER
from orchestrator.sweeps.search.samplers import check_sampler, pruner_of, sampler_of
from search_spaces.space import Choice, Declared, Uniform

PLAIN: dict[str, Declared] = {"x": Uniform(0, 1)}


class Search(SearchBase):
    further = FURTHER


def search(**keys: Any) -> SearchBase:
    return Search.model_validate({"n_trials": 100, **keys}, strict=False)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, optuna.samplers.TPESampler),
        ({"also": ["cost"]}, optuna.samplers.NSGAIISampler),
        ({"also": ["cost"], "sampler": {"name": "tpe"}}, optuna.samplers.TPESampler),
        ({"sampler": {"name": "random"}}, optuna.samplers.RandomSampler),
        ({"sampler": {"name": "gp"}}, optuna.samplers.GPSampler),
        ({"sampler": {"name": "bruteforce"}}, optuna.samplers.BruteForceSampler),
    ],
)
def test_the_sampler_follows_name_and_objectives(keys: dict[str, Any], kind: type) -> None:
    assert type(sampler_of(search(**keys), PLAIN, seed=1)) is kind


def test_tpe_is_multivariate() -> None:
    sampler: Any = sampler_of(search(), PLAIN, seed=1)
    assert sampler._multivariate


def test_options_go_before_our_defaults() -> None:
    sampler: Any = sampler_of(
        search(sampler={"name": "tpe", "options": {"multivariate": False, "n_startup_trials": 3}}),
        PLAIN,
        seed=1,
    )
    assert (sampler._multivariate, sampler._n_startup_trials) == (False, 3)


@pytest.mark.parametrize(("n_trials", "size"), [(10, 4), (100, 20), (1000, 50)])
def test_generations_fit_into_the_search(n_trials: int, size: int) -> None:
    sampler: Any = sampler_of(search(n_trials=n_trials, also=["cost"]), PLAIN, seed=1)
    assert sampler.population_size == size


def test_the_seed_is_that_of_the_attempt() -> None:
    drawn = []
    for seed in (1, 1, 2):
        study = optuna.create_study(sampler=sampler_of(search(), PLAIN, seed))
        drawn.append(study.ask().suggest_float("x", 0, 1))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("keys", "space", "said"),
    [
        ({"sampler": {"name": "bruteforce"}}, PLAIN, "cannot draw from this space"),
        (
            {"sampler": {"name": "grid", "options": {"search_space": {"y": [1]}}}},
            PLAIN,
            "cannot draw from this space",
        ),
        ({}, PLAIN, None),
        ({"also": ["worst_subject"]}, PLAIN, None),
        ({"sampler": {"name": "gp"}}, PLAIN, None),
        ({"sampler": {"name": "bruteforce"}}, {"way": Choice(("a", "b"))}, None),
    ],
)
def test_a_sampler_that_cannot_draw_is_told_before_anything_runs(
    keys: dict[str, Any], space: dict[str, Declared], said: str | None
) -> None:
    if said is None:
        check_sampler(search(**keys), space)
    else:
        with pytest.raises(ConfigError, match=said):
            check_sampler(search(**keys), space)


def test_trials_of_other_sweeps_are_no_median() -> None:
    median: Any = pruner_of(search(scheduler={"name": "median"}, warm_start=["old"]))
    assert median._n_min_trials == 5
    median = pruner_of(search(scheduler={"name": "median"}))
    assert median._n_min_trials == 1


def test_nobody_ends_trials_unless_that_is_wanted() -> None:
    assert pruner_of(search()) is None
    asha: Any = pruner_of(search(scheduler={"name": "asha"}))
    assert type(asha) is optuna.pruners.SuccessiveHalvingPruner
    assert (asha._min_resource, asha._reduction_factor) == (1, 3)
    asha = pruner_of(search(scheduler={"name": "asha", "options": {"reduction_factor": 5}}))
    assert asha._reduction_factor == 5
    median = pruner_of(search(scheduler={"name": "median"}))
    assert type(median) is optuna.pruners.MedianPruner
