"""What Ray runs of a pretrain sweep in other processes, which import what a trial needs and nothing of the search."""

import ray

from orchestrator.sweep.pretrain import trial
from orchestrator.sweep.reports import AfterPart, InputsRef, Outcome, outcome_of
from search_spaces.space import Params
from trainables.training import Seconds


def run_trial(inputs_ref: InputsRef, params: Params, after_part: AfterPart) -> Outcome:
    """Run a trial; it has one part."""
    inputs: trial.TrialInputs = ray.get(inputs_ref[0])
    seconds: list[Seconds] = []
    return outcome_of(lambda: trial.run(inputs, params, seconds.append), seconds)
