"""SelectiveFinetuning: pretrain MRCNN on the source, finetune it on the kept source batches.

Zhao, Liu, Ding & Zhou, arXiv 2501.03764, 2025. Its hyper-parameters are not published, so the
recipe is that of AttnSleep (Eldele et al., IEEE TNSRE 29, 2021), from which MRCNN comes, and each
further choice is tagged ``Reconstruction:``. Which batches to keep is decided elsewhere: this
module sees arrays only.

Stages: a **declared** stage is one that the caller wants staged. One that is not declared, or absent from the training
epochs, has weight 0, see :mod:`trainables.stage_loss`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainables.errors import EpochsError
from trainables.inference import FloatArray, predict, to_float
from trainables.metrics import macro_f1
from trainables.models.mrcnn import StageClassifier
from trainables.models.synced_batch_norm import sync_batch_norm
from trainables.seeding import seed_everything
from trainables.settings import EncoderSettings, FinetuneSettings, PretrainSettings
from trainables.stage_loss import (
    check_stages,
    class_weights,
    restrict_weights,
    stage_loss,
    weight_of_each,
)
from trainables.stages import Stage
from trainables.surroundings import Surroundings
from trainables.training import (
    Batch,
    Checkpoints,
    PassMetrics,
    Report,
    Seconds,
    SupervisedStep,
    TrainingOutcome,
    train,
)
from trainables.workers import Workers

IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainOutcome:
    """A pretrained model and how it came about."""

    model: StageClassifier
    """With the weights of the best pass, in evaluation mode."""

    stages: tuple[Stage, ...]
    """Declared stages with at least one training epoch: the ones this model can predict."""

    n_steps: int
    """Optimiser steps taken, those after the best pass included."""

    n_passes: int
    """Passes taken."""

    best_pass: int
    """The pass (from 1) with the best early-stop macro-F1, the earliest of equals."""

    history: tuple[PassMetrics, ...]
    """One entry per pass; ``validation`` is the macro-F1 on the early-stop epochs."""

    seconds: Seconds
    """What it took, in this process."""


def build_model(
    encoder: EncoderSettings, *, n_channels: int, n_times: int = 3000
) -> StageClassifier:
    """Build an untrained model, for instance to load a checkpoint into."""
    return StageClassifier(n_channels=n_channels, n_times=n_times, dropout=encoder.dropout)


def pretrain(
    x: FloatArray,
    stages: IntArray,
    x_early_stop: FloatArray,
    stages_early_stop: IntArray,
    *,
    declared: Sequence[Stage],
    settings: PretrainSettings,
    encoder: EncoderSettings,
    seed: int,
    report: Report | None = None,
    checkpoints: Checkpoints | None = None,
    surroundings: Surroundings | None = None,
) -> PretrainOutcome:
    """Train a model on source epochs, with early stop on epochs of held-out source subjects.

    Each pass shuffles all epochs; the last batch of a pass may be smaller. Epochs whose stage is
    unscored or not declared are left out.

    Parameters
    ----------
    x, x_early_stop : (n_epochs, n_channels, n_times) float32
        Scaled signals; 3000 times are 30 s at 100 Hz.
    stages, stages_early_stop : (n_epochs,)
        Stage values, -1 for unscored.
    declared : sequence of Stage
        Stages to learn and to average the early-stop macro-F1 over.
    settings : PretrainSettings
    encoder : EncoderSettings
    seed : int
        Of weights, dropout and shuffling. Same seed, same weights to the last bit (see
        `seed_everything`).
    report : callable, optional
        Called after each pass.
    checkpoints : Checkpoints, optional
    surroundings : Surroundings, optional
        Who is told how it goes, and who may end it with a `LeaveError`; everything is saved then.

    Returns
    -------
    PretrainOutcome

    Raises
    ------
    EpochsError
        Arrays do not fit together or hold NaN or infinite values, or one of the two sets has no
        epoch of a declared stage.
    SettingsError
        ``declared`` is empty or names a stage twice, or the seed is out of range.
    DivergedError
        The loss left the finite numbers.
    CheckpointError
        The checkpoint belongs to another training.

    Notes
    -----
    Reconstruction: AttnSleep reports the pass that is best on its test fold; here held-out source
    subjects decide, by macro-F1.
    """
    _check_epochs("training", x, stages, n_dims=3)
    _check_epochs("early-stop", x_early_stop, stages_early_stop, n_dims=3)
    if x.shape[1:] != x_early_stop.shape[1:]:
        raise EpochsError(
            f"training epochs have shape {x.shape[1:]} and early-stop epochs "
            f"{x_early_stop.shape[1:]}; they must agree."
        )
    weights = class_weights(stages, declared)
    learned = tuple(Stage(stage) for stage in declared if weights[stage] > 0)
    for name, values in (("training", stages), ("early-stop", stages_early_stop)):
        if not np.isin(values, list(declared)).any():
            raise EpochsError(f"none of {len(values)} {name} epochs has a declared stage.")

    seed_everything(seed)
    model = build_model(encoder, n_channels=x.shape[1], n_times=x.shape[2])
    counted = np.flatnonzero(weight_of_each(stages, weights) > 0)

    def batches_of(pass_number: int) -> Iterator[Batch]:
        order = _shuffled(counted, seed, pass_number)
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            yield _to_batch(x[rows], stages[rows])

    def early_stop_macro_f1() -> float:
        predicted = predict(model, x_early_stop, declared=learned).argmax(axis=1)
        return macro_f1(stages_early_stop, predicted, declared)

    loss = partial(stage_loss, weights=torch.from_numpy(weights))
    outcome = train(
        SupervisedStep(model=model, optimizer=_adam(model, settings), loss=loss),
        batches_of,
        n_passes=settings.n_passes,
        learning_rate=settings.learning_rate_at,
        validate=early_stop_macro_f1,
        patience=settings.patience,
        min_passes=settings.min_passes,
        report=report,
        checkpoints=checkpoints,
        surroundings=surroundings,
    )
    assert outcome.best_pass is not None  # there is a validation, and it is finite
    return PretrainOutcome(
        model=model.eval(),
        stages=learned,
        n_steps=outcome.n_steps,
        n_passes=outcome.n_passes,
        best_pass=outcome.best_pass,
        history=outcome.history,
        seconds=outcome.seconds,
    )


def finetune(
    model: StageClassifier,
    batches_x: FloatArray,
    batches_stages: IntArray,
    *,
    declared: Sequence[Stage],
    class_weights: FloatArray,
    settings: FinetuneSettings,
    seed: int,
    report: Report | None = None,
    after_step: Callable[[int], None] | None = None,
    own_batches: Iterator[Batch] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    checkpoints: Checkpoints | None = None,
    surroundings: Surroundings | None = None,
) -> TrainingOutcome:
    """Finetune a model in place on kept source batches, for exactly ``settings.n_steps`` steps.

    One kept batch is one training batch and one step. The batches are shuffled anew each time all
    of them have been taken. All weights learn, and batch-norm statistics follow the kept batches. A
    batch without any epoch of positive weight would be a step without a gradient, so it is left
    out.

    Parameters
    ----------
    model : StageClassifier
        Changed in place, and left in evaluation mode.
    batches_x : (n_batches, batch_size, n_channels, n_times) float32
        Scaled signals of the kept batches.
    batches_stages : (n_batches, batch_size)
        Stage values, -1 for unscored.
    declared : sequence of Stage
        Stages to learn; the weight of any other is taken as 0.
    class_weights : (5,) float32
        As `class_weights` gives them for the whole source, so that the loss does not depend on the
        selection.
    settings : FinetuneSettings
    seed : int
        Of dropout and shuffling. Same seed, same weights to the last bit (see `seed_everything`).
    report : callable, optional
        Called after each pass through the kept batches, and after the last step.
    after_step : callable, optional
        Called after each step with how many were taken; may predict with the model.
    own_batches : iterator, optional
        This worker's part of each batch, in the order of `finetuning_order`, where several workers finetune. Resumed,
        they begin with the pass of the checkpoint.
    wrap : callable, optional
        Makes of the model what is called in training, where several workers finetune.
    checkpoints : Checkpoints, optional
    surroundings : Surroundings, optional
        Who is told how it goes, and who may end it with a `LeaveError`; everything is saved then.

    Returns
    -------
    TrainingOutcome
        Without a best pass: finetuning has no early stop.

    Raises
    ------
    EpochsError
        Arrays do not fit together or hold NaN or infinite values, or no epoch has a stage of
        positive weight (no batch at all included).
    SettingsError
        ``declared`` or ``class_weights`` are not usable, or the seed is out of range.
    DivergedError
        The loss left the finite numbers.
    CheckpointError
        The checkpoint belongs to another training.

    Notes
    -----
    Reconstruction: the paper gives neither steps nor rates, and does not say what is frozen.
    """
    _check_epochs("kept", batches_x, batches_stages, n_dims=4)
    weights = restrict_weights(class_weights, declared)
    counted = _trainable_batches(batches_stages, weights)
    workers = Workers.current()
    seed_everything(seed)
    device = next(model.parameters()).device
    if workers.n > 1:
        sync_batch_norm(model)

    def batches_of(pass_number: int) -> Iterable[Batch]:
        if own_batches is not None:
            return workers.seeded(itertools.islice(own_batches, len(counted)), seed, pass_number)
        return (
            _to_batch(batches_x[i], batches_stages[i], device)
            for i in _shuffled(counted, seed, pass_number)
        )

    outcome = train(
        SupervisedStep(
            model=model,
            optimizer=_adam(model, settings),
            loss=partial(stage_loss, weights=torch.from_numpy(weights).to(device), workers=workers),
            network=wrap(model) if wrap is not None else None,
            workers=workers,
        ),
        batches_of,
        n_steps=settings.n_steps,
        report=report,
        after_step=after_step,
        checkpoints=checkpoints,
        surroundings=surroundings,
        workers=workers,
    )
    model.eval()
    return outcome


def finetuning_order(
    batches_stages: IntArray,
    *,
    declared: Sequence[Stage],
    class_weights: FloatArray,
    n_steps: int,
    seed: int,
    first_pass: int = 1,
) -> NDArray[np.intp]:
    """Return which kept batch each step of `finetune` takes; parameters and errors as there.

    Returns
    -------
    (n,)
        From the first step of pass `first_pass` to the last one, ``n_steps`` in all from pass 1.
    """
    counted = _trainable_batches(batches_stages, restrict_weights(class_weights, declared))
    n_passes = -(-n_steps // len(counted))
    passes = [_shuffled(counted, seed, number) for number in range(1, n_passes + 1)]
    first = len(counted) * (min(first_pass, n_passes) - 1)
    return np.asarray(np.concatenate(passes)[first:n_steps], np.intp)


def _adam(model: nn.Module, settings: PretrainSettings | FinetuneSettings) -> torch.optim.Adam:
    """Return AttnSleep's optimiser. Reconstruction: finetuning takes amsgrad, too."""
    return torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        amsgrad=True,
    )


