"""Arms and trials on Ray: control arms as tasks, trials by Ray Tune with proposals from Optuna."""

import os
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ray
from ray import tune

from orchestrator.config.sweep import SweepFile
from orchestrator.errors import SweepFailedError
from orchestrator.sweep import trial
from orchestrator.sweep.search import ERROR, SIGNATURE, Study
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress

Outcome = dict[str, str]
"""What a trial or arm reports: the signature of its predictions, or why there are none."""


def run_arms(
    sweep: SweepFile,
    inputs: trial.TrialInputs,
    inputs_ref: "ray.ObjectRef[trial.TrialInputs]",
    log: EventLog,
) -> dict[str, Outcome]:
    """Train and predict the control arms side by side; returns the outcome of each by name.

    ``no_adapt`` is predicted in any case: it says what the pretrained model is worth.

    Raises
    ------
    SweepFailedError
        The pretrained model cannot even predict; any other arm may fail alone.
    """
    arms = sorted({*sweep.arms, "no_adapt"})
    run_arm = ray.remote(num_cpus=1, max_calls=1)(
        _arm
    )  # its memory goes with it: trials get their own
    pending = {run_arm.remote(inputs_ref, arm): arm for arm in arms}
    outcomes: dict[str, Outcome] = {}
    with progress("arms", len(arms)) as advance:
        while pending:
            (ref,), _ = ray.wait(list(pending), num_returns=1)
            arm = pending.pop(ref)
            outcomes[arm] = ray.get(ref)
            log.emit("arm_done", arm=arm, **outcomes[arm])
            advance(arm if SIGNATURE in outcomes[arm] else f"{arm}: failed")
    if ERROR in outcomes["no_adapt"]:
        raise SweepFailedError(
            f"the pretrained model cannot predict: {outcomes['no_adapt'][ERROR]}"
        )
    return outcomes


def run_trials(
    sweep: SweepFile,
    inputs_ref: "ray.ObjectRef[trial.TrialInputs]",
    study: Study,
    objective: Callable[[str], float],
    told: Callable[[], None],
    n_trials: int,
    tune_folder: Path,
) -> None:
    """Run `n_trials` trials with Ray Tune. Its own snapshots are not read again: the study is the record."""
    # Trials report where their predictions are; the objective comes from the driver, which may read labels.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints a banner whatever the verbosity
    rate = sweep.search.default_learning_rate
    first = [
        {"tau_quantile": tau, "learning_rate": rate} for tau in sweep.search.enqueue_tau_quantiles
    ]
    searcher = study.search(sweep.search.space.declared(), first, objective, told)
    tune.Tuner(
        tune.with_resources(partial(_tune_trial, inputs_ref=inputs_ref), {"CPU": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=n_trials,
            max_concurrent_trials=sweep.search.max_concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=sweep.name, storage_path=str(tune_folder), verbose=0),
    ).fit()


def _arm(inputs: trial.TrialInputs, arm: str) -> Outcome:
    return _outcome(inputs, lambda: trial.arm_configuration(inputs, arm))


def _tune_trial(
    params: dict[str, float], *, inputs_ref: "ray.ObjectRef[trial.TrialInputs]"
) -> Outcome:
    inputs: trial.TrialInputs = ray.get(inputs_ref)
    return _outcome(inputs, lambda: trial.trial_configuration(inputs, params))


def _outcome(inputs: trial.TrialInputs, configure: Callable[[], trial.Configuration]) -> Outcome:
    try:
        return {SIGNATURE: trial.run(inputs, configure())}
    except Exception as error:  # one bad trial never ends a sweep; the reason goes into the table
        return {ERROR: f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}
