"""One trial: finetune on the source batches that were selected, and predict. The only adapter to ``trainables``.

A trial gets arrays without any stage of the target, and gives predictions; what those are worth is computed
elsewhere, by code that may read labels.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from orchestrator.config.proposals import NONE
from orchestrator.method import AfterPart, InputsRef, Order, Trainer
from orchestrator.methods.selective.config.objectives import OBJECTIVES
from orchestrator.methods.selective.results import TENTH
from orchestrator.methods.selective.trial.configuration import (
    ADAPT,
    OBJECTIVE,
    TEST,
    Configuration,
    Trial,
    TrialInputs,
    configured,
    signature,
)
from orchestrator.methods.selective.trial.distance import target_emd
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.epochs import predictions_table
from orchestrator.sweep.failures import naming_checkpoint, persistently
from orchestrator.sweep.surroundings import TrainingWatch
from orchestrator.sweep.workers import Feed, Rows, run_on_workers
from trainables import inference, selective
from trainables.models.mrcnn import StageClassifier
from trainables.settings import FinetuneSettings
from trainables.snapshot import Snapshot
from trainables.training import Batch, Checkpoints, Seconds
from trainables.weights import classifier_from_bytes, classifier_to_bytes
from trainables.workers import Workers

PARTS_PER_FINETUNING = 10
"""A finetuning that a scheduler may end reports after each tenth of its steps."""

TARGET_EMD = b"target_emd"
"""Key of the predictions' metadata: how far the target is after finetuning, where that is the objective. Predictions
lie in the sweep's own folder and a sweep keeps its objective, so it is there wherever it is asked for."""

CHECKPOINT_INTERVAL_S = 10.0
"""Seconds after which a finetuning under way is saved again, at the end of a step."""


def described(inputs: TrialInputs, trial: Trial, emd_S: NDArray[np.float64]) -> dict[str, Any]:
    """Return what the event log is to say of a trial: its selection, and what a scheduler hears of it.

    That is the size of the selection, the mean EMD of what it keeps, how many reports there are and after what, if
    there are any.

    Parameters
    ----------
    inputs : TrialInputs
    trial : Trial
    emd_S : (n_selectable,)
        To the target, in feature units.
    """
    kept = trial.seeds[0].kept
    reports: dict[str, Any] = {}
    if inputs.sweep.search.scheduler.name != NONE:
        reports = {"n_parts": PARTS_PER_FINETUNING * len(trial.seeds), "unit": TENTH}
    return {
        **reports,
        "n_kept": len(kept),
        "n_batches": len(emd_S),
        "mean_emd": float(emd_S[kept].mean()) if len(kept) else None,
    }


def train(order: Order[TrialInputs, Trial]) -> None:
    """Train with one seed after the other, as :func:`run` does.

    A scheduler may end the trial after each tenth of each training.
    """
    inputs, seeds, after_part = order.inputs, order.trial.seeds, order.after_part
    prunes = inputs.sweep.search.scheduler.name != NONE
    for i, configuration in enumerate(seeds):
        after_tenth = None
        if after_part is not None and prunes:
            after_tenth = partial(_after_tenth, after_part, PARTS_PER_FINETUNING * i)
        run(
            inputs,
            configuration,
            order.inputs_ref,
            after_tenth,
            order.trained,
            order.trial.signature,
        )
        if after_tenth is not None and i + 1 < len(seeds):
            after_tenth(PARTS_PER_FINETUNING)


def _after_tenth(after_part: AfterPart, n_before: int, tenth: int) -> None:
    after_part(n_before + tenth)


