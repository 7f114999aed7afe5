"""Arrays of a sweep: signals joined with those stages that the role of a recording allows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch
from orchestrator.labels import LabelGate, Split
from orchestrator.psg.feed import (
    StoredRecording,
    read_signals,
    signal_epochs,
    usable_epochs,
)
from orchestrator.store.store import Store
from orchestrator.sweep.objective import key_of


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledEpochs:
    """Usable epochs of some recordings with their stages."""

    x: NDArray[np.float32]
    """(n, n_channels, 3000)."""
    stages: NDArray[np.int64]
    """(n,), 0..4: usable epochs are scored."""
    recording: NDArray[np.int32]
    """(n,), position in the list of recordings."""
    epoch_index: NDArray[np.int32]
    """(n,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledEpochs:
    """Epochs that a trial predicts. Holds no stage, so none can leak into a trial."""

    x: NDArray[np.float32]
    """(n, n_channels, 3000)."""
    recording: NDArray[np.int32]
    """(n,), position in the list of recordings."""
    epoch_index: NDArray[np.int32]
    """(n,)."""


def labelled_epochs(
    store: Store,
    gate: LabelGate,
    recordings: Sequence[StoredRecording],
    modality: str,
    split: Split,
    purpose: str,
) -> LabelledEpochs:
    """Read the usable epochs of some recordings with their stages."""
    stages = gate.read([key_of(r) for r in recordings], split, purpose)
    epochs = [usable_epochs(store, recording) for recording in recordings]
    return LabelledEpochs(
        x=np.concatenate(
            [read_signals(store, r, modality, e) for r, e in zip(recordings, epochs, strict=True)]
        ),
        stages=np.concatenate([s[e] for s, e in zip(stages, epochs, strict=True)]).astype(np.int64),
        recording=np.concatenate([np.full(len(e), i, np.int32) for i, e in enumerate(epochs)]),
        epoch_index=np.concatenate(epochs),
    )


def unlabelled_epochs(
    store: Store, recordings: Sequence[StoredRecording], modality: str
) -> UnlabelledEpochs:
    """Read the epochs of some recordings that are not flat, whether they are scored or not."""
    epochs = [signal_epochs(store, recording) for recording in recordings]
    return UnlabelledEpochs(
        x=np.concatenate(
            [read_signals(store, r, modality, e) for r, e in zip(recordings, epochs, strict=True)]
        ),
        recording=np.concatenate([np.full(len(e), i, np.int32) for i, e in enumerate(epochs)]),
        epoch_index=np.concatenate(epochs),
    )


def batch_signals(
    store: Store, recordings: Sequence[StoredRecording], batches: Sequence[Batch], modality: str
) -> NDArray[np.float32]:
    """Return the signals of batches, (n_batches, batch_size, n_channels, 3000), each file read once."""
    by_key = {(r.subject, r.recording): r for r in recordings}
    parts = []
    for key in sorted({(b.subject, b.recording) for b in batches}):
        mine = [b for b in batches if (b.subject, b.recording) == key]
        epochs = np.concatenate([b.epochs for b in mine])
        x = read_signals(store, by_key[key], modality, epochs)
        parts.append(x.reshape(len(mine), -1, *x.shape[1:]))
    return np.concatenate(parts)


def batch_stages(
    gate: LabelGate,
    recordings: Sequence[StoredRecording],
    batches: Sequence[Batch],
    split: Split,
    purpose: str,
) -> NDArray[np.int64]:
    """Return the stages of source batches, (n_batches, batch_size)."""
    keys = {(r.subject, r.recording): key_of(r) for r in recordings}
    wanted = sorted({(b.subject, b.recording) for b in batches})
    stages = gate.read([keys[key] for key in wanted], split, purpose)
    by_key = dict(zip(wanted, stages, strict=True))
    return np.stack([by_key[b.subject, b.recording][b.epochs] for b in batches]).astype(np.int64)
