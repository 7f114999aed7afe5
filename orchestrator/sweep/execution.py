"""Trials on Ray: fixed ones as tasks side by side, those of a search by Ray Tune with proposals from Optuna."""

import os
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray
from optuna.trial import FrozenTrial
from ray import tune

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import InterruptedSweepError, SweepFailedError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.search import ERROR, N_PARTS, SIGNATURE, Ranges, Study, error_of
from orchestrator.sweep.workers import InputsRef, n_that_fit, resources_of
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress

Outcome = dict[str, str]
"""What a trial reports: the signature of its predictions, or why there are none."""


AfterPart = Callable[[int], None]
"""Called by a trial after each of its parts (folds) but the last, with how many are done; the trial may end there."""

Trial = Callable[[InputsRef, Mapping[str, float], AfterPart], Outcome]
"""Shared inputs and sampled parameters to an outcome."""


def outcome_of(run: Callable[[], str]) -> Outcome:
    """Return the signature that a trial gives, or why it gives none: one bad trial never ends a sweep."""
    try:
        return {SIGNATURE: run()}
    except Exception as error:
        return {ERROR: f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}


def run_fixed(
    kind: str,
    names: list[str],
    trial: Callable[[InputsRef, str], Outcome],
    inputs_ref: InputsRef,
    log: EventLog,
    sweep: SweepBase,
) -> dict[str, Outcome]:
    """Run configurations that no search proposes, side by side.

    Parameters
    ----------
    kind : str
        What they are, such as ``arm``.
    names : list of str
    trial : callable
        Inputs and a name to an outcome; runs in a Ray task.
    inputs_ref : InputsRef
    sweep : SweepBase
        Says how many workers each takes; one takes a CPU of its own.

    Returns
    -------
    dict
        Outcome of each, by name.
    """
    # A process ends with its task and its memory goes with it: trials get their own.
    resources = resources_of(sweep)
    task = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0), max_calls=1)(
        trial
    )
    # Those with workers of their own take no CPU themselves, so Ray would start all of them at once.
    waiting = list(reversed(names))
    n_at_once = len(names) if sweep.workers == 1 else n_that_fit(sweep)
    pending: dict[ray.ObjectRef[Outcome], str] = {}
    outcomes: dict[str, Outcome] = {}
    with progress(f"{kind}s", len(names)) as advance:
        while pending or waiting:
            while waiting and len(pending) < n_at_once:
                name = waiting.pop()
                pending[task.remote(inputs_ref, name)] = name
            (ref,), _ = ray.wait(list(pending), num_returns=1)
            name = pending.pop(ref)
            outcomes[name] = ray.get(ref)
            log.emit(f"{kind}_done", **{kind: name}, **outcomes[name])
            advance(name if SIGNATURE in outcomes[name] else f"{name}: failed")
    return outcomes


def run_search(
    store: Store,
    log: EventLog,
    *,
    sweep: SweepBase,
    space: Ranges,
    first: list[dict[str, float]],
    n_trials: int,
    max_concurrent: int,
    trial: Trial,
    inputs_ref: InputsRef,
    objective: Callable[[str], float],
) -> list[FrozenTrial]:
    """Run what is left of a search, and return all of its trials, earlier attempts included.

    Parameters
    ----------
    sweep : SweepBase
        Its Optuna journal is the record, and is copied to S3 after every told trial.
    space, first
        Ranges, and configurations to try before any other.
    trial : callable
        Runs in a Ray actor, and reports to Tune after each part.
    objective : callable
        Signature of predictions to the value to maximise; runs here, where labels may be read.

    Raises
    ------
    InterruptedSweepError
        Ctrl-C; the same call goes on.
    SweepFailedError
        Every trial failed.
    """
    name = sweep.name
    with tempfile.TemporaryDirectory() as scratch:
        journal = _local_journal(store, name, Path(scratch))
        study = Study(name, journal, sweep.seed)
        n_requeued = study.continue_interrupted()
        n_finished = len(study.trials)
        n_left = n_trials - n_finished
        log.emit("search_started", n_trials=n_left, n_finished=n_finished, n_requeued=n_requeued)
        if n_left > 0:
            with progress("trials", n_left) as advance:

                def told_objective(signature: str) -> float:
                    value = objective(signature)
                    log.emit("trial_done", signature=signature, objective=value)
                    advance(f"objective {value:.3f}")
                    return value

                def told() -> None:
                    if not store.is_local:
                        store.write_bytes(paths.sweep_journal(name), journal.read_bytes())

                # Nothing reads Tune's own files again, so on S3 they are not kept.
                tune_folder = (
                    Path(store.uri_of(paths.sweep_tune(name)))
                    if store.is_local
                    else Path(scratch) / "tune"
                )
                _tune(
                    partial(_tune_trial, trial=trial, inputs_ref=inputs_ref),
                    study.search(space, first, told_objective, told),
                    n_left,
                    max_concurrent,
                    resources_of(sweep),
                    tune.RunConfig(name=name, storage_path=str(tune_folder), verbose=0),
                )
        trials = study.trials
    if len(trials) < n_trials:  # Ray Tune takes Ctrl-C for itself, and returns
        raise InterruptedSweepError(
            f"sweep {name!r} was interrupted after {len(trials)} of {n_trials} trials. The same command goes on where "
            "it was."
        )
    if all(error_of(trial) for trial in trials):
        raise SweepFailedError(
            f"all {len(trials)} trials of sweep {name!r} failed. First one: {error_of(trials[0])}"
        )
    return trials


def _tune(
    trainable: Callable[[dict[str, float]], Outcome],
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


def _tune_trial(
    params: dict[str, float],
    *,
    trial: Trial,
    inputs_ref: InputsRef,
) -> Outcome:
    return trial(inputs_ref, params, lambda n_done: tune.report({N_PARTS: n_done}))


def _local_journal(store: Store, name: str, scratch: Path) -> Path:
    """Return the journal as a local file: Optuna appends to it. On S3 a copy follows every told trial."""
    path = paths.sweep_journal(name)
    if store.is_local:
        return Path(store.uri_of(path))
    journal = scratch / "optuna.journal"
    if store.exists(path):
        journal.write_bytes(store.read_bytes(path))
    return journal
