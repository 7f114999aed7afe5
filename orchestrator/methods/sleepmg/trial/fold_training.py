"""Train folds of a cross-validation in this process or with several workers, and write what each gives."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from orchestrator.method import InputsRef
from orchestrator.methods.sleepmg.plan import TrainingPlan
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from orchestrator.sweeps.epochs import predictions_table
from orchestrator.sweeps.failures import naming_checkpoint, persistently
from orchestrator.sweeps.surroundings import TrainingWatch
from orchestrator.sweeps.workers import Feed, Rows, run_on_workers
from trainables.epochs import MultimodalBatch, MultimodalEpochs, Signals
from trainables.fold import (
    Fold,
    FoldOutcome,
    batch_of,
    n_batches_of_pass,
    order_of_pass,
    predict,
    train_fold,
)
from trainables.settings import SleepMGSettings
from trainables.snapshot import Snapshot
from trainables.training import Checkpoints, Report, Seconds
from trainables.weights import sleepmg_to_bytes
from trainables.workers import Workers

CHECKPOINT_STEPS = 100
"""Steps after which a fold under way is saved; it is after each pass, too."""

_POSITION = "position"
"""Column of the rows that workers get, next to one for each modality."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """How the folds of a trial are trained."""

    settings: SleepMGSettings
    seed: int
    signature: str
    """Of the trial, under which its training is watched."""


@dataclass(frozen=True, slots=True)
class _FoldToTrain:
    """A fold to train."""

    plan: TrainingPlan
    saved: bytes | None
    """Its checkpoint, where it was begun before."""


def train_missing(
    inputs: CrossValidationInputs,
    plans: Sequence[TrainingPlan],
    setup: Setup,
    inputs_ref: InputsRef | None,
    report: Report | None,
) -> list[Seconds]:
    """Train those of some folds that are not in the store, and return what each took.

    A fold that was killed goes on from its last checkpoint to the same weights.

    Parameters
    ----------
    inputs : CrossValidationInputs
    plans : sequence of TrainingPlan
        Several workers train them one after the other, without beginning anew.
    setup : Setup
    inputs_ref : InputsRef
        What several workers read the inputs from; one worker needs none.
    report : callable
        Called after each pass of one worker.
    """
    store = Store.open(inputs.store_uri)

    def missing() -> list[TrainingPlan]:
        return [
            plan
            for plan in plans
            if not store.exists(paths.fold_json(inputs.fold_id(plan, setup.settings, setup.seed)))
        ]

    def attempt() -> list[Seconds]:
        """Go on where the last attempt was: folds that it finished are in the store."""
        due = [_due(store, inputs, plan, setup) for plan in missing()]
        if inputs.sweep.workers == 1:
            return [_train(inputs, fold, setup, report=report) for fold in due]
        assert inputs_ref is not None
        return _on_workers(inputs, due, setup, inputs_ref) if due else []

    return persistently(attempt, lambda: len(missing()))


def _due(
    store: Store, inputs: CrossValidationInputs, plan: TrainingPlan, setup: Setup
) -> _FoldToTrain:
    fold_id = inputs.fold_id(plan, setup.settings, setup.seed)
    return _FoldToTrain(plan, store.read_if_there(paths.fold_checkpoint(fold_id)))


def _train(
    inputs: CrossValidationInputs,
    due: _FoldToTrain,
    setup: Setup,
    **options: Any,
) -> Seconds:
    """Train a fold and write predictions, weights and, last, its record; of several workers, the first one writes.

    Returns what the training took.
    """
    store = Store.open(inputs.store_uri)
    epochs, fold = inputs.fold(due.plan, setup.settings)
    workers = Workers.current()
    checkpoint_path = paths.fold_checkpoint(inputs.fold_id(due.plan, setup.settings, setup.seed))

    def save(blob: bytes) -> None:
        if workers.rank == 0:
            store.write_bytes(checkpoint_path, blob)

    watched = TrainingWatch(store, inputs.sweep.name, setup.signature)
    with (
        naming_checkpoint(store.uri_of(checkpoint_path)),
        watched.training(setup.settings.training.batch_size, inputs.sweep.device) as surroundings,
    ):
        outcome = train_fold(
            epochs,
            fold,
            declared=inputs.sweep.stages,
            settings=setup.settings,
            seed=setup.seed,
            device=inputs.sweep.device,
            checkpoints=Checkpoints(
                save=save,
                every_n_steps=CHECKPOINT_STEPS,
                resume_from=due.saved,
            ),
            surroundings=surroundings,
            n_passes=due.plan.n_passes,
            **options,
        )
    if workers.rank == 0:
        _write(store, inputs, due.plan, setup, (epochs, fold, outcome))
    return outcome.training.seconds


def _on_workers(
    inputs: CrossValidationInputs,
    due: Sequence[_FoldToTrain],
    setup: Setup,
    inputs_ref: InputsRef,
) -> list[Seconds]:
    """Train folds under Ray Train: each worker gets its part of every batch, in the order of one worker."""
    seconds: list[Seconds] = run_on_workers(
        _on_worker,
        # What the order begins with and what the workers go on from must be the same checkpoint.
        (inputs_ref, due, setup),
        [_feed(inputs, fold, setup, inputs_ref) for fold in due],
        sweep=inputs.sweep,
        share=setup.settings.training.batch_size // inputs.sweep.workers,
    )
    return seconds


def _feed(
    inputs: CrossValidationInputs,
    due: _FoldToTrain,
    setup: Setup,
    inputs_ref: InputsRef,
) -> Feed:
    settings, seed = setup.settings, setup.seed
    _, fold = inputs.fold(due.plan, settings)
    n_passes = due.plan.n_passes or settings.training.n_passes
    first = 1
    if due.saved is not None:
        fold_id = inputs.fold_id(due.plan, setup.settings, setup.seed)
        uri = Store.open(inputs.store_uri).uri_of(paths.fold_checkpoint(fold_id))
        with naming_checkpoint(uri):
            first = Snapshot.from_bytes(due.saved).progress.pass_number
    n_batches = n_batches_of_pass(fold, settings.training, inputs.sweep.workers)
    order = np.concatenate(
        [
            order_of_pass(fold, seed, number)[: settings.training.batch_size * n_batches]
            for number in range(min(first, n_passes), n_passes + 1)
        ],
        dtype=np.int32,  # it is sent to where the rows are read
    )

    def rows_of(row: NDArray[np.int64]) -> Rows:
        shared: CrossValidationInputs = ray.get(inputs_ref[0])
        position = order[row]
        x = {m: x[fold.train[position]] for m, x in shared.epochs.x.items()}
        return {_POSITION: position, **x}

    return Feed(len(order), rows_of)


def _on_worker(
    arguments: tuple[InputsRef, Sequence[_FoldToTrain], Setup],
    feeds: Iterator[Iterator[Rows]],
) -> list[Seconds]:
    inputs_ref, due, setup = arguments
    inputs: CrossValidationInputs = ray.get(inputs_ref[0])
    return [_share_of(inputs, fold, setup, shares) for fold, shares in zip(due, feeds, strict=True)]


def _share_of(
    inputs: CrossValidationInputs,
    due: _FoldToTrain,
    setup: Setup,
    shares: Iterator[Rows],
) -> Seconds:
    """Train one fold as one of several workers, on its part of every batch."""
    epochs, fold = inputs.fold(due.plan, setup.settings)
    n_batches = n_batches_of_pass(fold, setup.settings.training, Workers.current().n)
    device = inputs.sweep.device

    def batches_of(pass_number: int) -> Iterator[MultimodalBatch]:
        for share in itertools.islice(shares, n_batches):
            position = share[_POSITION]
            present = None if epochs.is_complete else epochs.present[fold.train[position]]
            signals = Signals(
                x={m: torch.tensor(share[m], device=device) for m in epochs.modalities},
                present=None if present is None else torch.tensor(present, device=device),
            )
            yield batch_of(epochs, fold, position, device, signals)

    # A modality that a worker's part lacks leaves its extractor unused there, unless batch-norm is synced.
    unused = not epochs.is_complete and not setup.settings.training.sync_batch_norm
    return _train(
        inputs,
        due,
        setup,
        batches_of=batches_of,
        wrap=partial(DistributedDataParallel, find_unused_parameters=unused),
    )


def _write(
    store: Store,
    inputs: CrossValidationInputs,
    plan: TrainingPlan,
    setup: Setup,
    trained: tuple[MultimodalEpochs, Fold, FoldOutcome],
) -> None:
    epochs, fold, outcome = trained
    fold_id = inputs.fold_id(plan, setup.settings, setup.seed)
    store.write_table(
        paths.fold_predictions(fold_id),
        pa.concat_tables(
            [
                _predictions(inputs, epochs, outcome, role, inputs.rows_of(subjects))
                for role, subjects in (("objective", plan.validation), ("test", plan.test))
            ]
        ),
    )
    weights = sleepmg_to_bytes(outcome.model, setup.settings, epochs.n_channels, fold.n_domains)
    store.write_bytes(paths.fold_weights(fold_id), weights)
    training = outcome.training
    record = {
        "data_id": inputs.data_id,
        "train": plan.train,
        "validation": plan.validation,
        "test": plan.test,
        "settings": dataclasses.asdict(setup.settings),
        "seed": setup.seed,
        "n_train_epochs": len(fold.train),
        "n_steps": training.n_steps,
        "n_passes": training.n_passes,
        "best_pass": training.best_pass,
        "history": training.history,
        "weights_sha256": sha256(weights),
    }
    store.write_bytes(paths.fold_json(fold_id), json.dumps(record, indent=1).encode())
    store.delete_if_there(paths.fold_checkpoint(fold_id))


def _predictions(
    inputs: CrossValidationInputs,
    epochs: MultimodalEpochs,
    outcome: FoldOutcome,
    role: str,
    rows: NDArray[np.intp],
) -> pa.Table:
    found = predict(outcome.model, epochs, rows, declared=inputs.sweep.stages)
    table = predictions_table(
        role, inputs.recording[rows], inputs.epoch_index[rows], found.probability
    )
    # What each modality alone would say; absent with one group, whose own stage is the stage.
    if len(outcome.model.groups) > 1:
        for group, own in zip(outcome.model.groups, found.own_stage, strict=True):
            absent = ~epochs.present[rows, epochs.modalities.index(group)]
            table = table.append_column(f"own_{group}", pa.array(own, pa.int8(), mask=absent))
    return table
