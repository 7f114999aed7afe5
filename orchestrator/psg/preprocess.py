"""Clean one channel: filter and resample each run between flat gaps, and scale per recording."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RecordingError
from orchestrator.psg.epoch_grid import STORE_SFREQ
from orchestrator.psg.hypnogram import EPOCH_S

SFREQ = STORE_SFREQ
"""Hz, of every stored epoch."""
EPOCH_N_TIMES = EPOCH_S * SFREQ
LOWEST_SFREQ = 50
"""Hz; below this a channel is no signal but a trend, such as the 1-Hz EMG of Sleep-EDF cassettes."""

_RESAMPLE_PAD = 100  # values at each end, at least: MNE's default
_IQR_PER_SD = 1.3489795003921634  # of a normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Robust location and spread of one channel over the non-flat epochs of a recording."""

    center_uv: float
    """Median."""
    spread_uv: float
    """Interquartile range divided by that of a standard normal: the SD if there were no artefacts."""


def cut_epochs(
    signal_uv: NDArray[np.float64], sfreq: float, onset_s: float, n_epochs: int
) -> NDArray[np.float64]:
    """Return (n_epochs, n_times_per_epoch), a view of the raw signal from the start of the first epoch.

    Raises
    ------
    RecordingError
        ``sampling_rate``: an epoch is no whole number of values, or the rate is below `LOWEST_SFREQ`.
    """
    n_times = EPOCH_S * sfreq
    if sfreq < LOWEST_SFREQ or abs(n_times - round(n_times)) > 1e-6:
        raise RecordingError(
            "sampling_rate",
            f"a sampling rate of {sfreq:g} Hz cannot be used: at least {LOWEST_SFREQ} Hz are needed, with a whole "
            f"number of values in {EPOCH_S} s.",
        )
    start, n_times = round(onset_s * sfreq), round(n_times)
    return signal_uv[start : start + n_epochs * n_times].reshape(n_epochs, n_times)


def clean_epochs(
    raw_ET: NDArray[np.float64],
    flat_E: NDArray[np.bool_],
    sfreq: float,
    band_hz: tuple[float, float],
    *,
    overwrite: bool = False,
) -> NDArray[np.float64]:
    """Filter and resample the runs between flat gaps, each by itself.

    A filter that ran over a gap would smear what the gap holds into its neighbours; so a run is padded with its
    own reflection instead, and its values do not depend on the gap. Flat epochs come back as zeros.

    Parameters
    ----------
    raw_ET : (n_epochs, n_times)
        One channel as recorded, microvolts.
    flat_E : (n_epochs,)
    sfreq : float
        Of `raw_ET`, Hz.
    band_hz : (low, high)
        Pass band. An upper edge at or above 0.45 `sfreq` is left out: the recording holds nothing there.
    overwrite : bool
        Whether `raw_ET` may be lost: filtering it in place saves as much memory as it takes.

    Returns
    -------
    (n_epochs, 3000)
        Microvolts at 100 Hz.

    Notes
    -----
    MNE's default zero-phase FIR filter and FFT resampling, with the padding a whole number of values at both rates:
    else the padded run is stretched to the next whole number, by up to 1.2 ms at 128 Hz and 5 ms at 512 Hz.
    """
    import mne  # here: workers that only read epochs need not pay for it

    low_hz, high_hz = band_hz
    ratio = Fraction(SFREQ) / Fraction(sfreq).limit_denominator(1000)
    clean_ET = np.zeros((len(raw_ET), EPOCH_N_TIMES))
    for start, stop in runs(~flat_E):
        run = raw_ET[start:stop].reshape(-1)
        run = mne.filter.filter_data(
            run,
            sfreq,
            low_hz,
            high_hz if high_hz < 0.45 * sfreq else None,
            pad="reflect",
            copy=not overwrite,
            verbose="error",
        )
        if ratio != 1:
            run = _resample(run, ratio)
        clean_ET[start:stop] = run.reshape(stop - start, EPOCH_N_TIMES)
    return clean_ET


def _resample(run: NDArray[np.float64], ratio: Fraction) -> NDArray[np.float64]:
    """Return a run at `ratio` times its rate, as ``mne.filter.resample(pad="reflect")`` does, to the last bit.

    Not by calling it: for windows that it has no use for here (all are one) it needs three times the memory of a run.
    """
    import scipy.fft  # here, as MNE above

    n_pad = ratio.denominator * math.ceil(_RESAMPLE_PAD / ratio.denominator)
    padded = np.pad(run, n_pad, "reflect", reflect_type="odd")
    n_before, n_after = len(padded), int(len(padded) * ratio)
    spectrum = scipy.fft.rfft(padded)
    del padded
    if min(n_before, n_after) % 2 == 0:  # the highest frequency of the shorter one, or half of it
        spectrum[min(n_before, n_after) // 2] *= 2 if n_after < n_before else 0.5
    spectrum *= n_after / n_before
    start = int(n_pad * ratio)
    resampled: NDArray[np.float64] = scipy.fft.irfft(spectrum, n_after)
    return resampled[start : n_after - start]


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, stop) of every stretch of True.

    Examples
    --------
    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def robust_scale(clean_ET: NDArray[np.float64], flat_E: NDArray[np.bool_], label: str) -> Scale:
    """Return the scale of a channel over its non-flat epochs.

    Raises
    ------
    RecordingError
        ``flat_channel``: no epoch is left.
    """
    if flat_E.all():
        raise RecordingError(
            "flat_channel", f"channel {label!r} is flat from beginning to end: was the lead off?"
        )
    values = clean_ET[~flat_E]  # a copy, so it may be put in order
    lower, center, upper = np.percentile(values, [25, 50, 75], overwrite_input=True)
    spread = (upper - lower) / _IQR_PER_SD
    if not spread > 0:
        raise RecordingError(
            "flat_channel", f"channel {label!r} is flat for most of the recording."
        )
    return Scale(center_uv=float(center), spread_uv=float(spread))


def quantise(clean_ET: NDArray[np.float64]) -> tuple[NDArray[np.int16], float]:
    """Return the signal as int16 and the microvolts of one step, chosen so that nothing is clipped."""
    largest_uv = max(float(clean_ET.max()), -float(clean_ET.min()))
    step_uv = largest_uv / np.iinfo(np.int16).max or 1.0
    steps = clean_ET / step_uv
    return np.rint(steps, out=steps).astype(np.int16), step_uv
