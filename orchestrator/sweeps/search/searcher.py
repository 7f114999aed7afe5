"""Optuna proposes, Ray Tune runs: the searcher between them, which sees that nothing is done twice."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.method import Scores
from orchestrator.sweeps.failures import DIED, described, ends_sweep, from_data
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ENDS_SWEEP, ERROR, N_PARTS, SIGNATURE, TRAINED_S, WAITED_S
from orchestrator.sweeps.search.samplers import (
    distribution,
    draw,
    pruner_of,
    sampler_of,
    sampler_problem,
)
from orchestrator.sweeps.search.study import (
    NOT_A_NUMBER,
    Study,
    give_name,
    name_of,
    note_began,
    note_outcome,
    note_waiting,
    replicates_of,
    signature_of,
    stopped_after,
    unfinished_signature_of,
)
from search_spaces.space import Params, Space
from trainables.training import Seconds

METRIC = "objective"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedTrial:
    """What became of a trial, as the study was told."""

    trial: str
    signature: str | None
    objective: float | None
    error: str | None
    reused_from: str | None
    """The trial whose training this one shares."""
    stopped_after: int | None
    """After how many parts the scheduler ended it."""
    seconds: Seconds | None = None
    """What its training took; None where nothing was trained for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """What the driver does for a search; not one of these runs in a trial."""

    identify: Callable[[Params], str]
    """Sampled parameters to the signature that the predictions will have: equal ones are trained once."""
    evaluate: Callable[[Params], Scores]
    """Sampled parameters of a trained configuration to what it is worth; may read labels."""
    evaluate_part: Callable[[Params, Mapping[str, Any]], float]
    """Sampled parameters and an intermediate report to the objective of what is done; may read labels."""
    changed: Callable[[], None]
    """After each change of the study."""
    told: Callable[[EndedTrial], None]
    """After each trial that ended."""
    started: Callable[[str, str, Params], None]
    """Before each trial that is run: its name, its signature and its parameters."""
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
    space : Space
    sampler : optuna.samplers.BaseSampler
    pruner : optuna.pruners.BasePruner or None
        Ends trials without hope.
    n_trials : int
        Trials in all, those of earlier attempts included.
    hooks : Hooks
    halt : Halt
        Looked at before each proposal; stopped by an error that ends the sweep.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner | None,
        *,
        n_trials: int,
        hooks: Hooks,
        halt: Halt,
    ) -> None:
        super().__init__(
            metric=METRIC,
            mode="max",
            space={name: distribution(declared) for name, declared in space.items()},
            sampler=sampler,
            storage=study.storage,
            study_name=study.name,
        )
        self._study: optuna.Study = self._ot_study  # type: ignore[assignment]
        self.ended_by: str | None = None
        """Which budget, or sampler, ended the search before its last trial."""
        self._space_is_tried = False
        self._study.pruner = pruner or optuna.pruners.NopPruner()
        self._prunes = pruner is not None
        self._declared = space
        self._hooks = hooks
        self._halt = halt
        self._n_left = n_trials - len(study.trials)
        self._n_named = study.n_named
        self._done: dict[str, tuple[str, _Outcome]] = {}  # signature -> first trial, its outcome
        for trial in study.trials:
            if (known := _outcome_of(trial)) is not None:
                assert known.signature is not None
                self._done.setdefault(known.signature, (name_of(trial), known))
        self._running: dict[str, str] = {}  # signature -> id of Tune's trial
        self._waiting: dict[str, list[optuna.Trial]] = defaultdict(list)
        self._reached: dict[str, tuple[int, float]] = {}  # id of Tune's trial -> parts, objective
        self._hopeless: set[str] = set()  # ids of Tune's trials

    def __getstate__(self) -> dict[str, Any]:
        """Leave our functions out: Tune pickles the searcher into a snapshot that nothing reads."""
        ours = {"_hooks", "_halt"}
        return {key: value for key, value in self.__dict__.items() if key not in ours}

    def name_of(self, trial_id: str) -> str:
        """Return the name of a trial that runs; empty of one that has ended."""
        trial = self._ot_trials.get(trial_id)
        return name_of(trial) if trial is not None else ""

    def suggest(self, trial_id: str) -> Any:
        """Propose parameters, or say that there are none any more, or none now.

        What another trial has trained is told to the study at once; what another one trains now, when that ends.
        """
        while self._n_left > 0 and not self._halt.draining:
            if (budget := self._hooks.exhausted()) is not None:
                self.ended_by = budget
                return Searcher.FINISHED
            if self._space_is_tried:
                self.ended_by = "sampler, which has tried everything,"
                return Searcher.FINISHED
            if self._hooks.is_held():
                return None
            self._n_left -= 1
            trial = self._study.ask()
            note_began(trial)
            try:
                draw(trial, self._declared)
            except (ImportError, ValueError) as error:
                self._halt.stop(ConfigError(sampler_problem(error)))
                return Searcher.FINISHED
            self._n_named += give_name(trial, f"t{self._n_named:03d}") == f"t{self._n_named:03d}"
            self._hooks.changed()
            try:
                signature = self._hooks.identify(trial.params)
            except ValueError as error:
                self._tell(trial, _Outcome(error=described(error)))
                continue
            if signature in self._done:
                original, outcome = self._done[signature]
                self._tell(trial, replace(outcome, reused_from=original))
            elif signature in self._running:
                self._waiting[signature].append(trial)
                note_waiting(trial, self.name_of(self._running[signature]))
                self._hooks.changed()
            else:
                self._running[signature] = trial_id
                self._ot_trials[trial_id] = trial
                self._hooks.started(self.name_of(trial_id), signature, trial.params)
                return dict(trial.params)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore intermediate results: :meth:`is_hopeless` has seen them."""

    def is_hopeless(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Note what an unfinished trial has reached so far, and tell whether the scheduler ends it."""
        trial = self._ot_trials.get(trial_id)
        if not self._prunes or trial is None or N_PARTS not in result or SIGNATURE in result:
            return False
        try:
            so_far = self._hooks.evaluate_part(trial.params, result)
        except OrchestratorError as problem:
            if ends_sweep(problem):
                self._halt.stop(problem)
            return False
        n_parts = int(result[N_PARTS])
        if not math.isfinite(so_far):
            self._hopeless.add(trial_id)
        elif trial_id not in self._reached or self._reached[trial_id][0] < n_parts:
            self._reached[trial_id] = n_parts, so_far
            trial.report(so_far, n_parts)
            self._hooks.changed()
            if trial.should_prune():
                self._hopeless.add(trial_id)
        return trial_id in self._hopeless

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
        n_parts, so_far = self._reached.pop(trial_id, (0, math.nan))
        if trial_id in self._hopeless:
            outcome: _Outcome | None = _Outcome(
                signature=signature, stopped_after=n_parts, so_far=so_far
            )
        else:
            outcome = self._outcome(trial, result or {})
        if outcome is None:
            return
        if outcome.error is None:
            self._done[signature] = (name_of(trial), outcome)
        self._tell(trial, outcome, _seconds_of(result or {}))
        for other in waiting:
            self._tell(other, replace(outcome, reused_from=name_of(trial)))

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the record, and Tune's snapshot of the searcher would repeat trials."""

    def _outcome(self, trial: optuna.Trial, result: Mapping[str, Any]) -> "_Outcome | None":
        """Return what a trial's last report comes to; None where it was ended with the sweep."""
        if ENDS_SWEEP in result:
            self._halt.stop(from_data(result[ENDS_SWEEP]))
            return None
        if SIGNATURE in result:
            try:
                scores = self._hooks.evaluate(trial.params)
            except OrchestratorError as problem:
                if ends_sweep(problem):
                    self._halt.stop(problem)
                    return None
                return _Outcome(error=described(problem))
            except Exception as problem:  # Ray Tune would lose the trial, and the sweep
                return _Outcome(error=described(problem))
            if all(math.isfinite(value) for value in scores.values):
                return _Outcome(signature=result[SIGNATURE], scores=scores)
            return _Outcome(error=NOT_A_NUMBER)
        if ERROR in result:
            return _Outcome(error=result[ERROR])
        return None if self._halt.stopping else _Outcome(error=DIED)

    def _tell(
        self, trial: optuna.Trial, outcome: "_Outcome", seconds: Seconds | None = None
    ) -> None:
        scores, reused_from = outcome.scores, outcome.reused_from
        if outcome.error is not None:
            note_outcome(trial, ERROR, outcome.error, reused_from=reused_from)
            self._tell_optuna(trial, state=TrialState.FAIL)
        else:
            replicates = scores.replicates if scores else ()
            note_outcome(
                trial,
                SIGNATURE,
                outcome.signature,
                reused_from=reused_from,
                replicates=replicates,
            )
            if scores is not None:
                self._tell_optuna(trial, values=list(scores.values))
            else:
                if reused_from is not None and outcome.stopped_after:
                    trial.report(outcome.so_far, outcome.stopped_after)
                self._tell_optuna(trial, state=TrialState.PRUNED)
        self._hooks.changed()
        self._hooks.told(
            EndedTrial(
                trial=name_of(trial),
                signature=outcome.signature,
                objective=scores.values[0] if scores else None,
                error=outcome.error,
                reused_from=reused_from,
                stopped_after=outcome.stopped_after,
                seconds=seconds,
            )
        )

    def _tell_optuna(self, trial: optuna.Trial, **outcome: Any) -> None:
        try:
            self._study.tell(trial, **outcome)
        except (RuntimeError, KeyError) as error:
            # From the sampler, after the trial was told: that a finite space is tried (RuntimeError), or that it did
            # not draw the trial itself (KeyError of `grid` for one that was interrupted).
            told = self._study.get_trials(deepcopy=False)[trial.number].state.is_finished()
            if not told:
                raise
            self._space_is_tried = "Study.stop" in str(error)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What the study is told of a trial: scores and where they are from, that it was ended, or an error."""

    signature: str | None = None
    scores: Scores | None = None
    stopped_after: int | None = None
    so_far: float = math.nan
    """Objective when the scheduler ended it."""
    error: str | None = None
    reused_from: str | None = None


def _outcome_of(trial: FrozenTrial) -> _Outcome | None:
    """Return what the study knows of a trial that another one may share the training of."""
    if (signature := signature_of(trial)) is not None:
        scores = Scores(values=tuple(trial.values), replicates=replicates_of(trial))
        return _Outcome(signature=signature, scores=scores)
    if (signature := unfinished_signature_of(trial)) is not None:
        after = stopped_after(trial)
        so_far = math.nan if after is None else trial.intermediate_values[after]
        return _Outcome(signature=signature, stopped_after=after, so_far=so_far)
    return None


def begin_search(
    study: Study,
    space: Space,
    first: Sequence[Params],
    search: SearchBase,
    *,
    seed: int,
    hooks: Hooks,
    halt: Halt,
) -> StudySearch:
    """Return the searcher of the next attempt at a sweep.

    Parameters
    ----------
    study, space, hooks, halt
        See :class:`StudySearch`.
    first : sequence of mapping
        Configurations to try before any other; each is enqueued once, whatever the attempt.
    search : SearchBase
        How many trials, who proposes them and who ends them.
    seed : int
        Of the sampler.
    """
    attempt = study.begin_attempt()
    for params in first:
        study.enqueue(params)
    hooks.changed()
    return StudySearch(
        study,
        space,
        # A seeded sampler repeats its first draws when it starts again.
        sampler_of(search, space, seed + attempt),
        pruner_of(search),
        n_trials=search.n_trials,
        hooks=hooks,
        halt=halt,
    )


def _seconds_of(result: Mapping[str, Any]) -> Seconds | None:
    if TRAINED_S not in result:
        return None
    return Seconds(waited=result[WAITED_S], total=result[TRAINED_S])
