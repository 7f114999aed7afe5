"""One trial of a cross-validation: every fold trained once, whoever asks for it, and predictions of all folds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from orchestrator.config.proposals import NONE
from orchestrator.method import InputsRef, Order, Trainer
from orchestrator.methods.sleepmg.config.rows import Row
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import TrainingPlan
from orchestrator.methods.sleepmg.trial.fold_training import Setup, train_missing
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.store import paths
from orchestrator.store.decoding import Kinds, read_json
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from search_spaces.space import Params
from trainables.settings import SleepMGSettings
from trainables.training import PassMetrics, Seconds

FOLDS_TOGETHER = 8
"""Folds for which several workers begin once: to begin takes ten to twenty seconds; but each fold keeps a process
that reads for it until all are done."""

AfterFold = Callable[[int], None]
"""Called after each fold, with how many are done; may raise to end the trial."""

AfterPass = Callable[[int, PassMetrics], None]
"""Called after each pass, with how many folds are done; may raise to end the trial."""


def signature(inputs: CrossValidationInputs, settings: SleepMGSettings, seed: int) -> str:
    """Return the id of everything that the predictions of a trial depend on."""
    return content_id({"folds": [inputs.fold_id(fold, settings, seed) for fold in inputs.folds]})


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What one trial or row trains: a cross-validation with each of its seeds."""

    row: str | None
    """Name of the row as written in the sweep file; None for a trial of the search."""
    settings: SleepMGSettings
    seeds: tuple[int, ...]
    signature: str
    """Id of its one cross-validation, or of those with all seeds."""
    stored: tuple[str, ...]
    """Id of the cross-validation with each seed, which its predictions are stored under."""
    refit: tuple[TrainingPlan, ...] = ()
    """With each seed, a training on all subjects in place of the folds; empty for a cross-validation."""


def configured(inputs: CrossValidationInputs, name: str, params: Params | None) -> Trial:
    """Return what a trial trains, or a row by its name."""
    sweep = inputs.sweep
    if params is not None:
        return trial_of(inputs, sweep.settings_for(params), sweep.trial_seeds)
    row, seed = rows_by_trial(sweep)[name]
    return trial_of(inputs, sweep.row_settings(row), (seed,), row.name)


def trial_of(
    inputs: CrossValidationInputs,
    settings: SleepMGSettings,
    seeds: tuple[int, ...],
    row: str | None = None,
) -> Trial:
    """Return a cross-validation with each of some seeds, under its ids."""
    stored = tuple(signature(inputs, settings, seed) for seed in seeds)
    return Trial(
        row=row,
        settings=settings,
        seeds=seeds,
        signature=stored[0] if len(stored) == 1 else content_id({"replicates": list(stored)}),
        stored=stored,
    )


def rows_by_trial(sweep: SleepMGSweep) -> dict[str, tuple[Row, int]]:
    """Return rows with their seeds, by name of the trial."""
    return {f"row-{row.slug}-seed{seed}": (row, seed) for row in sweep.rows for seed in sweep.seeds}


def described(inputs: CrossValidationInputs, trial: Trial) -> dict[str, Any]:
    """Return what the event log is to say of a trial: how many reports there are, and after what."""
    assert inputs.sweep.search is not None
    unit = inputs.sweep.search.scheduler.level
    n_folds = len(inputs.folds) * len(trial.seeds)
    n_units = trial.settings.training.n_passes if unit == "pass" else 1
    return {"n_parts": n_folds * n_units, "unit": unit}


