"""The search of a sweep: Optuna proposes, Ray Tune runs, and the study keeps what came of it."""

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from optuna.trial import FrozenTrial
from ray import tune
from ray.tune import TuneError
from ray.tune.execution import class_cache

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.method import InputsRef, Scores
from orchestrator.store import paths
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.failures import MAX_RETRIES
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import N_PARTS, Outcome, Trial, as_fields, run_trial, so_far
from orchestrator.sweeps.search.budget import exhausted
from orchestrator.sweeps.search.journal import Journal, journal_of
from orchestrator.sweeps.search.last_sign_of_life import last_sign_of_life
from orchestrator.sweeps.search.quota import failure_of
from orchestrator.sweeps.search.searcher import EndedTrial, Hooks, StudySearch, begin_search
from orchestrator.sweeps.search.spend import Meter
from orchestrator.sweeps.search.study import Study
from orchestrator.sweeps.search.warm_start import adopt_trials
from orchestrator.sweeps.watch.live import trials_shown
from orchestrator.sweeps.workers import resources_of
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note
from search_spaces.space import Params, Space

MIN_FREE_BYTES = 256 * 2**20
"""A local store with less space left gets no further trial."""

_NOTED_SHARE = 0.01
"""What was spent is noted whenever so much more of the limit was used up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What a search has left."""

    trials: list[FrozenTrial]
    """All that finished, failed or were ended by the scheduler, in the order of their names."""
    front: set[str]
    """Names of those on the Pareto front; empty for a single objective."""


