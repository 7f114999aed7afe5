"""Train one fold: on some subjects' epochs, with early stop on others'; predict with what came of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.balanced_step import BalancedStep, Trace
from trainables.epochs import IntArray, MultimodalBatch, MultimodalEpochs, Signals
from trainables.errors import DivergedError, EpochsError, SettingsError
from trainables.metrics import macro_f1
from trainables.multimodal import SleepMG
from trainables.seeding import seed_everything
from trainables.settings import FoldSettings, SleepMGSettings
from trainables.stage_loss import check_declared
from trainables.stages import Stage
from trainables.surroundings import Surroundings
from trainables.training import Checkpoints, Report, TrainingOutcome, train
from trainables.workers import Workers

PREDICT_BATCH = 64
"""Epochs predicted at a time; a matter of memory, and of the last bits."""


VERSION = 3
"""Of the method: raised where the same data, settings and seed give other weights or records, by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """Which epochs are learned from and which ones stop the training, by row of the `MultimodalEpochs`."""

    train: IntArray
    """(n_train,), ascending."""

    validation: IntArray
    """(n_validation,); none where the number of passes is fixed."""

    domain: IntArray
    """(n_train,), number of the domain of each training epoch, contiguous from 0."""

    @classmethod
    def of(
        cls,
        epochs: MultimodalEpochs,
        train: IntArray,
        validation: IntArray | None,
        declared: Sequence[Stage],
        groups: IntArray | None = None,
    ) -> "Fold":
        """Keep the epochs of declared stages, and number the training subjects (or groups) from 0.

        Parameters
        ----------
        epochs : MultimodalEpochs
        train, validation : (n_train,), (n_validation,)
            Rows. Without validation, the training takes a number of passes that is fixed before.
        declared : sequence of Stage
            Stages to learn and to average the macro-F1 over.
        groups : (n,), optional
            What the discriminator tells apart, for each row of `epochs`; without, the subject.

        Raises
        ------
        EpochsError
            A subject is on both sides, or a declared stage has no training epoch, or there is no validation epoch.
        """
        check_declared(declared)
        is_validated = validation is not None
        validation = np.empty(0, np.intp) if validation is None else validation
        both = np.intersect1d(epochs.subject[train], epochs.subject[validation])
        if both.size:
            raise EpochsError(
                f"subjects {both.tolist()} are in training and validation; splits are by subject."
            )
        train, validation = (
            np.sort(rows[np.isin(epochs.stages[rows], list(declared))])
            for rows in (train, validation)
        )
        missing = [stage.name for stage in declared if stage not in epochs.stages[train]]
        if missing:
            raise EpochsError(
                f"none of {len(train)} training epochs has stage {', '.join(missing)}, so it cannot be learned; add "
                "subjects, or leave the stage out."
            )
        if is_validated and not validation.size:
            raise EpochsError(
                "no validation epoch has a declared stage, so nothing can stop the training."
            )
        domains = (epochs.subject if groups is None else groups)[train]
        return cls(
            train=train,
            validation=validation,
            domain=np.unique(domains, return_inverse=True)[1].astype(np.int64),
        )

    @property
    def n_domains(self) -> int:
        """Training subjects, or groups."""
        return int(self.domain.max()) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldOutcome:
    """A trained network and how it came about."""

    model: SleepMG
    """With the weights of the best pass, or without validation the last ones, in evaluation mode."""

    training: TrainingOutcome
    """``validation`` is the macro-F1 on the validation epochs; ``details`` are those of
    :meth:`BalancedStep.end_pass`, and ``macro_f1/eeg`` and so on for each modality's own logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldPredictions:
    """What a network says of some epochs."""

    probability: NDArray[np.float32]
    """(n, 5); 0 for a stage that is not declared."""

    own_stage: NDArray[np.int64]
    """(M, n): the stage by each modality's own logits; with one group, the stage itself."""


def build_model(epochs: MultimodalEpochs, settings: SleepMGSettings, n_domains: int) -> SleepMG:
    """Build an untrained network for some epochs."""
    return SleepMG(
        epochs.n_channels,
        n_domains=n_domains if settings.adversary.enabled else 0,
        settings=settings.network,
        n_times=epochs.n_times,
    )


