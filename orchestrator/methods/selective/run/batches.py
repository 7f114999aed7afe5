"""Source batches as arrays: their signals, and through the label gate their stages."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch
from orchestrator.labels import LabelGate, Split
from orchestrator.psg.feed import StoredRecording, read_signals
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import key_of


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
    batch_size: int,
    split: Split,
    purpose: str,
) -> NDArray[np.int64]:
    """Return the stages of source batches, (n_batches, batch_size); there may be no batch."""
    keys = {(r.subject, r.recording): key_of(r) for r in recordings}
    wanted = sorted({(b.subject, b.recording) for b in batches})
    stages = gate.read([keys[key] for key in wanted], split, purpose)
    by_key = dict(zip(wanted, stages, strict=True))
    of_batches = [by_key[b.subject, b.recording][b.epochs] for b in batches]
    return np.array(of_batches, np.int64).reshape(len(batches), batch_size)
