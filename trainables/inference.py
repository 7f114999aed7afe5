"""What a trained model says of epochs: the probability of each stage, and its features."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.errors import DivergedError, EpochsError, SettingsError
from trainables.models.mrcnn import StageClassifier
from trainables.stage_loss import check_declared
from trainables.stages import Stage

FloatArray = NDArray[np.float32]


def predict(
    model: StageClassifier, x: FloatArray, *, declared: Sequence[Stage], batch_size: int = 64
) -> FloatArray:
    """Return the probability of each stage for each epoch, in evaluation mode.

    Parameters
    ----------
    model : StageClassifier
        Not changed.
    x : (n_epochs, n_channels, n_times) float32
        Scaled signals; may be empty.
    declared : sequence of Stage
        Stages that may be predicted: leave out those that the model never saw.
    batch_size : int
        Epochs at a time; a matter of memory.

    Returns
    -------
    (n_epochs, 5) float32
        Rows sum to 1; 0 for a stage that is not declared.

    Raises
    ------
    EpochsError
        ``x`` has the wrong shape.
    DivergedError
        A probability is not finite: the weights or the signals are not.
    """
    check_declared(declared)
    undeclared = torch.ones(len(Stage), dtype=torch.bool)
    undeclared[list(declared)] = False

    def probabilities(batch: Tensor) -> Tensor:
        logits: Tensor = model(batch)
        return logits.masked_fill(undeclared.to(logits.device), -torch.inf).softmax(dim=1)

    with _evaluating(model) as device:
        return _in_batches(probabilities, x, batch_size, device)


def encode(model: StageClassifier, x: FloatArray, layer: str, batch_size: int = 64) -> FloatArray:
    """Return the features of each epoch, in evaluation mode.

    Parameters
    ----------
    model : StageClassifier
        Not changed.
    x : (n_epochs, n_channels, n_times) float32
        Scaled signals; may be empty.
    layer : str
        One of ``trainables.settings.FEATURE_LAYERS``.
    batch_size : int
        Epochs at a time. A matter of memory, and of the last bits: keep it where bytes are
        compared.

    Returns
    -------
    (n_epochs, feature_dim) float32

    Raises
    ------
    SettingsError
        There is no such layer.
    EpochsError
        ``x`` has the wrong shape.
    DivergedError
        A feature is not finite: the weights or the signals are not.
    """
    with _evaluating(model) as device:
        return _in_batches(partial(model.features, layer=layer), x, batch_size, device)


def _in_batches(
    function: Callable[[Tensor], Tensor], x: FloatArray, batch_size: int, device: torch.device
) -> FloatArray:
    """Apply a function to consecutive batches, at least one, and stack what it gives."""
    if x.ndim != 3:
        raise EpochsError(f"epochs have shape {x.shape}; allowed: (n_epochs, n_channels, n_times).")
    if batch_size < 1:
        raise SettingsError(f"batch_size is {batch_size}; allowed: an integer of at least 1.")
    # One empty batch where there are no epochs: it knows the width of the result.
    starts = range(0, max(len(x), 1), batch_size)
    parts = [
        function(to_float(x[start : start + batch_size], device)).cpu().numpy() for start in starts
    ]
    values: FloatArray = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise DivergedError("the model gives NaN or infinite values for finite epochs.")
    return values


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Switch to evaluation mode without gradients, and back to the former mode afterwards; give the device."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield next(model.parameters()).device
    finally:
        model.train(was_training)


def to_float(x: FloatArray, device: torch.device | None = None) -> Tensor:
    """Copy: arrays that arrive through shared memory are read-only, tensors must not be."""
    return torch.tensor(x, dtype=torch.float32, device=device)
