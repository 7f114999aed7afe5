"""One trial of a cross-validation: every fold trained once, whoever asks for it, and predictions of all folds."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from orchestrator.store import paths
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store, sha256
from orchestrator.sweep.failures import naming_checkpoint, persistently
from orchestrator.sweep.reports import AfterPart, InputsRef
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs
from orchestrator.sweep.sleepmg.plan import FoldPlan
from orchestrator.sweep.workers import Rows, run_on_workers
from trainables import checkpoint
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
from trainables.stages import STAGE_NAMES
from trainables.training import Checkpoints, PassMetrics, Report, Seconds
from trainables.workers import Workers

CHECKPOINT_STEPS = 100
"""A fold under way is saved after so many steps, and after each pass."""

_POSITION = "position"
"""Column of the rows that workers get, next to one for each modality."""

AfterFold = Callable[[int], None]
"""Called after each fold, with how many are done; may raise to end the trial."""

AfterPass = Callable[[int, PassMetrics], None]
"""Called after each pass, with how many folds are done; may raise to end the trial."""


def signature(inputs: CrossValidationInputs, settings: SleepMGSettings, seed: int) -> str:
    """Return the id of everything that the predictions of a trial depend on."""
    return content_id({"folds": [inputs.fold_id(fold, settings, seed) for fold in inputs.folds]})


def signature_of_all(
    inputs: CrossValidationInputs, settings: SleepMGSettings, seeds: Sequence[int]
) -> str:
    """Return the id of a trial: of its one cross-validation, or of those with all seeds."""
    signatures = [signature(inputs, settings, seed) for seed in seeds]
    return signatures[0] if len(signatures) == 1 else content_id({"replicates": signatures})


def parts(inputs: CrossValidationInputs, settings: SleepMGSettings) -> dict[str, Any]:
    """Return what the event log is to say of a trial: how many reports there are, and after what."""
    assert inputs.sweep.search is not None
    unit = inputs.sweep.search.scheduler.level
    n_folds = len(inputs.folds) * len(inputs.sweep.trial_seeds)
    n_units = settings.training.n_passes if unit == "pass" else 1
    return {"n_parts": n_folds * n_units, "unit": unit}


def run_all(
    inputs: CrossValidationInputs,
    settings: SleepMGSettings,
    seeds: Sequence[int],
    after_part: AfterPart,
    inputs_ref: InputsRef | None = None,
    trained: Callable[[Seconds], None] | None = None,
) -> str:
    """Cross-validate with one seed after the other, as :func:`run` does, and return the trial's signature.

    Reports after each fold, or after each pass where the scheduler looks that often: how many folds (passes, counted
    as if each fold took all) are done, and the mean over them of the validation macro-F1, of the fold under way as
    after its last pass.
    """
    assert inputs.sweep.search is not None
    by_pass = inputs.sweep.search.scheduler.level == "pass"
    unit = settings.training.n_passes if by_pass else 1
    store = Store.open(inputs.store_uri)
    n_folds = len(inputs.folds)
    reached: list[float] = []

    def after_fold(n_before: int, seed: int, n_done: int) -> None:
        fold_id = inputs.fold_id(inputs.folds[n_done - 1], settings, seed)
        reached.append(best_validation(fold_record(store, fold_id)))
        if n_before + n_done < n_folds * len(seeds):
            after_part((n_before + n_done) * unit, float(np.mean(reached)))

    def after_pass(n_before: int, n_done: int, metrics: PassMetrics) -> None:
        if metrics["n_passes"] < unit:  # the last one ends the fold
            n_passes = (n_before + n_done) * unit + metrics["n_passes"]
            after_part(n_passes, float(np.mean([*reached, metrics["validation"]])))

    for i, seed in enumerate(seeds):
        run(
            inputs,
            settings,
            seed,
            partial(after_fold, n_folds * i, seed),
            inputs_ref,
            trained,
            partial(after_pass, n_folds * i) if by_pass else None,
        )
    return signature_of_all(inputs, settings, seeds)


def run(
    inputs: CrossValidationInputs,
    settings: SleepMGSettings,
    seed: int,
    after_fold: AfterFold | None = None,
    inputs_ref: InputsRef | None = None,
    trained: Callable[[Seconds], None] | None = None,
    after_pass: AfterPass | None = None,
) -> str:
    """Train what is missing of the folds, write the predictions of all of them, and return their signature.

    A fold is content-addressed: one that is in the store is not trained again, and one that was killed goes on from
    its last checkpoint to the same weights. With several workers, `inputs_ref` is what they read the inputs from.
    `trained` is called with what each training took, the first worker's.
    """
    torch.set_num_threads(1)  # trials share the machine; and the last digits depend on it
    store = Store.open(inputs.store_uri)
    parts = []
    for n_done, fold in enumerate(inputs.folds, start=1):
        report = None if after_pass is None else partial(after_pass, n_done - 1)
        parts.append(
            _fold_predictions(store, inputs, fold, settings, seed, inputs_ref, trained, report)
        )
        if after_fold is not None:
            after_fold(n_done)
    name = signature(inputs, settings, seed)
    path = paths.predictions(inputs.sweep.name, name)
    if not store.exists(path):
        store.write_table(path, pa.concat_tables(parts))
    return name


def fold_record(store: Store, fold_id: str) -> dict[str, Any]:
    """Return what is known of a trained fold."""
    found: dict[str, Any] = json.loads(store.read_bytes(paths.fold_json(fold_id)))
    return found


def best_validation(record: Mapping[str, Any]) -> float:
    """Return the validation macro-F1 of the pass whose weights a fold ends with."""
    return float(record["history"][record["best_pass"] - 1]["validation"])


def _fold_predictions(
    store: Store,
    inputs: CrossValidationInputs,
    plan: FoldPlan,
    settings: SleepMGSettings,
    seed: int,
    inputs_ref: InputsRef | None,
    trained: Callable[[Seconds], None] | None,
    report: Report | None,
) -> pa.Table:
    fold_id = inputs.fold_id(plan, settings, seed)

    def attempt() -> Seconds:
        saved = store.read_if_there(paths.fold_checkpoint(fold_id))
        with naming_checkpoint(store.uri_of(paths.fold_checkpoint(fold_id))):
            if inputs.sweep.workers == 1:
                return _train(inputs, plan, settings, seed, saved, report=report)
            assert inputs_ref is not None
            return _on_workers(inputs, plan, settings, seed, inputs_ref, saved)

    if not store.exists(paths.fold_json(fold_id)):
        seconds = persistently(attempt)
        if trained is not None:
            trained(seconds)
    table = store.read_table(paths.fold_predictions(fold_id))
    return table.append_column("fold", pa.array([plan.number] * len(table), pa.int32()))


def _train(
    inputs: CrossValidationInputs,
    plan: FoldPlan,
    settings: SleepMGSettings,
    seed: int,
    resume_from: bytes | None,
    **options: Any,
) -> Seconds:
    """Train a fold and write predictions, weights and, last, its record; of several workers, the first one writes.

    Returns what the training took.
    """
    store = Store.open(inputs.store_uri)
    fold_id = inputs.fold_id(plan, settings, seed)
    epochs, fold = inputs.fold(plan, settings)
    workers = Workers.current()
    checkpoint_path = paths.fold_checkpoint(fold_id)

    def save(blob: bytes) -> None:
        if workers.rank == 0:
            store.write_bytes(checkpoint_path, blob)

    outcome = train_fold(
        epochs,
        fold,
        declared=inputs.sweep.stages,
        settings=settings,
        seed=seed,
        device=inputs.sweep.device,
        checkpoints=Checkpoints(
            save=save,
            # Several workers share a stream of batches, which can be taken up at the beginning of a pass only.
            every_n_steps=CHECKPOINT_STEPS if workers.n == 1 else None,
            resume_from=resume_from,
        ),
        **options,
    )
    if workers.rank == 0:
        _write(store, inputs, plan, settings, seed, (epochs, fold, outcome))
    return outcome.training.seconds


def _on_workers(
    inputs: CrossValidationInputs,
    plan: FoldPlan,
    settings: SleepMGSettings,
    seed: int,
    inputs_ref: InputsRef,
    saved: bytes | None,
) -> Seconds:
    """Train a fold under Ray Train: each worker gets its part of every batch, in the order of one worker."""
    _, fold = inputs.fold(plan, settings)
    n_workers = inputs.sweep.workers
    n_passes = settings.training.n_passes
    first = 1 if saved is None else Snapshot.from_bytes(saved).progress.pass_number
    n_taken = settings.training.batch_size * n_batches_of_pass(fold, settings.training, n_workers)
    order = np.concatenate(
        [
            order_of_pass(fold, seed, number)[:n_taken]
            for number in range(min(first, n_passes), n_passes + 1)
        ]
    )

    def rows_of(row: NDArray[np.int64]) -> Rows:
        shared: CrossValidationInputs = ray.get(inputs_ref[0])
        position = order[row]
        x = {m: x[fold.train[position]] for m, x in shared.epochs.x.items()}
        return {_POSITION: position, **x}

    seconds: Seconds = run_on_workers(
        _on_worker,
        # What the order begins with and what the workers go on from must be the same checkpoint.
        (inputs_ref, plan, settings, seed, saved),
        len(order),
        rows_of,
        sweep=inputs.sweep,
        share=settings.training.batch_size // n_workers,
    )
    return seconds


def _on_worker(
    arguments: tuple[InputsRef, FoldPlan, SleepMGSettings, int, bytes | None],
    shares: Iterator[Rows],
) -> Seconds:
    inputs_ref, plan, settings, seed, saved = arguments
    inputs: CrossValidationInputs = ray.get(inputs_ref[0])
    epochs, fold = inputs.fold(plan, settings)
    n_batches = n_batches_of_pass(fold, settings.training, Workers.current().n)
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
    unused = not epochs.is_complete and not settings.training.sync_batch_norm
    return _train(
        inputs,
        plan,
        settings,
        seed,
        saved,
        batches_of=batches_of,
        wrap=partial(DistributedDataParallel, find_unused_parameters=unused),
    )


def _write(
    store: Store,
    inputs: CrossValidationInputs,
    plan: FoldPlan,
    settings: SleepMGSettings,
    seed: int,
    trained: tuple[MultimodalEpochs, Fold, FoldOutcome],
) -> None:
    epochs, fold, outcome = trained
    fold_id = inputs.fold_id(plan, settings, seed)
    store.write_table(
        paths.fold_predictions(fold_id),
        pa.concat_tables(
            [
                _predictions(inputs, epochs, outcome, role, inputs.rows_of(subjects))
                for role, subjects in (("objective", plan.validation), ("test", plan.test))
            ]
        ),
    )
    weights = checkpoint.to_bytes(
        outcome.model.state_dict(),
        {
            "settings": json.dumps(dataclasses.asdict(settings)),
            "n_channels": json.dumps(epochs.n_channels),
            "n_domains": str(fold.n_domains),
        },
    )
    store.write_bytes(paths.fold_weights(fold_id), weights)
    training = outcome.training
    record = {
        "data_id": inputs.data_id,
        "train": plan.train,
        "validation": plan.validation,
        "test": plan.test,
        "settings": dataclasses.asdict(settings),
        "seed": seed,
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
    columns: dict[str, Any] = {
        "role": pa.array([role] * len(rows)).dictionary_encode(),
        "recording": pa.array(inputs.recording[rows]),
        "epoch_index": pa.array(inputs.epoch_index[rows]),
    }
    columns |= {f"p_{name}": found.probability[:, i] for i, name in enumerate(STAGE_NAMES)}
    # What each modality alone would say; absent with one group, whose own stage is the stage.
    if len(outcome.model.groups) > 1:
        columns |= {
            f"own_{group}": pa.array(
                own, pa.int8(), mask=~epochs.present[rows, epochs.modalities.index(group)]
            )
            for group, own in zip(outcome.model.groups, found.own_stage, strict=True)
        }
    return pa.table(columns)
