"""Kinds of networks that a kept model may hold: from the bytes of its weights to what it says of epochs."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trainables import fold, inference
from trainables.epochs import MultimodalEpochs
from trainables.stages import UNSCORED, Stage
from trainables.weights import classifier_from_bytes, sleepmg_from_bytes

Signals = Mapping[str, NDArray[np.float32]]
"""Modality -> (n, n_channels, 3000) scaled signals of the same epochs; one that the recording lacks is left out."""

Answer = Callable[[Signals], NDArray[np.float32]]
"""Returns the probability of each stage, (n, 5)."""


_BATCH = 64
"""Epochs predicted at a time, as in a trial."""

_FEWEST = 16
"""Epochs of a batch from which on an epoch has the same bits as in a full one: PyTorch has another library compute 1x1
convolutions of fewer (``use_mkldnn`` in ATen's ``Convolution.cpp``), with one thread."""


def _mrcnn(weights: bytes, modalities: Sequence[str], stages: Sequence[Stage]) -> Answer:
    model = classifier_from_bytes(weights)
    (modality,) = modalities

    def answer(x: Signals) -> NDArray[np.float32]:
        epochs = _without_small_batch(x[modality])
        found = inference.predict(model, epochs, declared=stages, batch_size=_BATCH)
        return found[: len(x[modality])]

    return answer


def _without_small_batch(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return epochs with others of zeros after them, where the last batch would be too small.

    A trial predicts several recordings together, so that an epoch of it is rarely in such a batch.
    """
    in_last = len(x) % _BATCH
    if in_last == 0 or in_last >= _FEWEST:
        return x
    return np.concatenate([x, np.zeros((_FEWEST - in_last, *x.shape[1:]), x.dtype)])


def _sleepmg(weights: bytes, modalities: Sequence[str], stages: Sequence[Stage]) -> Answer:
    model = sleepmg_from_bytes(weights)
    n_channels = dict(model.n_channels)

    def answer(x: Signals) -> NDArray[np.float32]:
        n = len(next(iter(x.values())))
        epochs = MultimodalEpochs(
            x={
                modality: x.get(modality, np.zeros((n, n_channels[modality], 3000), np.float32))
                for modality in modalities
            },
            present=np.tile([modality in x for modality in modalities], (n, 1)),
            subject=np.zeros(n, np.int64),
            stages=np.full(n, UNSCORED, np.int64),
        )
        return fold.predict(model, epochs, np.arange(n), declared=stages).probability

    return answer


NETWORKS: Mapping[str, Callable[[bytes, Sequence[str], Sequence[Stage]], Answer]] = {
    "mrcnn": _mrcnn,
    "sleepmg": _sleepmg,
}
"""By what ``model.json`` writes under ``network``: from weights, modalities and stages that may be said."""


class _OneThread:
    """How many blocks of this process want one thread, and how many it had before the first of them."""

    lock = threading.Lock()
    n_blocks = 0
    before = 1


@contextlib.contextmanager
def in_one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, and as many as before when the last such block has ended."""
    with _OneThread.lock:
        if _OneThread.n_blocks == 0:
            _OneThread.before = torch.get_num_threads()
            one_thread()
        _OneThread.n_blocks += 1
    try:
        yield
    finally:
        with _OneThread.lock:
            _OneThread.n_blocks -= 1
            if _OneThread.n_blocks == 0:
                torch.set_num_threads(_OneThread.before)


def one_thread() -> None:
    """Let torch use one thread, as trials do: the last digits depend on it."""
    torch.set_num_threads(1)
