"""Sections of a search that name a part of Optuna: who proposes trials, and who ends those without hope."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from orchestrator.config.fields import Text
from orchestrator.config.suggest import did_you_mean
from orchestrator.config.validation import Section, wrong_key

AUTO = "auto"
"""TPE for one objective, NSGA-II for several."""

ASHA = "asha"
"""Asynchronous successive halving, which Optuna knows as ``SuccessiveHalvingPruner``."""

NONE = "none"


class Sampler(Section):
    """One of Optuna's samplers."""

    name: Text = AUTO
    """``tpe``, ``random``, ``nsgaii`` or another of Optuna's samplers by the name of its class, in small letters and
    without the word Sampler. ``auto``: TPE for one objective, NSGA-II for several."""
    options: dict[str, Any] = Field(default={}, examples=[{"n_startup_trials": 5}])
    """Arguments of the sampler, as Optuna names them; the seed comes from the sweep. Unless given otherwise, TPE is
    multivariate, and NSGA-II has a fifth of ``n_trials`` in a generation, 4 to 50."""

    @model_validator(mode="after")
    def _known(self) -> "Sampler":
        if self.name != AUTO:
            _check("Sampler", self.name, self.options, (AUTO,), of_the_sweep=("seed",))
        elif self.options:
            raise wrong_key("options", "needs a name; say which sampler they are for")
        return self


class Scheduler(Section):
    """One of Optuna's pruners."""

    name: Text = NONE
    """``none``, ``asha`` (asynchronous successive halving), ``median``, ``hyperband`` or another of
    Optuna's pruners by the name of its class, in small letters and without the word Pruner."""
    options: dict[str, Any] = Field(default={}, examples=[{"reduction_factor": 4}])
    """Arguments of the scheduler, as Optuna names them. Unless given otherwise, ASHA looks after the first report
    (``min_resource: 1``) and lets the best third go on (``reduction_factor: 3``)."""

    @model_validator(mode="after")
    def _known(self) -> "Scheduler":
        if self.name not in (NONE, ASHA):
            _check("Pruner", self.name, self.options, (NONE, ASHA))
        elif self.name == ASHA:
            _check("Pruner", "successivehalving", self.options, ())
        elif self.options:
            raise wrong_key("options", "needs a scheduler; say which one they are for")
        return self


def classes(kind: str) -> Mapping[str, type]:
    """Return Optuna's classes of a kind by the name that a sweep file gives them.

    Parameters
    ----------
    kind : str
        ``Sampler`` or ``Pruner``.
    """
    import optuna  # the command line must not wait for it

    module = optuna.samplers if kind == "Sampler" else optuna.pruners
    # These take an object, not a value; and Wilcoxon's test wants reports that do not depend on each other.
    left_out = {"PatientPruner", "PartialFixedSampler", "WilcoxonPruner"}
    names = {name for name in vars(module) if name.endswith(kind) and name not in left_out}
    found = {name: getattr(module, name) for name in sorted(names)}
    return {
        name.removesuffix(kind).lower(): cls
        for name, cls in found.items()
        if not inspect.isabstract(cls)
    }


def built(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Return one of Optuna's samplers or pruners.

    Raises
    ------
    TypeError, ValueError
        Optuna does not take these options.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return classes(kind)[name](**options)


def takes(kind: str, name: str, option: str) -> bool:
    """Tell whether a sampler or pruner has such an option."""
    return option in inspect.signature(classes(kind)[name]).parameters


def _check(
    kind: str,
    name: str,
    options: Mapping[str, Any],
    besides: tuple[str, ...],
    of_the_sweep: tuple[str, ...] = (),
) -> None:
    """Refuse an unknown name, an unknown option, and a value that Optuna does not take."""
    known = classes(kind)
    if name not in known:
        allowed = [*besides, *known]
        raise wrong_key(
            "name", f"not allowed.{did_you_mean(name, allowed)} Allowed: {', '.join(allowed)}"
        )
    allowed = [o for o in inspect.signature(known[name]).parameters if o not in of_the_sweep]
    for option in options:
        if option not in allowed:
            problem = f"not an option.{did_you_mean(option, allowed)} Allowed: {', '.join(allowed)}"
            raise wrong_key("options", problem, option)
    try:
        built(kind, name, options)
    except (TypeError, ValueError) as error:
        raise wrong_key("options", f"not accepted by Optuna: {error}") from None