def run(
    inputs: TrialInputs,
    configuration: Configuration,
    inputs_ref: InputsRef | None = None,
    after_tenth: Callable[[int], None] | None = None,
    trained: Callable[[Seconds], None] | None = None,
    of_trial: str | None = None,
) -> str:
    """Train, predict, write the predictions to the store, and return their signature.

    Predictions that are in the store already are not made again, and a training that was killed goes on from its
    last checkpoint to the same weights. With several workers, `inputs_ref` is what they read
    the inputs from, and nothing is told on the way; else `after_tenth` is called when predictions for the
    objective's epochs are stored. `trained` is called with what a training took, the first worker's, unless none was
    needed. `of_trial` is the signature of the trial that this training is a part of, if it is.
    """
    name = signature(inputs, configuration)
    store = Store.open(inputs.store_uri)
    if store.exists(paths.predictions(inputs.sweep_name, name)):
        return name

    def attempt() -> Seconds | None:
        path = paths.trial_checkpoint(inputs.sweep_name, name)
        saved = store.read_if_there(path)
        with naming_checkpoint(store.uri_of(path)):
            if inputs.sweep.workers == 1 or not configuration.is_trained:
                torch.set_num_threads(
                    1
                )  # trials share the machine; and the last digits depend on it
                return _finetune_and_predict(
                    inputs, configuration, saved, of_trial or name, after_tenth=after_tenth
                )
            assert inputs_ref is not None
            return _on_workers(inputs, configuration, inputs_ref, saved, of_trial or name)

    seconds = persistently(attempt)
    if trained is not None and seconds is not None:
        trained(seconds)
    return name


def _finetune_and_predict(
    inputs: TrialInputs,
    configuration: Configuration,
    resume_from: bytes | None,
    watched: str,
    own_batches: Iterator[Batch] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    after_tenth: Callable[[int], None] | None = None,
) -> Seconds | None:
    """Return what finetuning took; None without any."""
    model = classifier_from_bytes(inputs.weights).to(inputs.sweep.device)
    store, name = Store.open(inputs.store_uri), signature(inputs, configuration)
    checkpoint_path = paths.trial_checkpoint(inputs.sweep_name, name)
    workers = Workers.current()

    def save(blob: bytes) -> None:
        if workers.rank == 0:
            store.write_bytes(checkpoint_path, blob)

    def predictions(*roles: str) -> pa.Table:
        of_role = {
            OBJECTIVE: inputs.objective_epochs,
            TEST: inputs.test_epochs,
            ADAPT: inputs.unlabelled_epochs,
        }
        parts = []
        for role in roles:
            epochs = of_role[role]
            probability = inference.predict(model, epochs.x, declared=inputs.learned_stages)
            parts.append(predictions_table(role, epochs.recording, epochs.epoch_index, probability))
        table = pa.concat_tables(parts)
        if inputs.sweep.search.objective == "target_emd":
            table = table.replace_schema_metadata({TARGET_EMD: repr(_target_emd(inputs, model))})
        return table

    tenths = _tenths(configuration.n_steps)

    def after_step(n_steps: int) -> None:
        if after_tenth is not None and n_steps in tenths:
            part = paths.part_predictions(inputs.sweep_name, name, tenths[n_steps])
            without_labels = OBJECTIVES[inputs.sweep.search.objective].reads == "target signals"
            role = inputs.unlabelled_role if without_labels else OBJECTIVE
            store.write_table(part, predictions(role))
            after_tenth(tenths[n_steps])

    seconds = None
    if configuration.is_trained:
        n_epochs = inputs.batches_stages.shape[1]
        training = TrainingWatch(store, inputs.sweep_name, watched).training
        with training(n_epochs, inputs.sweep.device) as surroundings:
            outcome = selective.finetune(
                model,
                inputs.batches_x[configuration.kept],
                inputs.batches_stages[configuration.kept],
                declared=inputs.learned_stages,
                class_weights=inputs.class_weights,
                settings=FinetuneSettings(
                    n_steps=configuration.n_steps,
                    learning_rate=configuration.learning_rate or inputs.default_learning_rate,
                ),
                seed=configuration.seed,
                after_step=after_step,
                own_batches=own_batches,
                wrap=wrap,
                checkpoints=Checkpoints(
                    save=save,
                    every_n_steps=1,
                    min_interval_s=CHECKPOINT_INTERVAL_S,
                    resume_from=resume_from,
                ),
                surroundings=surroundings,
            )
        seconds = outcome.seconds
    if workers.rank > 0:
        return seconds
    if configuration.is_trained and inputs.sweep.keep_models != "none":
        n_channels = inputs.batches_x.shape[2]
        weights = classifier_to_bytes(model, inputs.sweep.encoder, n_channels)
        # Before the predictions, whose presence means that this training is done.
        store.write_bytes(paths.trial_weights(inputs.sweep_name, name), weights)
    table = predictions(OBJECTIVE, TEST, *([] if inputs.adapt_epochs is None else [ADAPT]))
    store.write_table(paths.predictions(inputs.sweep_name, name), table)
    store.delete_if_there(checkpoint_path)
    return seconds


