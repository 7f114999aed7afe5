"""One trial: finetune on the source batches that were selected, and predict. The only adapter to ``trainables``.

A trial gets arrays without any stage of the target, and gives predictions; what those are worth is computed
elsewhere, by code that may read labels.
"""

from collections.abc import Callable, Iterator, Sequence
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
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import predictions_table
from orchestrator.sweeps.failures import naming_checkpoint, persistently
from orchestrator.sweeps.surroundings import TrainingWatch
from orchestrator.sweeps.workers import Feed, Rows, run_on_workers
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
    there are any. Where each subject is adapted to by itself, sizes are sums over the subjects, the batches to select
    from, too, and the mean is over the distances of what each keeps to that subject.

    Parameters
    ----------
    inputs : TrialInputs
    trial : Trial
    emd_S : (n_selectable,)
        To all of the target, in feature units.
    """
    first = trial.of_first_seed
    emd_of: dict[str | None, NDArray[np.float64]] = {None: emd_S}
    emd_of |= {each.subject: each.emd_S for each in inputs.subjects}
    kept = np.concatenate([emd_of[each.subject][each.kept] for each in first])
    reports: dict[str, Any] = {}
    if inputs.sweep.search.scheduler.name != NONE:
        reports = {"n_parts": PARTS_PER_FINETUNING * len(trial.configurations), "unit": TENTH}
    return {
        **reports,
        "n_kept": len(kept),
        "n_batches": len(emd_S) * len(first),
        "mean_emd": float(kept.mean()) if len(kept) else None,
    }


def train(order: Order[TrialInputs, Trial]) -> None:
    """Train with one seed after the other, and there for one subject after the other, as :func:`run` does.

    A scheduler may end the trial after each tenth of each training. Subjects for whom a seed trains on the same batches
    share the training of the first of them, and the reports of its tenths.
    """
    inputs, after_part = order.inputs, order.after_part
    configurations = order.trial.configurations
    prunes = inputs.sweep.search.scheduler.name != NONE
    for i, configuration in enumerate(configurations):
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
            [each for each in configurations[i + 1 :] if each.trains_as(configuration)],
        )
        if after_tenth is not None and i + 1 < len(configurations):
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
    alike: Sequence[Configuration] = (),
) -> str:
    """Train, predict, write the predictions to the store, and return their signature.

    Predictions that are in the store already are not made again, and a training that was killed goes on from its
    last checkpoint to the same weights. With several workers, `inputs_ref` is what they read
    the inputs from, and nothing is told on the way; else `after_tenth` is called when predictions for the
    objective's epochs are stored. `trained` is called with what a training took, the first worker's, unless none was
    needed. `of_trial` is the signature of the trial that this training is a part of, if it is. `alike` are
    configurations for other subjects that train the same: this training predicts for those, too, unless that is done.
    """
    name = signature(inputs, configuration)
    store = Store.open(inputs.store_uri)

    def is_done(each: Configuration) -> bool:
        return store.exists(paths.predictions(inputs.sweep_name, signature(inputs, each)))

    if is_done(configuration):
        return name
    # Its own are written last: once they are there, nothing of this training is missing.
    served = (*(each for each in alike if not is_done(each)), configuration)

    def attempt() -> Seconds | None:
        path = paths.trial_checkpoint(inputs.sweep_name, name)
        saved = store.read_if_there(path)
        with naming_checkpoint(store.uri_of(path)):
            if inputs.sweep.workers == 1 or not configuration.is_trained:
                torch.set_num_threads(
                    1
                )  # trials share the machine; and the last digits depend on it
                return _finetune_and_predict(
                    inputs, served, saved, of_trial or name, after_tenth=after_tenth
                )
            assert inputs_ref is not None
            return _on_workers(inputs, served, inputs_ref, saved, of_trial or name)

    seconds = persistently(attempt)
    if trained is not None and seconds is not None:
        trained(seconds)
    return name


def _finetune_and_predict(
    inputs: TrialInputs,
    served: tuple[Configuration, ...],
    resume_from: bytes | None,
    watched: str,
    own_batches: Iterator[Batch] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    after_tenth: Callable[[int], None] | None = None,
) -> Seconds | None:
    """Finetune as the last of those that the training serves says, and return what that took; None without any."""
    configuration = served[-1]
    model = classifier_from_bytes(inputs.weights).to(inputs.sweep.device)
    store, name = Store.open(inputs.store_uri), signature(inputs, configuration)
    checkpoint_path = paths.trial_checkpoint(inputs.sweep_name, name)
    workers = Workers.current()

    def save(blob: bytes) -> None:
        if workers.rank == 0:
            store.write_bytes(checkpoint_path, blob)

    tenths = _tenths(configuration.n_steps)

    def after_step(n_steps: int) -> None:
        if after_tenth is not None and n_steps in tenths:
            part = paths.part_predictions(
                inputs.sweep_name, part_name(watched, name), tenths[n_steps]
            )
            without_labels = OBJECTIVES[inputs.sweep.search.objective].reads == "target signals"
            role = inputs.unlabelled_role if without_labels else OBJECTIVE
            table = _predicted(inputs, model, role, configuration.subject)
            store.write_table(part, _noted(inputs, model, table, configuration.subject))
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
    _write_outcome(inputs, model, served, store)
    store.delete_if_there(checkpoint_path)
    return seconds


def _write_outcome(
    inputs: TrialInputs,
    model: StageClassifier,
    served: Sequence[Configuration],
    store: Store,
) -> None:
    """Write weights, where they are kept, and predictions of one training for each that it serves."""
    weights = None
    # A model for each subject has a file for each, be it of a subject for whom nothing was trained.
    if inputs.sweep.keep_models != "none" and (served[-1].is_trained or served[-1].subject):
        n_channels = inputs.batches_x.shape[2]
        weights = classifier_to_bytes(model, inputs.sweep.encoder, n_channels)
    of_objective = _predicted(inputs, model, OBJECTIVE)
    others = [TEST, *([] if inputs.adapt_epochs is None else [ADAPT])]
    for each in served:
        name = signature(inputs, each)
        if weights is not None:
            # Before the predictions, whose presence means that this training is done.
            store.write_bytes(paths.trial_weights(inputs.sweep_name, name), weights)
        parts = [_predicted(inputs, model, role, each.subject) for role in others]
        table = _noted(inputs, model, pa.concat_tables([of_objective, *parts]), each.subject)
        store.write_table(paths.predictions(inputs.sweep_name, name), table)


def _predicted(
    inputs: TrialInputs, model: StageClassifier, role: str, subject: str | None = None
) -> pa.Table:
    epochs = inputs.epochs_of(role, subject)
    probability = inference.predict(model, epochs.x, declared=inputs.learned_stages)
    return predictions_table(role, epochs.recording, epochs.epoch_index, probability)


def _noted(
    inputs: TrialInputs, model: StageClassifier, table: pa.Table, subject: str | None
) -> pa.Table:
    """Return predictions with the distance after finetuning, where that is the objective."""
    if inputs.sweep.search.objective != "target_emd":
        return table
    return table.replace_schema_metadata({TARGET_EMD: repr(_target_emd(inputs, model, subject))})


def part_name(trial: str, training: str) -> str:
    """Return the name of what a trial tells of a training under way: another trial may run the same training.

    Parameters
    ----------
    trial, training : str
        Their signatures, which are the same for a trial of one training.
    """
    return training if trial == training else content_id({"trial": trial, "training": training})


def _tenths(n_steps: int) -> dict[int, int]:
    """Return which part of a training ends with a step, for all parts but the last."""
    ends = (
        (-(-n_steps * part // PARTS_PER_FINETUNING), part)
        for part in range(1, PARTS_PER_FINETUNING)
    )
    return {step: part for step, part in ends if step < n_steps}


def _target_emd(inputs: TrialInputs, model: StageClassifier, subject: str | None) -> float:
    """Return the distance to one subject, or to the target: the mean over subjects who are adapted to each alone."""
    source_x = inputs.batches_x.reshape(-1, *inputs.batches_x.shape[2:])
    score = inputs.sweep.score
    subjects: list[str | None] = [subject]
    if subject is None and inputs.subjects:
        subjects = [each.subject for each in inputs.subjects]
    distances = [
        target_emd(
            model,
            source_x,
            inputs.epochs_of(inputs.unlabelled_role, each).x,
            score.layer,
            score.metric,
        )
        for each in subjects
    ]
    return float(np.mean(distances))


def _on_workers(
    inputs: TrialInputs,
    served: tuple[Configuration, ...],
    inputs_ref: InputsRef,
    saved: bytes | None,
    watched: str,
) -> Seconds | None:
    """Finetune under Ray Train: each worker gets its part of every batch, in the order of one worker."""
    configuration = served[-1]
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
        (inputs_ref, served, saved, watched),
        [Feed(len(order) * n_workers, rows_of)],
        sweep=inputs.sweep,
        share=1,
    )
    return seconds


def _on_worker(
    arguments: tuple[InputsRef, tuple[Configuration, ...], bytes | None, str],
    feeds: Iterator[Iterator[Rows]],
) -> Seconds | None:
    inputs_ref, served, saved, watched = arguments
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
        inputs, served, saved, watched, own_batches=batches, wrap=DistributedDataParallel
    )


TRAINER = Trainer(configured=configured, train=train)
"""How trials and arms are trained in other processes, which import this module and nothing of the search."""
