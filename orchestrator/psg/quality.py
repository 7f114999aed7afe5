"""Which epochs can be used: flat, clipped and unscored ones carry a flag."""

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray


class Flag(IntFlag):
    """Bits of the ``flags`` column."""

    FLAT = 1
    """A channel of the montage does not move: lead off, padding, or a saturated amplifier."""
    UNSCORED = 2
    """The scorer gave no stage."""
    CLIPPED = 4
    """A channel sits at a limit of the converter for more than `CLIPPED_SHARE` of the epoch."""


UNUSABLE = Flag.FLAT | Flag.UNSCORED
"""Epochs with one of these are never handed to training."""

FLAT_STEPS = 2
"""Converter steps that the signal of a flat epoch spans at most: that is noise of the converter itself."""

CLIPPED_SHARE = 0.01


def flat_epochs(signal_ET: NDArray[np.float64], step_uv: float) -> NDArray[np.bool_]:
    """Return which epochs are flat, (n_epochs,), decided on the raw signal.

    Parameters
    ----------
    signal_ET : (n_epochs, n_times)
        As recorded: after a filter a flat stretch rings and is no longer flat.
    step_uv : float
        One converter step in the unit of the signal; 0 if unknown, then only a constant epoch is flat.
    """
    span = signal_ET.max(axis=1) - signal_ET.min(axis=1)
    return np.asarray(span <= FLAT_STEPS * step_uv * (1 + 1e-6))


def clipped_epochs(
    signal_ET: NDArray[np.float64], lower_uv: float, upper_uv: float
) -> NDArray[np.bool_]:
    """Return which epochs sit at a limit of the converter for more than `CLIPPED_SHARE` of the time."""
    at_limit = (signal_ET <= lower_uv) | (signal_ET >= upper_uv)
    return np.asarray(at_limit.mean(axis=1) > CLIPPED_SHARE)