def _trainable_batches(batches_stages: IntArray, weights: FloatArray) -> NDArray[np.intp]:
    """Return the batches in which at least one epoch counts; at least one of them."""
    counted = np.flatnonzero((weight_of_each(batches_stages, weights) > 0).any(axis=1))
    if not counted.size:
        raise EpochsError(
            f"no epoch in {len(batches_stages)} kept batches has a declared stage of positive weight, "
            "so there is nothing to finetune on."
        )
    return counted


def _shuffled(rows: IntArray, seed: int, pass_number: int) -> IntArray:
    """Return the order of a pass, whichever passes came before in this process."""
    rng = np.random.default_rng(seed)
    for _ in range(pass_number):
        order = rng.permutation(rows)
    return order


def _to_batch(x: FloatArray, stages: IntArray, device: torch.device | None = None) -> Batch:
    return to_float(x, device), torch.tensor(stages, dtype=torch.int64, device=device)


def _check_epochs(name: str, x: FloatArray, stages: IntArray, *, n_dims: int) -> None:
    """Epochs end with channels and times, stages have the axes before; all values are usable."""
    if x.ndim != n_dims or x.shape[:-2] != stages.shape:
        raise EpochsError(
            f"the {name} epochs have shape {x.shape} and their stages {stages.shape}; the epochs "
            f"need {n_dims} axes, the last two channels and times, and the stages the axes before."
        )
    check_stages(name, stages)
    if not np.isfinite(x).all():
        raise EpochsError(
            f"the {name} epochs hold NaN or infinite values; drop these epochs first."
        )
