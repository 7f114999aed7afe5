"""Epochs of several modalities as arrays, and what one step takes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.errors import EpochsError
from trainables.stage_loss import check_stages

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class MultimodalEpochs:
    """Epochs of some recordings, with whose they are and their stages."""

    x: Mapping[str, FloatArray]
    """Modality -> (n, n_channels, n_times) float32, scaled signals; any value where the modality is missing."""

    present: BoolArray
    """(n, n_modalities), in the order of ``x``: whether the epoch's recording has the modality."""

    subject: IntArray
    """(n,), a number for each subject."""

    stages: IntArray
    """(n,), stage values, -1 for unscored."""

    def __post_init__(self) -> None:
        n = len(self.stages)
        lengths = {modality: len(x) for modality, x in self.x.items()}
        if set(lengths.values()) - {n} or len(self.subject) != n:
            raise EpochsError(
                f"there are {n} stages, {len(self.subject)} subjects and epochs {lengths}; the numbers must agree."
            )
        if not self.x or self.present.shape != (n, len(self.x)):
            raise EpochsError(
                f"present has shape {self.present.shape}; allowed: ({n}, {len(self.x)}), with one modality at least."
            )
        check_stages("multimodal", self.stages)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in the order of ``present``."""
        return tuple(self.x)

    @property
    def n_channels(self) -> dict[str, int]:
        """Channels of each modality."""
        return {modality: x.shape[1] for modality, x in self.x.items()}

    @property
    def n_times(self) -> int:
        """Values of an epoch and channel."""
        return int(next(iter(self.x.values())).shape[2])

    @property
    def is_complete(self) -> bool:
        """Whether no recording misses a modality."""
        return bool(self.present.all())

    def signals(self, rows: IntArray, device: str = "cpu") -> "Signals":
        """Return the signals of some epochs as tensors, a copy."""
        x = {modality: torch.from_numpy(x[rows]).to(device) for modality, x in self.x.items()}
        present = None if self.is_complete else torch.from_numpy(self.present[rows]).to(device)
        return Signals(x=x, present=present)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """What the network sees of some epochs."""

    x: dict[str, Tensor]
    """Modality -> (b, n_channels, n_times)."""

    present: Tensor | None
    """(b, n_modalities) bool; None where nothing is missing in the whole data set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MultimodalBatch:
    """What one step of SleepMG takes."""

    signals: Signals
    stages: Tensor
    """(b,) int64, 0..4."""
    domains: Tensor
    """(b,) int64, from 0: number of the training subject, or of the group of subjects."""
    rows: IntArray
    """(b,), which epochs these are: named where a loss is not finite."""
