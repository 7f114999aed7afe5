"""What is trained when a search has ended: the chosen configuration, on all subjects.

Nobody is left to stop that training, so that its passes are counted beforehand.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from orchestrator.methods.sleepmg.plan import TrainingPlan
from orchestrator.methods.sleepmg.trial.cross_validation import Trial, fold_record
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store


def refit_of(inputs: CrossValidationInputs, trial: Trial) -> Trial:
    """Return a cross-validation that has ended as trainings on all subjects, one with each of its seeds.

    Each has the settings and the seed of the folds, and takes as many passes as :func:`n_passes_after` says of those
    with its seed.

    Raises
    ------
    IntegrityError
        The record of a fold is damaged.
    """
    store = Store.open(inputs.store_uri)

    def best_pass(fold: TrainingPlan, seed: int) -> int:
        record = fold_record(store, inputs.fold_id(fold, trial.settings, seed))
        return int(record["best_pass"])

    plans = tuple(
        TrainingPlan(
            train=inputs.subjects,
            n_passes=n_passes_after([best_pass(fold, seed) for fold in inputs.folds]),
        )
        for seed in trial.seeds
    )
    ids = [
        inputs.fold_id(plan, trial.settings, seed)
        for plan, seed in zip(plans, trial.seeds, strict=True)
    ]
    return replace(trial, refit=plans, signature=content_id({"refit": ids}), stored=())


def n_passes_after(best_passes: Sequence[int]) -> int:
    """Return how many passes a training takes that nobody stops: the median of the best ones of others.

    A reconstruction: the paper names no training on all subjects.

    >>> n_passes_after([4, 9, 5]), n_passes_after([4, 5])  # a half is rounded up
    (5, 5)
    """
    return math.floor(median(best_passes) + 0.5)