def run_search(
    run: Run,
    search: SearchBase,
    *,
    space: Space,
    first: Sequence[Params],
    trial: Trial,
    inputs_ref: InputsRef,
    identify: Callable[[Params], str],
    evaluate: Callable[[Params], Scores],
    evaluate_part: Callable[[Params, Mapping[str, Any]], float] = so_far,
    objective_name: str | None = None,
    describe: Callable[[Params], Mapping[str, Any]] = lambda _: {},
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> SearchResult:
    """Run what is left of a search, and return all of its trials, earlier attempts included.

    Parameters
    ----------
    run : Run
        Its Optuna journal is the record, and is copied to S3 after every change.
    search : SearchBase
        How many trials, how many at a time, and how many may fail.
    space, first
        Space, and configurations to try before any other.
    trial : callable
        Runs in a Ray actor, and reports to Tune after each part.
    identify : callable
        Sampled parameters to the signature of the predictions: equal ones are trained once.
    evaluate : callable
        Sampled parameters to what their predictions are worth; runs here, where labels may be read.
    evaluate_part : callable
        Sampled parameters and an intermediate report to the objective of what is done. By default, the trial's own.
    objective_name : str, optional
        What the objective is called.
    describe : callable, optional
        Sampled parameters to what else the event ``trial_started`` is to hold.
    fixed : mapping, optional
        Values of parameters that this search does not vary; trials of other sweeps with other ones teach it nothing.

    Raises
    ------
    InterruptedSweepError
        The user ended it; the same call goes on.
    SweepFailedError
        Every trial failed, or more than the quota.
    OrchestratorError
        One that ends the sweep.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        journal_of(run.store, run.sweep.name, Path(scratch), run.halt) as journal,
    ):
        objectives = (objective_name, *search.also) if objective_name else ()
        study = Study(run.sweep.name, journal.file, search.directions, objectives)
        adopt_trials(run, search, space, fixed, study)
        ended_at = last_sign_of_life(run.store, run.sweep.name, run.log.events())
        n_requeued = study.requeue_running(ended_at)
        n_requeued += study.requeue_failed() if run.retry_failed else 0
        n_finished = len(study.trials)
        n_left = search.n_trials - n_finished
        ended_by = None
        run.log.emit(
            "search_started",
            n_trials=n_left,
            n_finished=n_finished,
            n_requeued=n_requeued,
            objective=objective_name,
        )
        if failure := failure_of(run.sweep.name, search, study.trials, is_over=n_left <= 0):
            raise failure  # whatever the trials that are left would come to
        if n_left > 0:
            with (
                trials_shown(run, n_left) as advance,
                _billed(run, search, study, journal) as bill,
                _own_errors(run.halt),
            ):
                searcher = begin_search(
                    study,
                    space,
                    first,
                    search,
                    seed=run.sweep.seed,
                    hooks=Hooks(
                        identify=identify,
                        evaluate=evaluate,
                        evaluate_part=evaluate_part,
                        changed=journal.changed,
                        told=_Teller(run, search, study, advance),
                        started=lambda name, signature, params: run.log.emit(
                            "trial_started",
                            trial=name,
                            signature=signature,
                            params=dict(params),
                            **describe(params),
                        ),
                        exhausted=_budget(run, search, study, bill),
                        is_held=_DiskGuard(run),
                    ),
                    halt=run.halt,
                )
                # Nothing reads Tune's own files again, so on S3 they are not kept.
                tune_folder = (
                    Path(run.store.uri_of(paths.sweep_tune(run.sweep.name)))
                    if run.store.is_local
                    else Path(scratch) / "tune"
                )
                _tune(
                    partial(run_trial, trial=trial, inputs_ref=inputs_ref),
                    searcher,
                    n_left,
                    search.max_concurrent,
                    resources_of(run.sweep),
                    tune.RunConfig(
                        name=run.sweep.name,
                        storage_path=str(tune_folder),
                        verbose=0,
                        failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                        stop=_Stop(run.halt, searcher),
                        callbacks=[_Progress(run.log, searcher), *([bill] if bill else [])],
                    ),
                )
            ended_by = searcher.ended_by
            study.requeue_running()
            journal.changed()
        trials = study.trials
        front = study.front if search.also else set()
    ended_by = None if run.halt.stopping else ended_by
    if ended_by is not None:
        run.log.emit("budget_reached", budget=ended_by, n_trials=len(trials))
        note(f"search.{ended_by} ended the search after {len(trials)} of {search.n_trials} trials")
    is_over = ended_by is not None or len(trials) >= search.n_trials
    failure = failure_of(run.sweep.name, search, trials, is_over=is_over)
    if failure is not None and run.halt.error is None:
        raise failure
    if run.halt.error is not None or not is_over:
        raise run.interrupted(len(trials), search.n_trials, "trials")
    return SearchResult(trials=trials, front=front)


@contextlib.contextmanager
def _own_errors(halt: Halt) -> Iterator[None]:
    """Raise what stopped the sweep as it was: Ray Tune makes a page of what its callbacks raise."""
    try:
        yield
    except TuneError:
        if halt.error is None:
            raise
        raise halt.error from None


class _Teller:
    """Tells of each trial that ended, and ends the sweep when too many failed."""

    def __init__(
        self, run: Run, search: SearchBase, study: Study, advance: Callable[[str], None]
    ) -> None:
        self._run = run
        self._search = search
        self._study = study
        self._advance = advance

    def __call__(self, told: EndedTrial) -> None:
        fields = {
            "trial": told.trial,
            "signature": told.signature,
            "objective": told.objective,
            "reused_from": told.reused_from,
        }
        reused = f" (as {told.reused_from})" if told.reused_from else ""
        if told.stopped_after is not None:
            n_parts = told.stopped_after
            self._run.log.emit("trial_stopped", **fields, n_parts=n_parts)
            self._advance(f"{told.trial}: ended by the scheduler after report {n_parts}{reused}")
            return
        if told.error is None:
            spent = as_fields(told.seconds) if told.seconds else {}
            self._run.log.emit("trial_done", **fields, **spent)
            self._advance(f"{told.trial}: objective {told.objective:.3f}{reused}")
            return
        self._run.log.emit("trial_failed", **fields, error=told.error)
        self._advance(f"{told.trial}: failed, {told.error.partition(chr(10))[0]}")
        trials = self._study.trials
        if failure_of(self._run.sweep.name, self._search, trials, is_over=False) is not None:
            self._run.halt.stop()  # and `run_search` says why, when those that run have ended


class _Bill(tune.Callback):
    """Notes in the study, for the next attempt, and in the log what the machines have cost."""

    def __init__(
        self, run: Run, max_usd: float, study: Study, journal: Journal, meter: Meter
    ) -> None:
        self._run = run
        self._max_usd = max_usd
        self._study = study
        self._journal = journal
        self._meter = meter
        self._noted_usd = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        """Travel empty, as the other callbacks do."""
        return {}

    @property
    def usd(self) -> float:
        """So far, all attempts together."""
        return self._meter.usd

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.note(self._max_usd * _NOTED_SHARE)

    def note(self, step_usd: float = 0.0) -> None:
        """Note it, if it has grown by so much."""
        if self.usd - self._noted_usd >= step_usd:
            self._noted_usd = self.usd
            self._study.note_usd(self.usd)
            self._journal.changed()
            self._run.log.emit("spent", usd=round(self.usd, 4), max_usd=self._max_usd)


@contextlib.contextmanager
def _billed(run: Run, search: SearchBase, study: Study, journal: Journal) -> Iterator[_Bill | None]:
    if search.max_usd is None:
        yield None
        return
    meter = Meter(study.usd, run.halt)
    bill = _Bill(run, search.max_usd, study, journal, meter)
    try:
        with meter:
            yield bill
    finally:
        bill.note()


def _budget(
    run: Run, search: SearchBase, study: Study, bill: _Bill | None
) -> Callable[[], str | None]:
    """Return what tells whether a budget is used up; without any, it does not read the study."""
    if {search.max_hours, search.max_gpu_hours, search.max_usd, search.plateau} == {None}:
        return lambda: None
    n_gpus = run.sweep.gpus_per_worker * run.sweep.workers
    return lambda: exhausted(
        search, n_gpus, study.all_trials, datetime.now(UTC), 0.0 if bill is None else bill.usd
    )


class _DiskGuard:
    """Holds trials back while the store's disk is almost full, and says so once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._held = False

    def __call__(self) -> bool:
        free = self._run.store.free_bytes()
        if free is None:  # S3
            return False
        held = free < MIN_FREE_BYTES
        if held != self._held:
            self._held = held
            self._run.log.emit("held_for_space" if held else "space_again", free_bytes=free)
            if held:
                note(
                    f"{self._run.store.uri} has {free / 2**20:.0f} MiB left; trials begin again when it has "
                    f"{MIN_FREE_BYTES / 2**20:.0f} MiB"
                )
        return held


class _Stop(tune.Stopper):
    """Lets Tune end all running trials, or one that the scheduler gives up."""

    def __init__(self, halt: Halt, searcher: StudySearch) -> None:
        self._halt = halt
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """Travel empty, as the callbacks do."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._searcher.is_hopeless(trial_id, result)

    def stop_all(self) -> bool:
        return self._halt.stopping


class _Progress(tune.Callback):
    """Tells of a trial that has a part done, or whose process was lost and which is tried again."""

    def __init__(self, log: EventLog, searcher: StudySearch) -> None:
        self._log = log
        self._searcher = searcher
        self._n_lost: dict[str, int] = {}  # id of Tune's trial -> how often it was lost

    def __getstate__(self) -> dict[str, Any]:
        """Travel empty: Tune pickles its callbacks into a file that nothing reads."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = self._searcher.name_of(trial.trial_id)
        if name and N_PARTS in result:
            self._log.emit("trial_progress", trial=name, n_parts=result[N_PARTS])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if not (name := self._searcher.name_of(trial.trial_id)):
            return
        if trial.num_failures == self._n_lost.get(trial.trial_id, 0):  # Tune does not count it
            self._log.emit("trial_left", trial=name)
            note(f"{name}: its machine is taken away; it goes on elsewhere from where it is")
            return
        self._n_lost[trial.trial_id] = trial.num_failures
        self._log.emit("trial_lost", trial=name, n_times=trial.num_failures)
        note(f"{name}: its process died; it goes on from its last checkpoint")


def _tune(
    trainable: Callable[[dict[str, Any]], Outcome],
    searcher: Any,
    n_trials: int,
    max_concurrent: int,
    resources: dict[str, float],
    run_config: tune.RunConfig,
) -> None:
    """Run trials with Ray Tune. Its own snapshots are not read again: the study is the record."""
    # Trials report where their predictions are; the objective comes from the driver, which may read labels.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is ours, see orchestrator.sweeps.halt
    os.environ["TUNE_FORCE_TRIAL_CLEANUP_S"] = (
        "3"  # a trial that is ended does not look up from its work
    )
    _keep_keys_to_ourselves()
    # It prints a page for each lost process.
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints a banner whatever the verbosity
    tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=n_trials,
            max_concurrent_trials=max_concurrent,
            reuse_actors=True,
        ),
        run_config=run_config,
    ).fit()


def _keep_keys_to_ourselves() -> None:
    """Have Ray Tune not send this process' AWS keys to trials: Ray writes what is sent that way into its logs.

    Trials have the keys of the machine that they run on, as everything else there.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    )
