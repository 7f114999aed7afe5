"""Optuna proposes, Ray Tune runs: the searcher between them, which sees that nothing is done twice."""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orchestrator.errors import OrchestratorError
from orchestrator.sweep.failures import described, ends_sweep, from_data
from orchestrator.sweep.halt import Halt
from orchestrator.sweep.study import (
    NOT_A_NUMBER,
    Study,
    give_name,
    name_of,
    note_outcome,
    signature_of,
)
from search_spaces.space import Choice, Conditional, Declared, Integer, LogUniform

METRIC = "objective"
SIGNATURE = "signature"
"""Key of a trial's report: under which name its predictions are stored."""
ERROR = "error"
"""Key of a trial's report: why there are none."""
ENDS_SWEEP = "ends_sweep"
"""Key of a trial's report: an error that is no fault of the trial, see :mod:`orchestrator.sweep.failures`."""
N_PARTS = "n_parts"
"""Key of an intermediate report: how many parts of the trial are done."""

DIED = "the trial's process died, each time that it was tried"

Ranges = Mapping[str, Declared]
"""What is searched, by name; a parameter after the one that its existence depends on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What became of a trial, as the study was told."""

    trial: str
    signature: str | None
    objective: float | None
    error: str | None
    reused_from: str | None
    """The trial whose training this one shares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """What the driver does for a search; not one of these runs in a trial."""

    identify: Callable[[Mapping[str, float]], str]
    """Sampled parameters to the signature that the predictions will have: equal ones are trained once."""
    objective: Callable[[str], float]
    """Signature of predictions to the value to maximise; may read labels."""
    changed: Callable[[], None]
    """After each change of the study."""
    told: Callable[[Told], None]
    """After each trial that ended."""
    started: Callable[[str, Mapping[str, float]], None]
    """Before each trial that is run: its name and parameters."""
    exhausted: Callable[[], str | None]
    """Which budget is used up, if one is: then no trial begins any more."""
    is_held: Callable[[], bool]
    """Whether no trial may begin for the time being."""


class StudySearch(OptunaSearch):
    """OptunaSearch that computes the objective in the driver, where labels may be read, and trains nothing twice.

    A trial reports only the signature of its predictions. A value that is not finite counts as a failed trial:
    Optuna would refuse it and the trial would stay RUNNING.

    Parameters
    ----------
    study : Study
    space : Ranges
    sampler : optuna.samplers.BaseSampler
    n_trials : int
        Trials in all, those of earlier attempts included.
    hooks : Hooks
    halt : Halt
        Looked at before each proposal; stopped by an error that ends the sweep.
    """

    def __init__(
        self,
        study: Study,
        space: Ranges,
        sampler: optuna.samplers.BaseSampler,
        *,
        n_trials: int,
        hooks: Hooks,
        halt: Halt,
    ) -> None:
        distributions: dict[str, BaseDistribution] = {
            name: _distribution(declared) for name, declared in space.items()
        }
        super().__init__(
            metric=METRIC,
            mode="max",
            space=distributions,
            sampler=sampler,
            storage=study.storage,
            study_name=study.name,
        )
        self._study: optuna.Study = self._ot_study  # type: ignore[assignment]
        self.ended_by: str | None = None
        """Which budget ended the search before its last trial."""
        self._declared = space
        self._distributions = distributions
        self._hooks = hooks
        self._halt = halt
        self._n_left = n_trials - len(study.trials)
        self._n_named = study.n_named
        self._done: dict[str, tuple[str, float]] = {}  # signature -> first trial, its value
        for trial in study.trials:
            if (signature := signature_of(trial)) is not None:
                assert trial.value is not None
                self._done.setdefault(signature, (name_of(trial), trial.value))
        self._running: dict[str, str] = {}  # signature -> id of Tune's trial
        self._waiting: dict[str, list[optuna.Trial]] = defaultdict(list)

    def __getstate__(self) -> dict[str, Any]:
        """Leave our functions out: Tune pickles the searcher into a snapshot that nothing reads."""
        ours = {"_hooks", "_halt"}
        return {key: value for key, value in self.__dict__.items() if key not in ours}

    def name_of(self, trial_id: str) -> str:
        """Return the name of a trial that runs."""
        return name_of(self._ot_trials[trial_id])

    def suggest(self, trial_id: str) -> Any:
        """Propose parameters, or say that there are none any more, or none now.

        What another trial has trained is told to the study at once; what another one trains now, when that ends.
        """
        while self._n_left > 0 and not self._halt.draining:
            if (budget := self._hooks.exhausted()) is not None:
                self.ended_by = budget
                return Searcher.FINISHED
            if self._hooks.is_held():
                return None
            self._n_left -= 1
            trial = self._study.ask()
            for name, declared in self._declared.items():
                if not isinstance(declared, Conditional) or declared.exists(trial.params):
                    _draw(trial, name, self._distributions[name])
            self._n_named += give_name(trial, f"t{self._n_named:03d}") == f"t{self._n_named:03d}"
            self._hooks.changed()
            try:
                signature = self._hooks.identify(trial.params)
            except ValueError as error:
                self._tell(trial, _Outcome(error=described(error)))
                continue
            if signature in self._done:
                original, value = self._done[signature]
                found = _Outcome(signature=signature, value=value, reused_from=original)
                self._tell(trial, found)
            elif signature in self._running:
                self._waiting[signature].append(trial)
            else:
                self._running[signature] = trial_id
                self._ot_trials[trial_id] = trial
                self._hooks.started(self.name_of(trial_id), trial.params)
                return dict(trial.params)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore intermediate results: they hold no objective, and only the last report is told to the study."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study the objective of a finished trial, or that it failed; and the same of all that wait for it.

        A trial that was ended with the sweep stays as it is: it will be taken up again.
        """
        trial = self._ot_trials.pop(trial_id, None)
        if trial is None:
            return
        (signature,) = (name for name, runs in self._running.items() if runs == trial_id)
        del self._running[signature]
        waiting = self._waiting.pop(signature, [])
        outcome = self._outcome(result or {})
        if outcome is None:
            return
        if outcome.value is not None:
            self._done[signature] = (name_of(trial), outcome.value)
        self._tell(trial, outcome)
        for other in waiting:
            self._tell(other, replace(outcome, reused_from=name_of(trial)))

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the record, and Tune's snapshot of the searcher would repeat trials."""

    def _outcome(self, result: Mapping[str, Any]) -> "_Outcome | None":
        """Return what a trial's last report comes to; None where it was ended with the sweep."""
        if ENDS_SWEEP in result:
            self._halt.stop(from_data(result[ENDS_SWEEP]))
            return None
        if SIGNATURE in result:
            try:
                value = self._hooks.objective(result[SIGNATURE])
            except OrchestratorError as problem:
                if ends_sweep(problem):
                    self._halt.stop(problem)
                    return None
                return _Outcome(error=described(problem))
            if math.isfinite(value):
                return _Outcome(signature=result[SIGNATURE], value=value)
            return _Outcome(error=NOT_A_NUMBER)
        if ERROR in result:
            return _Outcome(error=result[ERROR])
        return None if self._halt.stopping else _Outcome(error=DIED)

    def _tell(self, trial: optuna.Trial, outcome: "_Outcome") -> None:
        if outcome.error is None:
            note_outcome(trial, SIGNATURE, outcome.signature, outcome.reused_from)
            self._study.tell(trial, outcome.value)
        else:
            note_outcome(trial, ERROR, outcome.error, outcome.reused_from)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._hooks.changed()
        self._hooks.told(
            Told(
                trial=name_of(trial),
                signature=outcome.signature,
                objective=outcome.value,
                error=outcome.error,
                reused_from=outcome.reused_from,
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What the study is told of a trial: a value and where it is from, or an error."""

    signature: str | None = None
    value: float | None = None
    error: str | None = None
    reused_from: str | None = None


def begin_search(
    study: Study,
    space: Ranges,
    first: list[dict[str, float]],
    *,
    seed: int,
    n_trials: int,
    hooks: Hooks,
    halt: Halt,
) -> StudySearch:
    """Return the searcher of the next attempt at a sweep.

    Parameters
    ----------
    study, space, n_trials, hooks, halt
        See :class:`StudySearch`.
    first : list of dict
        Configurations to try before any other; each is enqueued once, whatever the attempt.
    seed : int
        Of the sampler.
    """
    attempt = study.begin_attempt()
    for params in first:
        study.enqueue(params)
    hooks.changed()
    # A seeded sampler repeats its first draws when it starts again.
    conditional = any(isinstance(declared, Conditional) for declared in space.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `group`
        sampler = optuna.samplers.TPESampler(
            multivariate=True, group=conditional, seed=seed + attempt
        )
    return StudySearch(study, space, sampler, n_trials=n_trials, hooks=hooks, halt=halt)


def _distribution(declared: Declared) -> BaseDistribution:
    match declared:
        case Conditional():
            return _distribution(declared.declared)
        case Choice():
            return CategoricalDistribution(declared.options)
        case Integer():
            return IntDistribution(declared.low, declared.high)
        case _:
            log = isinstance(declared, LogUniform)
            return FloatDistribution(declared.low, declared.high, log=log)


def _draw(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    match distribution:
        case FloatDistribution():
            trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        case IntDistribution():
            trial.suggest_int(name, distribution.low, distribution.high)
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)
