"""Epochs of one signal as arrays, with those stages that the role of a recording allows, and predictions for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.labels import LabelGate, Split
from orchestrator.psg.feed import (
    StoredRecording,
    read_signals,
    signal_epochs,
    usable_epochs,
)
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import key_of
from trainables.stages import STAGE_NAMES


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


def predictions_table(
    role: str,
    recording: NDArray[np.int32],
    epoch_index: NDArray[np.int32],
    probability: NDArray[np.float32],
) -> pa.Table:
    """Return what a trial writes of some epochs.

    Parameters
    ----------
    role : str
        ``objective`` or ``test``: what the predictions are judged for.
    recording, epoch_index : (n,), (n,)
        Position in the list of recordings, and in the recording.
    probability : (n, 5)
        Of each stage, in the order of ``STAGE_NAMES``.
    """
    columns: dict[str, Any] = {
        "role": pa.array([role] * len(probability)).dictionary_encode(),
        "recording": pa.array(recording),
        "epoch_index": pa.array(epoch_index),
    }
    columns |= {f"p_{name}": pa.array(probability[:, i]) for i, name in enumerate(STAGE_NAMES)}
    return pa.table(columns)
