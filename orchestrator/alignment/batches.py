"""What a source batch and a target batch are: which epochs of which recording, under which id."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import ConfigError

FEWEST_SOURCE_BATCHES = 8
"""Below this a selection means nothing, and the sweep is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`batch_size` epochs of one recording, in time order."""

    batch_id: int
    """Position in the list of batches, which is sorted by subject, recording and time."""
    subject: str
    recording: str
    epochs: NDArray[np.int32]
    """``epoch_index`` of each epoch, ascending. Gaps between them are closed: they need not be consecutive."""


def cut_batches(
    recordings: Sequence[tuple[str, str, NDArray[np.int32]]], batch_size: int
) -> list[Batch]:
    """Cut each recording into batches of consecutive epochs, gaps closed, the remainder dropped.

    Batches stay within one recording, because batches shuffled over subjects would be exchangeable draws, and
    choosing among those chooses noise.

    Parameters
    ----------
    recordings : sequence of (subject, recording, epoch_index)
        With the epochs that may be used: for source batches those that are scored and not flat, for target
        batches all that are not flat, whatever their stage.
    batch_size : int
        Epochs per batch.
    """
    batches: list[Batch] = []
    for subject, recording, epochs in sorted(recordings, key=lambda r: (r[0], r[1])):
        for start in range(0, len(epochs) - batch_size + 1, batch_size):
            batches.append(
                Batch(
                    batch_id=len(batches),
                    subject=subject,
                    recording=recording,
                    epochs=np.sort(epochs)[start : start + batch_size],
                )
            )
    return batches


def check_source_batches(n_batches: int, batch_size: int) -> None:
    """Refuse a selection among too few batches.

    Raises
    ------
    ConfigError
        Fewer than `FEWEST_SOURCE_BATCHES`.
    """
    if n_batches < FEWEST_SOURCE_BATCHES:
        raise ConfigError(
            f"the source gives {n_batches} batches of {batch_size} usable epochs; at least {FEWEST_SOURCE_BATCHES} "
            "are needed to select among. Lower batch_size or add recordings."
        )


def batch_table(source: Sequence[Batch], target: Sequence[Batch]) -> pa.Table:
    """Return what gives the ids of a score table their meaning, one row per batch."""
    rows = [("source", b) for b in source] + [("target", b) for b in target]
    return pa.table(
        {
            "role": pa.array([role for role, _ in rows], pa.string()),
            "batch_id": pa.array([b.batch_id for _, b in rows], pa.int32()),
            "subject": pa.array([b.subject for _, b in rows], pa.string()),
            "recording": pa.array([b.recording for _, b in rows], pa.string()),
            "first_epoch": pa.array([int(b.epochs[0]) for _, b in rows], pa.int32()),
            "n": pa.array([len(b.epochs) for _, b in rows], pa.int16()),
            "epochs": pa.array([b.epochs.tolist() for _, b in rows], pa.list_(pa.int32())),
        }
    )
