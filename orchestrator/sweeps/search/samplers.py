"""From a sweep file to the parts of Optuna that propose trials and end them."""

import warnings
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.config.proposals import ASHA, AUTO, NONE, built, takes
from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import ConfigError
from search_spaces.space import Choice, Declared, Integer, LogUniform, Space


def sampler_of(search: SearchBase, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a search.

    Parameters
    ----------
    search : SearchBase
    space : Space
        What it draws from.
    seed : int
        Of this attempt: a sampler that begins again with the same seed repeats its first draws.
    """
    name = search.sampler.name
    if name == AUTO:
        name = "tpe" if search.n_objectives == 1 else "nsgaii"
    defaults: dict[str, dict[str, Any]] = {
        "tpe": {"multivariate": True},
        "nsgaii": {"population_size": min(50, max(4, search.n_trials // 5))},
    }
    options = {**defaults.get(name, {}), **search.sampler.options}
    if takes("Sampler", name, "seed"):
        options["seed"] = seed
    sampler: optuna.samplers.BaseSampler = built("Sampler", name, options)
    return sampler


def check_sampler(search: SearchBase, space: Space) -> None:
    """Check that a sampler can draw from a space, by a few draws that nobody sees.

    Raises
    ------
    ConfigError
        It needs a package that is missing, or cannot have such a space or as many objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = sampler_of(search, space, seed=0)
    study = optuna.create_study(sampler=sampler, directions=search.directions)
    try:
        for i in range(3):
            trial = study.ask()
            draw(trial, space)
            study.tell(trial, [float(i)] * search.n_objectives)
    except (ImportError, ValueError) as error:
        raise ConfigError(sampler_problem(error)) from None
    except RuntimeError:  # a finite space that is tried already
        return


def sampler_problem(error: Exception) -> str:
    """Return what to say of an error of a sampler."""
    if isinstance(error, ImportError):
        return f"search.sampler needs a package that is not installed: {error}"
    return f"search.sampler cannot draw from this space: {error} Name another sampler, or change the space."


def pruner_of(search: SearchBase) -> optuna.pruners.BasePruner | None:
    """Return who ends trials without hope; None where nobody does.

    Optuna's pruners know what earlier attempts reported, since that is in the journal; Ray Tune's schedulers begin
    anew with each process.
    """
    scheduler = search.scheduler
    if scheduler.name == NONE:
        return None
    if scheduler.name == ASHA:
        options = {"min_resource": 1, "reduction_factor": 3, **scheduler.options}
        pruner: optuna.pruners.BasePruner = built("Pruner", "successivehalving", options)
    else:
        options = dict(scheduler.options)
        if search.warm_start and takes("Pruner", scheduler.name, "n_min_trials"):
            # Trials of other sweeps count as startup trials, though there are no reports of theirs to compare with.
            options = {"n_min_trials": options.get("n_startup_trials", 5), **options}
        pruner = built("Pruner", scheduler.name, options)
    return pruner


def distribution(declared: Declared) -> BaseDistribution:
    """Return a range in Optuna's terms."""
    match declared:
        case Choice():
            return CategoricalDistribution(declared.options)
        case Integer():
            return IntDistribution(declared.low, declared.high)
        case _:
            log = isinstance(declared, LogUniform)
            return FloatDistribution(declared.low, declared.high, log=log)


def draw(trial: optuna.Trial, space: Space) -> None:
    """Have the sampler of a trial's study draw every parameter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name, declared in space.items():
            match of := distribution(declared):
                case FloatDistribution():
                    trial.suggest_float(name, of.low, of.high, log=of.log)
                case IntDistribution():
                    trial.suggest_int(name, of.low, of.high)
                case CategoricalDistribution():
                    trial.suggest_categorical(name, of.choices)