def train_fold(
    epochs: MultimodalEpochs,
    fold: Fold,
    *,
    declared: Sequence[Stage],
    settings: SleepMGSettings,
    seed: int,
    device: str = "cpu",
    report: Report | None = None,
    checkpoints: Checkpoints | None = None,
    trace: Trace | None = None,
    batches_of: Callable[[int], Iterable[MultimodalBatch]] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    surroundings: Surroundings | None = None,
    n_passes: int | None = None,
) -> FoldOutcome:
    """Train a network on one fold.

    Each pass takes the training epochs in an order of its own; the last batch of a pass may be smaller.

    Parameters
    ----------
    epochs : MultimodalEpochs
    fold : Fold
        Its rows.
    declared : sequence of Stage
        As the fold was made with.
    settings : SleepMGSettings
    seed : int
        Of weights, dropout and order. Same seed, same weights to the last bit on a CPU (see `seed_everything`).
    device : str
        ``cpu`` or ``cuda``.
    report : callable, optional
        Called after each pass.
    checkpoints : Checkpoints, optional
        A training that goes on from a checkpoint ends with the same bits.
    trace : callable, optional
        Called after each step with the scores, ratios and coefficients of every modality.
    batches_of : callable, optional
        Number of a pass (from 1) to its batches, where they come from elsewhere: one worker's part of each.
    wrap : callable, optional
        Makes of the network what is called in training, where several workers train it.
    surroundings : Surroundings, optional
        Who is told how it goes, and who may end it.
    n_passes : int, optional
        Of a fold without validation: passes to take, after which the network keeps its last weights. A schedule of the
        reversal goes on as planned for ``settings.training.n_passes``, as in a training that stops early.

    Raises
    ------
    LeaveError
        The surroundings asked for it; everything is saved.
    SettingsError
        One domain with the adversary on, one modality with ``multimodal`` on, or the seed is out of range. A fold has
        both a validation and a number of passes, or neither.
    DivergedError
        The loss left the finite numbers.
    """
    is_validated = bool(len(fold.validation))
    if is_validated == (n_passes is not None):
        raise SettingsError(
            f"n_passes is {n_passes}, with {len(fold.validation)} validation epochs; allowed: a number without "
            "validation, None with it."
        )
    workers = Workers.current()
    seed_everything(seed)
    model = build_model(epochs, settings, fold.n_domains).to(device)
    weights = np.zeros(len(Stage), np.float32)
    weights[list(declared)] = np.asarray(settings.training.class_weights)[list(declared)]
    if workers.n > 1 and settings.training.sync_batch_norm:
        model.sync()
    n_batches = n_batches_of_pass(fold, settings.training, workers.n)
    network: nn.Module = model
    if settings.training.compile:
        torch.compiler.reset()  # after a few models, the compiler of a process gives up
        network = torch.compile(model)  # type: ignore[assignment]
    step = BalancedStep(
        model,
        _optimizer(model, settings.training),
        settings,
        class_weights=torch.from_numpy(weights).to(device),
        n_steps_planned=n_batches * settings.training.n_passes,
        seed=seed,
        network=wrap(network) if wrap is not None else network,
        workers=workers,
        trace=trace,
    )

    def batches_of_pass(pass_number: int) -> Iterable[MultimodalBatch]:
        return workers.seeded((batches_of or own_batches)(pass_number), seed, pass_number)

    def own_batches(pass_number: int) -> Iterator[MultimodalBatch]:
        order = order_of_pass(fold, seed, pass_number)
        for start in range(0, len(order), settings.training.batch_size):
            yield batch_of(
                epochs, fold, order[start : start + settings.training.batch_size], device
            )

    def validate() -> float:
        found = predict(model, epochs, fold.validation, declared=declared)
        true = epochs.stages[fold.validation]
        if len(model.groups) > 1:
            for group, own in zip(model.groups, found.own_stage, strict=True):
                known = epochs.present[fold.validation, epochs.modalities.index(group)]
                if known.any():  # without the modality, the answer is one and the same
                    step.note({f"macro_f1/{group}": macro_f1(true[known], own[known], declared)})
        return macro_f1(true, found.probability.argmax(axis=1), declared)

    outcome = train(
        step,
        batches_of_pass,
        n_passes=n_passes or settings.training.n_passes,
        validate=(lambda: workers.first(validate() if workers.rank == 0 else 0.0))
        if is_validated
        else None,
        patience=settings.training.patience if is_validated else None,
        report=report,
        checkpoints=checkpoints,
        surroundings=surroundings,
        workers=workers,
    )
    return FoldOutcome(model=model.eval(), training=outcome)


