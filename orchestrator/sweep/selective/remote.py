"""What Ray runs of a selective sweep in other processes, which import what a trial needs and nothing of the search."""

from collections.abc import Mapping

import ray

from orchestrator.sweep.reports import AfterPart, InputsRef, Outcome, outcome_of
from orchestrator.sweep.selective import trial
from trainables.training import Seconds


def run_arm(inputs_ref: InputsRef, arm: str) -> Outcome:
    """Run a control arm, by its name."""
    inputs: trial.TrialInputs = ray.get(inputs_ref[0])
    seeds = trial.arm_configurations(inputs, arm)
    seconds: list[Seconds] = []
    return outcome_of(
        lambda: trial.run_all(inputs, seeds, inputs_ref, trained=seconds.append), seconds
    )


def run_trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
    """Run a trial of the search."""
    inputs: trial.TrialInputs = ray.get(inputs_ref[0])
    seeds = trial.trial_configurations(inputs, params)
    seconds: list[Seconds] = []
    return outcome_of(
        lambda: trial.run_all(inputs, seeds, inputs_ref, after_part, seconds.append), seconds
    )
