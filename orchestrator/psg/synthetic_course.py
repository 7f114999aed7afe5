"""A hypnogram as time courses: what depends on the stage glides and wanders, noise and events follow it.

Within a stage an amplitude wanders from epoch to epoch, and true transitions miss the 30-s grid by some seconds: stages
overlap, as they do for human scorers.

Shapes: T = n_epochs * 3000 values; the suffix _E is one value for each epoch.
"""

import copy
from collections.abc import Sequence

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from orchestrator.psg.hypnogram import EPOCH_S

SFREQ = 100
"""Hz, of every channel."""

_EPOCH_N_TIMES = EPOCH_S * SFREQ
_WANDER_MEMORY = 0.5
"""Correlation of the log amplitude between neighbouring epochs."""
_TRANSITION_MISS_S = 8.0

FloatArray = NDArray[np.float64]


class Course:
    """The hypnogram as time courses, and noise of the same length."""

    def __init__(self, stages_E: NDArray[np.int8], rng: np.random.Generator) -> None:
        self.stages_E = stages_E
        self.rng = rng
        self.n_times = len(stages_E) * _EPOCH_N_TIMES
        self.times_s = np.arange(self.n_times) / SFREQ
        self._fft_n_times: int = scipy.fft.next_fast_len(self.n_times, real=True)
        edges_s = EPOCH_S * np.arange(1.0, len(stages_E))
        edges_s += rng.uniform(-_TRANSITION_MISS_S, _TRANSITION_MISS_S, len(edges_s))
        self._knots_s = np.repeat(edges_s, 2) + np.tile([-2.0, 2.0], len(edges_s))

    def drawing_from(self, rng: np.random.Generator) -> "Course":
        """Return the same course with other random numbers for what is made of it."""
        other = copy.copy(self)
        other.rng = rng
        return other

    def follow(self, of_stage: Sequence[float] | FloatArray, wander: float = 0.0) -> FloatArray:
        """Return (T,): a positive value that depends on the stage, gliding over transitions.

        With `wander`, its logarithm deviates by so much from epoch to epoch.
        """
        value_E = np.asarray(of_stage, np.float64)[self.stages_E]
        if wander:
            value_E = value_E * np.exp(wander * self.wander_E())
        return self.glide(value_E)

    def glide(self, value_E: FloatArray) -> FloatArray:
        """Return (T,): the value of each epoch, gliding over transitions."""
        at_knots = np.repeat(value_E, 2)[1:-1]
        if not len(at_knots):
            return np.full(self.n_times, value_E[0])
        return np.interp(self.times_s, self._knots_s, at_knots)

    def wander_E(self) -> FloatArray:
        """Return (n_epochs,): autoregressive noise of unit variance."""
        steps = self.rng.standard_normal(len(self.stages_E))
        steps[1:] *= np.sqrt(1 - _WANDER_MEMORY**2)
        course: FloatArray = scipy.signal.lfilter([1.0], [1.0, -_WANDER_MEMORY], steps)
        return course

    def noise(self, low_hz: float, high_hz: float, slope: float = 0.0) -> FloatArray:
        """Return (T,): Gaussian noise of unit power between two frequencies, its power falling as 1/f^slope."""
        bins = self._bins(low_hz, high_hz)
        return self._noise(bins, bins ** (-slope / 2))

    def rhythm(self, center_hz: float, width_hz: float) -> FloatArray:
        """Return (T,): Gaussian noise of unit power whose spectrum is a bell around a frequency."""
        bins = self._bins(max(0.3, center_hz - 3 * width_hz), center_hz + 3 * width_hz)
        from_center_hz = bins * SFREQ / self._fft_n_times - center_hz
        return self._noise(bins, np.exp(-0.25 * (from_center_hz / width_hz) ** 2))

    def _bins(self, low_hz: float, high_hz: float) -> FloatArray:
        low, high = (round(hz * self._fft_n_times / SFREQ) for hz in (low_hz, high_hz))
        return np.arange(low, high, dtype=np.float64)

    def _noise(self, bins: FloatArray, amplitudes: FloatArray) -> FloatArray:
        n = self._fft_n_times
        real, imaginary = self.rng.standard_normal((2, len(bins)))
        spectrum = np.zeros(n // 2 + 1, np.complex128)
        spectrum[bins.astype(int)] = amplitudes * (real + 1j * imaginary)
        spectrum *= n / np.sqrt(4 * (amplitudes**2).sum())
        noise: FloatArray = scipy.fft.irfft(spectrum, n)[: self.n_times]
        return noise

    def events(
        self, per_min: Sequence[float] | FloatArray, kernel: FloatArray, signs: Sequence[int] = (1,)
    ) -> FloatArray:
        """Return (T,): a kernel at random times, as often as the stage says, in varying size."""
        chance = self.follow(per_min) / (60 * SFREQ)
        at = np.flatnonzero(self.rng.random(self.n_times) < chance)
        train = np.zeros(self.n_times)
        train[at] = self.rng.choice(signs, len(at)) * self.rng.uniform(0.6, 1.4, len(at))
        full: FloatArray = scipy.signal.oaconvolve(train, kernel)[: self.n_times]
        return full