def order_of_pass(fold: Fold, seed: int, pass_number: int) -> NDArray[np.intp]:
    """Return the positions in ``fold.train`` in the order in which a pass takes them."""
    return np.random.default_rng((seed, pass_number)).permutation(len(fold.train))


def n_batches_of_pass(fold: Fold, settings: FoldSettings, n_workers: int) -> int:
    """Return how many steps a pass has. Several workers share whole batches only: the rest waits for the next pass.

    Raises
    ------
    SettingsError
        Several workers, and fewer training epochs than a batch, or a batch that they cannot share evenly.
    """
    size, n = settings.batch_size, len(fold.train)
    if n_workers == 1:
        return -(-n // size)
    if size > n or size % n_workers:
        raise SettingsError(
            f"batch_size is {size}; allowed with {n_workers} workers and {n} training epochs: a multiple of "
            f"{n_workers} of at most {n}."
        )
    return n // size


def batch_of(
    epochs: MultimodalEpochs,
    fold: Fold,
    positions: IntArray,
    device: str = "cpu",
    signals: Signals | None = None,
) -> MultimodalBatch:
    """Return a batch of training epochs, by their positions in ``fold.train``; signals may come from elsewhere."""
    rows = fold.train[positions]
    return MultimodalBatch(
        signals=signals or epochs.signals(rows, device),
        stages=torch.from_numpy(epochs.stages[rows].astype(np.int64)).to(device),
        domains=torch.from_numpy(fold.domain[positions]).to(device),
        rows=rows,
    )


def predict(
    model: SleepMG, epochs: MultimodalEpochs, rows: IntArray, *, declared: Sequence[Stage]
) -> FoldPredictions:
    """Return stage probabilities, and what each modality alone would say, in evaluation mode.

    Parameters
    ----------
    model : SleepMG
        Not changed.
    epochs : MultimodalEpochs
    rows : (n,)
        Which of them; may be empty.
    declared : sequence of Stage
        Stages that may be predicted.

    Raises
    ------
    DivergedError
        A probability is not finite.
    """
    undeclared = torch.ones(len(Stage), dtype=torch.bool)
    undeclared[list(declared)] = False

    def stages_of(output: Any, signals: Any) -> tuple[Tensor, Tensor]:
        logits = output.logits.float().cpu().masked_fill(undeclared, -torch.inf)
        if len(model.groups) == 1:
            return logits.softmax(dim=1), logits.argmax(dim=1)[None]
        own = model.classifier.modality_logits(output.features, model.present(signals))
        return logits.softmax(dim=1), own.float().cpu().masked_fill(undeclared, -torch.inf).argmax(
            dim=2
        )

    parts = [stages_of(*found) for found in _outputs(model, epochs, rows)]
    probability = torch.cat([p for p, _ in parts]).numpy()
    if not np.isfinite(probability).all():
        raise DivergedError("the network gives NaN or infinite values for finite epochs.")
    return FoldPredictions(
        probability=probability, own_stage=torch.cat([own for _, own in parts], dim=1).numpy()
    )


def predict_domains(model: SleepMG, epochs: MultimodalEpochs, rows: IntArray) -> NDArray[np.int64]:
    """Return the domain that the discriminator takes each epoch for, (n,), in evaluation mode."""
    if model.discriminator is None:
        raise SettingsError("the network has no discriminator; turn adversary.enabled on.")
    parts = [
        output.domain_logits.argmax(dim=1).cpu() for output, _ in _outputs(model, epochs, rows)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.int64)


def _outputs(model: SleepMG, epochs: MultimodalEpochs, rows: IntArray) -> Iterator[tuple[Any, Any]]:
    """Run the network over some epochs, at least one batch, and give outputs with the signals they are of."""
    was_training = model.training
    device = str(next(model.parameters()).device)
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, max(len(rows), 1), PREDICT_BATCH):
                signals = epochs.signals(rows[start : start + PREDICT_BATCH], device)
                yield model(signals), signals
    finally:
        model.train(was_training)


def _optimizer(model: nn.Module, settings: FoldSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
