"""What Ray runs of a sleepmg sweep in other processes, which import what a trial needs and nothing of the search."""

import ray

from orchestrator.sweep.reports import AfterPart, InputsRef, Outcome, outcome_of
from orchestrator.sweep.sleepmg import trial
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs
from search_spaces.space import Params
from trainables.training import Seconds


def run_row(inputs_ref: InputsRef, name: str) -> Outcome:
    """Run a row with one of its seeds, by its name."""
    inputs: CrossValidationInputs = ray.get(inputs_ref[0])
    slug, _, seed = name.removeprefix("row-").rpartition("-seed")
    (row,) = (row for row in inputs.sweep.rows if row.slug == slug)
    settings = inputs.sweep.row_settings(row)
    seconds: list[Seconds] = []
    return outcome_of(
        lambda: trial.run(
            inputs, settings, int(seed), inputs_ref=inputs_ref, trained=seconds.append
        ),
        seconds,
    )


def run_trial(inputs_ref: InputsRef, params: Params, after_part: AfterPart) -> Outcome:
    """Run a trial of the search."""
    inputs: CrossValidationInputs = ray.get(inputs_ref[0])
    settings = inputs.sweep.settings_for(params)
    seconds: list[Seconds] = []
    return outcome_of(
        lambda: trial.run_all(
            inputs, settings, inputs.sweep.trial_seeds, after_part, inputs_ref, seconds.append
        ),
        seconds,
    )