def _tenths(n_steps: int) -> dict[int, int]:
    """Return which part of a training ends with a step, for all parts but the last."""
    ends = (
        (-(-n_steps * part // PARTS_PER_FINETUNING), part)
        for part in range(1, PARTS_PER_FINETUNING)
    )
    return {step: part for step, part in ends if step < n_steps}


def _target_emd(inputs: TrialInputs, model: StageClassifier) -> float:
    source_x = inputs.batches_x.reshape(-1, *inputs.batches_x.shape[2:])
    score = inputs.sweep.score
    return target_emd(model, source_x, inputs.unlabelled_epochs.x, score.layer, score.metric)


def _on_workers(
    inputs: TrialInputs,
    configuration: Configuration,
    inputs_ref: InputsRef,
    saved: bytes | None,
    watched: str,
) -> Seconds | None:
    """Finetune under Ray Train: each worker gets its part of every batch, in the order of one worker."""
    order = selective.finetuning_order(
        inputs.batches_stages[configuration.kept],
        declared=inputs.learned_stages,
        class_weights=inputs.class_weights,
        n_steps=configuration.n_steps,
        seed=configuration.seed,
        first_pass=1 if saved is None else Snapshot.from_bytes(saved).progress.pass_number,
    )
    batch_of_step = configuration.kept[order]
    n_workers = inputs.sweep.workers

    def rows_of(row: NDArray[np.int64]) -> Rows:
        shared: TrialInputs = ray.get(inputs_ref[0])
        batch, part = batch_of_step[row // n_workers], row % n_workers
        n_epochs = shared.batches_stages.shape[1] // n_workers
        epochs = part[:, None] * n_epochs + np.arange(n_epochs)
        return {
            "x": shared.batches_x[batch[:, None], epochs],
            "stages": shared.batches_stages[batch[:, None], epochs],
        }

    seconds: Seconds | None = run_on_workers(
        _on_worker,
        # What the order begins with and what the workers go on from must be the same checkpoint.
        (inputs_ref, configuration, saved, watched),
        [Feed(len(order) * n_workers, rows_of)],
        sweep=inputs.sweep,
        share=1,
    )
    return seconds


def _on_worker(
    arguments: tuple[InputsRef, Configuration, bytes | None, str], feeds: Iterator[Iterator[Rows]]
) -> Seconds | None:
    inputs_ref, configuration, saved, watched = arguments
    inputs: TrialInputs = ray.get(inputs_ref[0])
    device = inputs.sweep.device
    batches = (
        (
            torch.tensor(share["x"][0], device=device),
            torch.tensor(share["stages"][0], device=device),
        )
        for share in next(feeds)
    )
    return _finetune_and_predict(
        inputs, configuration, saved, watched, own_batches=batches, wrap=DistributedDataParallel
    )


TRAINER = Trainer(configured=configured, train=train)
"""How trials and arms are trained in other processes, which import this module and nothing of the search."""
