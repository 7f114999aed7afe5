"""The Optuna study of a sweep: the record of what was tried, what came of it, and what is still to be done."""

import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.objectives import Direction
from orchestrator.sweeps.search.journal import BEGAN_AT, ENDED_AT, OwnBackend
from search_spaces.space import Params

_FIXED = "fixed_params"  # where Optuna keeps what an enqueued trial was enqueued with
_NAME = "trial"
_SAMPLED = "sampled"
_REUSED_FROM = "reused_from"
_SIGNATURE = "signature"
_ERROR = "error"
_ATTEMPT = "attempt"
_REPLICATES = "replicates"
_ADOPTED = "adopted_from"
_ADOPTED_SWEEPS = "adopted_sweeps"
_USD = "usd"

NOT_A_NUMBER = "its objective is not a number"
"""Why a trial failed that trained."""


class Study:
    """The record of a sweep. One process at a time may open it.

    Optuna knows no way to run a trial again: one that was interrupted is followed by another one of the same name and
    with the same parameters, and of each name the last one counts.

    Parameters
    ----------
    name : str
    journal : Path
        Optuna appends to it.
    directions : sequence of Direction
        One for each value of a trial, the objective first.
    objectives : sequence of str, optional
        What these values are called, for who opens the journal with Optuna's own tools. Noted in a journal that lacks
        it: a new one, or one that an earlier version has begun.
    """

    def __init__(
        self,
        name: str,
        journal: Path,
        directions: Sequence[Direction] = ("maximize",),
        objectives: Sequence[str] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = name
        self.storage = JournalStorage(OwnBackend(str(journal)))
        self._study = optuna.create_study(
            study_name=name, storage=self.storage, directions=directions, load_if_exists=True
        )
        if objectives and self._study.metric_names is None:
            with warnings.catch_warnings():
                # Since Optuna 3.2; 5.0 still calls it experimental, and its dashboard reads it.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(objectives))
        self._adopted = {
            trial.user_attrs[_ADOPTED]
            for trial in self._study.get_trials(deepcopy=False)
            if _ADOPTED in trial.user_attrs
        }

    @property
    def trials(self) -> list[FrozenTrial]:
        """Finished trials in the order of their names."""
        current = self._current()
        return [
            current[name]
            for name in sorted(current, key=in_order)
            if current[name].state.is_finished()
        ]

    @property
    def all_trials(self) -> list[FrozenTrial]:
        """Every trial of every attempt, those that run and those that were interrupted too."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if _ADOPTED not in trial.user_attrs]

    @property
    def front(self) -> set[str]:
        """Names of the finished trials that no other one is better than in every value."""
        return {name_of(trial) for trial in self._study.best_trials if name_of(trial)}

    @property
    def n_named(self) -> int:
        """How many names were given so far."""
        return len(self._current())

    @property
    def n_attempts(self) -> int:
        """How many attempts at the sweep have begun."""
        return int(self._study.user_attrs.get(_ATTEMPT, 0))

    def begin_attempt(self) -> int:
        """Return the number of this attempt at the sweep, from 0."""
        attempt = self.n_attempts
        self._study.set_user_attr(_ATTEMPT, attempt + 1)
        return attempt

    @property
    def usd(self) -> float:
        """What the cluster's machines have cost while the search ran, all attempts together."""
        return float(self._study.user_attrs.get(_USD, 0.0))

    def note_usd(self, usd: float) -> None:
        """Note what they have cost."""
        self._study.set_user_attr(_USD, usd)

    def enqueue(self, params: Params) -> None:
        """Propose a configuration before any that the sampler draws; once, whatever the attempt."""
        # Not with Optuna's `skip_if_exists`, which also finds the trials of other sweeps.
        if not any(dict(params) in (t.system_attrs.get(_FIXED), t.params) for t in self.all_trials):
            self._study.enqueue_trial(dict(params))

    @property
    def adopted_sweeps(self) -> tuple[str, ...]:
        """Sweeps whose trials were adopted, all of them."""
        return tuple(self._study.user_attrs.get(_ADOPTED_SWEEPS, ()))

    def note_adopted(self, sweep: str) -> None:
        """Note that all trials of a sweep are adopted."""
        self._study.set_user_attr(_ADOPTED_SWEEPS, [*self.adopted_sweeps, sweep])

    def adopt(self, source: str, params: Mapping[str, Any], ranges: Any, value: float) -> None:
        """Let the sampler learn from a trial of another sweep; once, whatever the attempt.

        Parameters
        ----------
        source : str
            Which sweep and trial it was.
        params, ranges : mapping
            Values, and the distributions that this sweep draws them from.
        value : float
            Its objective.
        """
        if source in self._adopted:
            return
        self._adopted.add(source)
        self._study.add_trial(
            optuna.trial.create_trial(
                params=dict(params),
                distributions=dict(ranges),
                value=value,
                user_attrs={_ADOPTED: source},
            )
        )

    def requeue_running(self, ended_at: datetime | None = None) -> int:
        """Queue again what an attempt that ended left running; returns how many trials that were.

        Parameters
        ----------
        ended_at : datetime, optional
            When that attempt ended, where it was killed: what passed since is no time of its trials. A trial that
            began later ended at once. Now, unless given.
        """
        ended_at = ended_at or datetime.now(UTC)
        running = self._study.get_trials(states=(TrialState.RUNNING,))
        for trial in running:
            # In this order: killed in between, a configuration is tried once more, and never lost.
            self._requeue(trial)
            noted = max(ended_at, began_at(trial) or ended_at).isoformat()
            self.storage.set_trial_user_attr(trial._trial_id, ENDED_AT, noted)
            self._study.tell(trial.number, state=TrialState.FAIL)
        return len(running)

    def requeue_failed(self) -> int:
        """Queue again what failed; returns how many trials that were."""
        failed = [trial for trial in self.trials if trial.state is TrialState.FAIL]
        for trial in failed:
            self._requeue(trial)
        return len(failed)

    def _requeue(self, trial: FrozenTrial) -> None:
        proposed = {**trial.system_attrs.get(_FIXED, {}), **trial.params}
        if not proposed:  # nothing to repeat where it was killed before its first draw
            return
        attributes: dict[str, Any] = {_NAME: name_of(trial)} if name_of(trial) else {}
        if not was_enqueued(trial):
            attributes[_SAMPLED] = True
        self._study.enqueue_trial(proposed, user_attrs=attributes)

    def _current(self) -> dict[str, FrozenTrial]:
        """Return the last trial of each name."""
        trials = self._study.get_trials(deepcopy=False)
        return {name_of(trial): trial for trial in trials if name_of(trial)}


def in_order(name: str) -> str:
    """Return what sorts names of trials by their numbers: ``t1000`` after ``t101``."""
    return re.sub(r"\d+", lambda found: found.group().zfill(9), name)


def give_name(trial: optuna.Trial, name: str) -> str:
    """Name a trial that has no name yet; return the name that it has."""
    if _NAME not in trial.user_attrs:
        trial.set_user_attr(_NAME, name)
    return name_of(trial)


def note_began(trial: optuna.Trial) -> None:
    """Note when a trial began. Optuna does so, too, but gives it back as the local time of whoever reads it."""
    trial.set_user_attr(BEGAN_AT, datetime.now(UTC).isoformat())


def note_waiting(trial: optuna.Trial, training: str) -> None:
    """Note that a trial waits for the one of another name, whose training it will share."""
    trial.set_user_attr(_REUSED_FROM, training)


def note_outcome(
    trial: optuna.Trial,
    key: str,
    value: str | None,
    *,
    reused_from: str | None,
    replicates: Sequence[float] = (),
) -> None:
    """Note under which name a trial's predictions are stored, or why there are none, and that it ended now.

    Parameters
    ----------
    trial : optuna.Trial
    key : str
        ``signature`` or ``error``.
    value : str
    reused_from : str, optional
        Name of the trial that this one shares the outcome of.
    replicates : sequence of float
        Objective with each seed, where a trial has several.
    """
    trial.set_user_attr(key, value)
    trial.set_user_attr(ENDED_AT, datetime.now(UTC).isoformat())
    if reused_from is not None:
        trial.set_user_attr(_REUSED_FROM, reused_from)
    if len(replicates) > 1:
        trial.set_user_attr(_REPLICATES, list(replicates))


def name_of(trial: FrozenTrial | optuna.Trial) -> str:
    """Return the name of a trial: ``t000``, ``t001`` ... in the order of proposal; empty before it has one."""
    return str(trial.user_attrs.get(_NAME, ""))


def was_enqueued(trial: FrozenTrial) -> bool:
    """Whether a trial was proposed by the sweep file, not by the sampler (before it was interrupted, perhaps)."""
    return _FIXED in trial.system_attrs and not trial.user_attrs.get(_SAMPLED)


def signature_of(trial: FrozenTrial) -> str | None:
    """Return under which name the predictions of a trial are stored; None if it has none."""
    return _text(trial, _SIGNATURE) if trial.state is TrialState.COMPLETE else None


def unfinished_signature_of(trial: FrozenTrial) -> str | None:
    """Return the signature of a trial that the scheduler ended; None of any other."""
    return _text(trial, _SIGNATURE) if trial.state is TrialState.PRUNED else None


def objective_of(trial: FrozenTrial) -> float | None:
    """Return the objective of a trial, the first of its values; None if it has none."""
    # Optuna counts the last intermediate value of a pruned trial as its value.
    return trial.values[0] if trial.state is TrialState.COMPLETE else None


def replicates_of(trial: FrozenTrial) -> tuple[float, ...]:
    """Return the objective with each seed; empty where trials have one."""
    return tuple(trial.user_attrs.get(_REPLICATES, ()))


def stopped_after(trial: FrozenTrial) -> int | None:
    """Return after how many parts the scheduler ended a trial; None if it did not."""
    return trial.last_step if trial.state is TrialState.PRUNED else None


def reused_from(trial: FrozenTrial) -> str | None:
    """Return the name of the trial whose training this one shares, or waits for; None if it is trained itself."""
    return _text(trial, _REUSED_FROM)


def began_at(trial: FrozenTrial) -> datetime | None:
    """Return when a trial began, in UTC; None while it is only proposed."""
    return _time(trial, BEGAN_AT, trial.datetime_start)


def ended_at(trial: FrozenTrial) -> datetime | None:
    """Return when a trial ended, in UTC; None while it runs."""
    # Of a trial whose process was killed, Optuna only knows when the next attempt found it.
    return _time(trial, ENDED_AT, trial.datetime_complete)


def error_of(trial: FrozenTrial) -> str | None:
    """Return why a trial failed; None if it did not."""
    if trial.state is not TrialState.FAIL:
        return None
    return _text(trial, _ERROR) or NOT_A_NUMBER


def _time(trial: FrozenTrial, key: str, of_optuna: datetime | None) -> datetime | None:
    """Return a time that we noted, or Optuna's where 0.1 noted none, or one without a zone: that is local time."""
    noted = _text(trial, key)
    time = of_optuna if noted is None else datetime.fromisoformat(noted)
    return None if time is None else time.astimezone(UTC)


def _text(trial: FrozenTrial, key: str) -> str | None:
    value: Any = trial.user_attrs.get(key)
    return value if isinstance(value, str) else None
