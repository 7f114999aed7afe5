"""Optuna proposes, Ray Tune runs: the searcher between them, and the study that is the record of a sweep."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from search_spaces.space import LogUniform, Uniform

METRIC = "objective"
_FIXED = "fixed_params"  # where Optuna keeps what an enqueued trial was enqueued with
_INTERRUPTED = "interrupted"
_SAMPLED = "sampled"
SIGNATURE = "signature"
"""Key of a trial's report: under which name its predictions are stored."""
ERROR = "error"
"""Key of a trial's report: why there are none."""
N_PARTS = "n_parts"
"""Key of an intermediate report: how many parts of the trial are done."""
_ATTEMPT = "attempt"

Ranges = Mapping[str, Uniform | LogUniform]
"""What is searched, by name."""

Objective = Callable[[str], float]
"""Signature of predictions -> value to maximise."""


class StudySearch(OptunaSearch):
    """OptunaSearch that computes the objective in the driver, where labels may be read.

    A trial reports only the signature of its predictions. A value that is not finite counts as a failed trial:
    Optuna would refuse it and the trial would stay RUNNING.
    """

    def __init__(
        self, *, objective: Objective, told: Callable[[], None] | None = None, **options: Any
    ) -> None:
        super().__init__(metric=METRIC, mode="max", **options)
        self._objective = objective
        self._told = told

    def __getstate__(self) -> dict[str, Any]:
        """Leave our functions out: Tune pickles the searcher into a snapshot that nothing reads."""
        ours = {"_objective", "_told"}
        return {key: value for key, value in self.__dict__.items() if key not in ours}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore intermediate results: they hold no objective, and only the last report is told to the study."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study the objective of a finished trial, or that it failed."""
        trial = self._ot_trials.get(trial_id)
        if trial is None:
            return
        value = math.nan
        if not error and result and SIGNATURE in result:
            trial.set_user_attr(SIGNATURE, result[SIGNATURE])
            value = self._objective(result[SIGNATURE])
        else:
            trial.set_user_attr(ERROR, (result or {}).get(ERROR, "the trial's process died"))
        if math.isfinite(value):
            super().on_trial_complete(trial_id, result={METRIC: value}, error=False)
        else:
            super().on_trial_complete(trial_id, result=None, error=True)
        if self._told is not None:
            self._told()

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the record, and Tune's snapshot of the searcher would repeat trials."""


class Study:
    """The Optuna study of a sweep in a journal file.

    Parameters
    ----------
    journal : Path
        Created where it does not exist.
    """

    def __init__(self, name: str, journal: Path, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.storage = JournalStorage(JournalFileBackend(str(journal)))
        self._seed = seed
        self._study = optuna.create_study(
            study_name=name, storage=self.storage, direction="maximize", load_if_exists=True
        )

    def continue_interrupted(self) -> int:
        """Queue again what a killed attempt left running; returns how many. Call before searching."""
        running = self._study.get_trials(states=(TrialState.RUNNING,))
        for trial in running:
            # In this order: killed in between, a configuration is tried once more, and never lost.
            proposed = {**trial.system_attrs.get(_FIXED, {}), **trial.params}
            if proposed:  # nothing to repeat where it was killed before its first draw
                self._study.enqueue_trial(
                    proposed, user_attrs=None if was_enqueued(trial) else {_SAMPLED: True}
                )
            optuna.Trial(self._study, trial._trial_id).set_user_attr(_INTERRUPTED, True)
            self._study.tell(trial.number, state=TrialState.FAIL)
        return len(running)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Finished trials, in the order in which they were proposed, without interrupted attempts."""
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished() and not trial.user_attrs.get(_INTERRUPTED)
        ]

    def search(
        self,
        space: Ranges,
        first: list[dict[str, float]],
        objective: Objective,
        told: Callable[[], None] | None = None,
    ) -> StudySearch:
        """Return the searcher of the next attempt.

        Parameters
        ----------
        space : mapping of str to Uniform or LogUniform
        first : list of dict
            Configurations to try before any other; each is enqueued once, whatever the attempt.
        objective : callable
        told : callable, optional
            Called after each trial that the study was told of, whether it failed or not.
        """
        attempt = int(self._study.user_attrs.get(_ATTEMPT, 0))
        self._study.set_user_attr(_ATTEMPT, attempt + 1)
        for params in first:
            self._study.enqueue_trial(params, skip_if_exists=True)
        return StudySearch(
            objective=objective,
            told=told,
            space={name: _distribution(declared) for name, declared in space.items()},
            # A seeded sampler repeats its first draws when it starts again.
            sampler=optuna.samplers.TPESampler(multivariate=True, seed=self._seed + attempt),
            storage=self.storage,
            study_name=self.name,
        )


def was_enqueued(trial: FrozenTrial) -> bool:
    """Whether a trial was proposed by the sweep file, not by the sampler (before it was interrupted, perhaps)."""
    return _FIXED in trial.system_attrs and not trial.user_attrs.get(_SAMPLED)


def signature_of(trial: FrozenTrial) -> str | None:
    """Return under which name the predictions of a trial are stored; None if it failed."""
    value = trial.user_attrs.get(SIGNATURE) if trial.state is TrialState.COMPLETE else None
    return value if isinstance(value, str) else None


def error_of(trial: FrozenTrial) -> str | None:
    """Return why a trial failed; None if it did not."""
    if trial.state is TrialState.COMPLETE:
        return None
    return str(trial.user_attrs.get(ERROR, "its objective is not a number"))


def _distribution(declared: Uniform | LogUniform) -> optuna.distributions.FloatDistribution:
    return optuna.distributions.FloatDistribution(
        declared.low, declared.high, log=isinstance(declared, LogUniform)
    )