def train(order: Order[CrossValidationInputs, Trial]) -> None:
    """Cross-validate with one seed after the other, as :func:`run` does; or train what follows a search.

    Reports the number of finished folds, or of passes where the scheduler looks after each pass; a finished fold counts
    as if it had taken all passes. The objective of a report is the mean validation macro-F1 over folds; the fold under
    way counts with its latest pass.
    """
    inputs, trial, after_part = order.inputs, order.trial, order.after_part
    if trial.refit:
        _refit(order)
        return
    if after_part is None:
        for seed in trial.seeds:
            run(inputs, trial.settings, seed, inputs_ref=order.inputs_ref, trained=order.trained)
        return
    assert inputs.sweep.search is not None
    by_pass = inputs.sweep.search.scheduler.level == "pass"
    unit = trial.settings.training.n_passes if by_pass else 1
    store = Store.open(inputs.store_uri)
    n_folds = len(inputs.folds)
    reached: list[float] = []

    def after_fold(n_before: int, seed: int, n_done: int) -> None:
        fold_id = inputs.fold_id(inputs.folds[n_done - 1], trial.settings, seed)
        reached.append(best_validation(fold_record(store, fold_id)))
        if n_before + n_done < n_folds * len(trial.seeds):
            after_part((n_before + n_done) * unit, float(np.mean(reached)))

    def after_pass(n_before: int, n_done: int, metrics: PassMetrics) -> None:
        if metrics["n_passes"] < unit:  # the last one ends the fold
            n_passes = (n_before + n_done) * unit + metrics["n_passes"]
            after_part(n_passes, float(np.mean([*reached, metrics["validation"]])))

    for i, seed in enumerate(trial.seeds):
        run(
            inputs,
            trial.settings,
            seed,
            partial(after_fold, n_folds * i, seed),
            order.inputs_ref,
            order.trained,
            partial(after_pass, n_folds * i) if by_pass else None,
            trial.signature,
        )


def _refit(order: Order[CrossValidationInputs, Trial]) -> None:
    """Train on all subjects with one seed after the other."""
    torch.set_num_threads(1)  # as in `run`
    trial = order.trial
    for seed, plan in zip(trial.seeds, trial.refit, strict=True):
        setup = Setup(settings=trial.settings, seed=seed, signature=trial.signature)
        for seconds in train_missing(order.inputs, [plan], setup, order.inputs_ref, None):
            order.trained(seconds)


def run(
    inputs: CrossValidationInputs,
    settings: SleepMGSettings,
    seed: int,
    after_fold: AfterFold | None = None,
    inputs_ref: InputsRef | None = None,
    trained: Callable[[Seconds], None] | None = None,
    after_pass: AfterPass | None = None,
    of_trial: str | None = None,
) -> str:
    """Train what is missing of the folds, write the predictions of all of them, and return their signature.

    A fold is content-addressed: one that is in the store is not trained again, and one that was killed goes on from
    its last checkpoint to the same weights. With several workers, `inputs_ref` is what they read the inputs from.
    `trained` is called with what each training took, the first worker's. `of_trial` is
    the signature of the trial that this cross-validation is a part of, if it is.
    """
    torch.set_num_threads(1)  # trials share the machine; and the last digits depend on it
    store = Store.open(inputs.store_uri)
    n_together = _n_together(inputs.sweep)
    name = signature(inputs, settings, seed)
    setup = Setup(settings=settings, seed=seed, signature=of_trial or name)
    parts = []
    for n_done, fold in enumerate(inputs.folds, start=1):
        fold_id = inputs.fold_id(fold, settings, seed)
        if not store.exists(paths.fold_json(fold_id)):
            report = None if after_pass is None else partial(after_pass, n_done - 1)
            due = inputs.folds[n_done - 1 : n_done - 1 + n_together]
            for seconds in train_missing(inputs, due, setup, inputs_ref, report):
                if trained is not None:
                    trained(seconds)
        table = store.read_table(paths.fold_predictions(fold_id))
        parts.append(table.append_column("fold", pa.array([fold.number] * len(table), pa.int32())))
        if after_fold is not None:
            after_fold(n_done)
    path = paths.predictions(inputs.sweep.name, name)
    if not store.exists(path):
        store.write_table(path, pa.concat_tables(parts))
    return name


def fold_record(store: Store, fold_id: str) -> dict[str, Any]:
    """Return what is known of a trained fold.

    Raises
    ------
    IntegrityError
        Its record is damaged.
    """
    kinds: Kinds = {"n_steps": int, "n_passes": int, "best_pass": int, "history": list}
    return read_json(store, paths.fold_json(fold_id), kinds)


def best_validation(record: Mapping[str, Any]) -> float:
    """Return the validation macro-F1 of the pass whose weights a fold ends with."""
    return float(record["history"][record["best_pass"] - 1]["validation"])


def _n_together(sweep: SleepMGSweep) -> int:
    """Return how many folds one group of workers trains: one where a scheduler may end the trial after it."""
    ends_early = sweep.search is not None and sweep.search.scheduler.name != NONE
    return FOLDS_TOGETHER if sweep.workers > 1 and not ends_early else 1


TRAINER = Trainer(configured=configured, train=train)
"""How trials and rows are trained in other processes, which import this module and nothing of the search."""
