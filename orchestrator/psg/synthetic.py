"""Made-up polysomnograms: EDF+ recordings of subjects who do not exist, in laboratories as different as one likes.

For demonstrations and tests, where the whole path has to run without anybody's sleep. They are **no substitute for
real recordings**: whatever is found on them says nothing about sleep or about a method's worth in a clinic.

What depends on the **stage** is textbook physiology (AASM manual for the scoring of sleep; Berry, Fundamentals of
Sleep Medicine), in amplitudes of our own choosing:

- EEG: alpha in W, theta and low amplitude in N1, spindles and K-complexes in N2, slow waves of 0.5-2 Hz in N3, low
  mixed frequencies with some theta in REM, over a background of 1/f;
- EOG: blinks and quick glances in W, slow rolling eyes in N1, rapid movements in REM, and some EEG always;
- EMG of the chin: a tone that is highest in W, falls with depth and is lowest in REM, which has short twitches;
- ECG: beats with P, QRS and T, slower in NREM than in W, faster and less regular in REM, quicker on inhalation.

Within a stage the amplitude of each rhythm wanders from epoch to epoch, and true transitions miss the 30-s grid by some
seconds: stages overlap, as they do for human scorers.

What depends on the **subject** and on the **domain** are five traits, see `Traits`. A domain shift moves all of them
together, along one axis: smaller signals, a flatter 1/f, slower alpha, more noise, less contrast between stages. It is
the direction of old age (alpha: Klimesch, Brain Res Rev 29, 1999; slow waves: Carrier, Psychophysiology 38, 2001;
1/f: Voytek et al., J Neurosci 35, 2015) seen with worse equipment. Subjects of one domain are spread over the same axis
besides their individual deviations, so some of them lie nearer to another domain than the rest.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

import edfio
import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, SetupError
from orchestrator.psg.hypnogram import EPOCH_S
from orchestrator.psg.synthetic_hypnogram import draw_stages
from orchestrator.store.store import Store
from orchestrator.telemetry.progress import progress
from trainables.stages import STAGE_NAMES, UNSCORED, Stage

SFREQ = 100
"""Hz, of every channel."""

LIMITS_UV = {"EEG C3-M2": 500.0, "EOG E1-M2": 1000.0, "EMG chin": 500.0, "ECG": 5000.0}
"""Channels, and the amplitude at which each one clips, in microvolts."""

LARGEST_SHIFT = 2.0
"""Beyond it traits leave what a body and an amplifier can give."""

LONGEST_H = 12.0

_EPOCH_N_TIMES = EPOCH_S * SFREQ
_POSITION_SPREAD = 0.6
_GOLDEN = (5**0.5 - 1) / 2

_PURPOSES = ("traits", "stages", "signals")  # each has its own stream of random numbers

# Root mean square in microvolts of each EEG rhythm, for W, N1, N2, N3, REM.
_RHYTHMS_UV = {
    "slow": (5.0, 6.0, 10.0, 26.0, 6.0),
    "theta": (4.0, 7.0, 6.5, 7.0, 7.0),
    "alpha": (11.0, 6.0, 3.5, 3.0, 4.0),
    "sigma": (1.8, 1.8, 2.8, 2.4, 1.8),
    "beta": (4.0, 3.0, 2.2, 1.7, 3.0),
    "background": (8.0, 7.5, 9.0, 10.0, 7.5),
}
# Centre and width (one standard deviation of a bell) in Hz; alpha's centre is a trait.
_RHYTHMS_HZ = {"slow": (1.0, 0.5), "theta": (5.5, 1.0), "sigma": (13.5, 0.9), "beta": (21.0, 4.0)}
_ALPHA_WIDTH_HZ = 0.7
_BACKGROUND_HZ = (0.5, 45.0)

# Events per minute, and their amplitudes in microvolts.
_SPINDLES_PER_MIN = (0.0, 0.3, 4.0, 1.0, 0.0)
_K_COMPLEXES_PER_MIN = (0.0, 0.0, 1.5, 0.3, 0.0)
_SACCADES_PER_MIN = (12.0, 2.0, 0.3, 0.1, 18.0)
_BLINKS_PER_MIN = (10.0, 1.0, 0.0, 0.0, 0.0)
_TWITCHES_PER_MIN = (4.0, 1.0, 0.5, 0.2, 3.0)
_SPINDLE_UV, _K_COMPLEX_UV, _SACCADE_UV, _BLINK_UV, _TWITCH_UV = 22.0, 90.0, 90.0, 150.0, 25.0

_ROLLING_EYES_UV = (8.0, 45.0, 6.0, 4.0, 6.0)
_CHIN_TONE_UV = (16.0, 10.0, 7.5, 6.5, 3.5)
_HEART_PER_MIN = (70.0, 65.0, 61.0, 60.0, 66.0)
_HEART_WANDER = (0.04, 0.035, 0.03, 0.02, 0.07)  # irregularity, as a part of the rate

_WANDER = 0.33
"""Spread of the log amplitude of a rhythm from epoch to epoch within a stage."""
_WANDER_MEMORY = 0.5
"""Correlation of that between neighbouring epochs."""
_TRANSITION_MISS_S = 8.0

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What distinguishes one made-up subject's recording from another's, in the same stage.

    Each is its population mean, moved by the subject's `position`, times or plus an individual deviation.
    """

    position: float
    """Place on the axis of the domain shift: the shift, give or take 0.6. The others follow from it."""
    gain: float
    """Of all channels, as a factor: 1 at position 0, 0.67 at 1."""
    slope: float
    """Exponent b of the EEG background's power, 1/f^b: 1.8 at position 0, 1.2 at 1."""
    alpha_hz: float
    """Alpha frequency: 10.2 at position 0, 8.6 at 1."""
    noise_uv: float
    """Root mean square of the electrodes' white noise in every channel: 2 at position 0, 4 at 1."""
    contrast: float
    """How far stages lie apart, as the exponent of their amplitude ratios: 1 at position 0, 0.8 at 1."""


def draw_traits(seed: int, number: int, shift: float) -> Traits:
    """Draw the traits of one subject.

    Parameters
    ----------
    seed, number : int
        Which population, and which of its subjects; both at least 0. How many subjects are used does not matter.
    shift : float
        Of the domain. It is no part of the seed: the same subject in a shifted domain differs by the shift alone.
    """
    # Spread by the golden ratio, not at random: any few subjects in a row already cover the whole width.
    place = (_stream(seed, 0, "traits").random() + number * _GOLDEN) % 1
    position = shift + _POSITION_SPREAD * (2 * place - 1)
    deviation = _stream(seed, number, "traits").standard_normal(5)
    return Traits(
        position=position,
        gain=float(np.exp(-0.4 * position + 0.15 * deviation[0])),
        slope=float(1.8 - 0.6 * position + 0.12 * deviation[1]),
        alpha_hz=float(10.2 - 1.6 * position + 0.3 * deviation[2]),
        noise_uv=float(2.0 * np.exp(0.7 * position + 0.15 * deviation[3])),
        contrast=float(np.exp(-0.22 * position + 0.06 * deviation[4])),
    )


def recording(
    stages: Sequence[int] | NDArray[np.int8],
    *,
    shift: float = 0.0,
    seed: int = 1,
    number: int = 1,
    subject: str = "made-up",
) -> edfio.Edf:
    """Return a recording with a given hypnogram.

    Parameters
    ----------
    stages : (n_epochs,)
        At least one; W N1 N2 N3 REM = 0..4. -1 is annotated as unscored, over the signals of W.
    shift, seed, number
        See `draw_traits`; they also decide the course of the signals.
    subject : str
        Patient code in the header, without blanks.

    Returns
    -------
    edfio.Edf
        Continuous EDF+ of four channels at 100 Hz, in microvolts, with one annotation for each epoch. The same
        arguments give the same bytes; date and time in the header are fixed.

    Examples
    --------
    >>> edf = recording([0, 0, 1, 2], shift=0.5)
    >>> edf.duration, edf.labels[0], edf.annotations[3].text
    (120.0, 'EEG C3-M2', 'Sleep stage N2')
    """
    stages = np.asarray(stages, np.int8)
    traits = draw_traits(seed, number, shift)
    rng = _stream(seed, number, "signals")
    signals = _signals(np.where(stages == UNSCORED, Stage.W, stages), traits, rng)
    return edfio.Edf(
        [
            edfio.EdfSignal(
                np.clip(signal, -LIMITS_UV[label], LIMITS_UV[label]),
                SFREQ,
                label=label,
                physical_dimension="uV",
                physical_range=(-LIMITS_UV[label], LIMITS_UV[label]),
            )
            for label, signal in signals.items()
        ],
        patient=edfio.Patient(code=subject),
        recording=edfio.Recording(startdate=date(2000, 1, 1), equipment_code="synthetic"),
        starttime=time(22),
        data_record_duration=EPOCH_S,
        annotations=[
            edfio.EdfAnnotation(EPOCH_S * i, EPOCH_S, f"Sleep stage {_label(stage)}")
            for i, stage in enumerate(stages)
        ],
    )


def write_domain(
    folder: str, *, n_subjects: int, shift: float, seed: int, hours: float
) -> list[str]:
    """Write one EDF+ file for each subject of a made-up domain.

    Parameters
    ----------
    folder : str
        A local folder, made if it is missing, or ``s3://bucket/prefix``. Files of the same name are replaced.
    n_subjects : int
        At least 1. The first files of a larger domain are the files of a smaller one.
    shift : float
        0 to `LARGEST_SHIFT`; 0 is the domain that others are shifted from.
    seed : int
        At least 0. The same seed gives the same bytes; in another domain it gives the same subjects' other recordings.
    hours : float
        Length of each recording, one epoch to `LONGEST_H`; a broken epoch is left out.

    Returns
    -------
    list of str
        File names, ``shift<shift>-seed<seed>-<number>.edf``, numbers from 01.

    Raises
    ------
    ConfigError
        A number is outside its range.
    SetupError, StoreUnreachableError
        The folder cannot be written to.
    """
    n_epochs = _check(n_subjects, shift, seed, hours)
    shift = float(f"{shift:g}")  # the file name says it
    try:
        store = Store.open(folder, writable=True)
    except SetupError as error:
        raise SetupError(f"recordings cannot be written: {error}") from error
    names = []
    with progress("synth", n_subjects) as advance:
        for number in range(1, n_subjects + 1):
            subject = f"shift{shift:g}-seed{seed}-{number:02d}"
            stages = draw_stages(_stream(seed, number, "stages"), n_epochs)
            edf = recording(stages, shift=shift, seed=seed, number=number, subject=subject)
            content = io.BytesIO()
            edf.write(content)
            store.write_bytes(f"{subject}.edf", content.getvalue())
            names.append(f"{subject}.edf")
            advance(names[-1])
    return names


def _check(n_subjects: int, shift: float, seed: int, hours: float) -> int:
    """Return the number of epochs, or say what is wrong."""
    shortest_h = EPOCH_S / 3600
    for name, value, ok, allowed in (
        ("subjects", n_subjects, n_subjects >= 1, "at least 1"),
        ("shift", shift, 0 <= shift <= LARGEST_SHIFT, f"0 to {LARGEST_SHIFT:g}"),
        ("seed", seed, seed >= 0, "at least 0"),
        (
            "hours",
            hours,
            shortest_h <= hours <= LONGEST_H,
            f"one epoch of {EPOCH_S} s to {LONGEST_H:g} h",
        ),
    ):
        if not ok:
            raise ConfigError(f"{name} is {value:g}; allowed: {allowed}.")
    return int(hours / shortest_h + 1e-6)


def _stream(seed: int, number: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng((seed, number, _PURPOSES.index(purpose)))


def _label(stage: int) -> str:
    if stage == UNSCORED:
        return "?"
    return "R" if stage == Stage.REM else STAGE_NAMES[stage]


# Signals. Shapes: T = n_epochs * 3000 values; the suffix _E is one value for each epoch.


def _signals(
    stages_E: NDArray[np.int8], traits: Traits, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Return the four channels, each of shape (T,), in microvolts."""
    course = _Course(stages_E, rng)
    eeg = _eeg(course, traits)
    channels = {
        "EEG C3-M2": eeg,
        "EOG E1-M2": 0.4 * eeg + _eye_movements(course),
        "EMG chin": _chin(course, traits),
        "ECG": _heart(course),
    }
    return {
        label: traits.gain * signal + traits.noise_uv * rng.standard_normal(course.n_times)
        for label, signal in channels.items()
    }


class _Course:
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

    def follow(self, of_stage: Sequence[float] | FloatArray, wander: float = 0.0) -> FloatArray:
        """Return (T,): a positive value that depends on the stage, gliding over transitions.

        With `wander`, its logarithm deviates by so much from epoch to epoch.
        """
        value_E = np.asarray(of_stage, np.float64)[self.stages_E]
        if wander:
            value_E = value_E * np.exp(wander * self._wander_E())
        at_knots = np.repeat(value_E, 2)[1:-1]
        if not len(at_knots):
            return np.full(self.n_times, value_E[0])
        return np.interp(self.times_s, self._knots_s, at_knots)

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
        self, per_min: Sequence[float], kernel: FloatArray, signs: Sequence[int] = (1,)
    ) -> FloatArray:
        """Return (T,): a kernel at random times, as often as the stage says, in varying size."""
        chance = self.follow(per_min) / (60 * SFREQ)
        at = np.flatnonzero(self.rng.random(self.n_times) < chance)
        train = np.zeros(self.n_times)
        train[at] = self.rng.choice(signs, len(at)) * self.rng.uniform(0.6, 1.4, len(at))
        full: FloatArray = scipy.signal.oaconvolve(train, kernel)[: self.n_times]
        return full

    def _wander_E(self) -> FloatArray:
        """Autoregressive noise of unit variance over epochs."""
        steps = self.rng.standard_normal(len(self.stages_E))
        steps[1:] *= np.sqrt(1 - _WANDER_MEMORY**2)
        course: FloatArray = scipy.signal.lfilter([1.0], [1.0, -_WANDER_MEMORY], steps)
        return course


def _eeg(course: _Course, traits: Traits) -> FloatArray:
    rhythms_hz = {**_RHYTHMS_HZ, "alpha": (traits.alpha_hz, _ALPHA_WIDTH_HZ)}
    eeg = np.zeros(course.n_times)
    for name, amplitudes_uv in _RHYTHMS_UV.items():
        unit = (
            course.noise(*_BACKGROUND_HZ, traits.slope)
            if name == "background"
            else course.rhythm(*rhythms_hz[name])
        )
        eeg += course.follow(_with_contrast(amplitudes_uv, traits.contrast), _WANDER) * unit
    spindles = course.events(_SPINDLES_PER_MIN, _bell(1.0))
    eeg += _SPINDLE_UV * traits.contrast * spindles * np.sqrt(2) * course.rhythm(13.2, 0.3)
    return eeg + course.events(_K_COMPLEXES_PER_MIN, _K_COMPLEX_UV * traits.contrast * _k_complex())


def _with_contrast(amplitudes: Sequence[float], contrast: float) -> FloatArray:
    """Move amplitudes towards their geometric mean (below 1) or away from it."""
    logs = np.log(amplitudes)
    return np.asarray(np.exp(logs.mean() + contrast * (logs - logs.mean())))


def _eye_movements(course: _Course) -> FloatArray:
    rolling = course.follow(_ROLLING_EYES_UV, _WANDER) * course.noise(0.3, 0.6)
    saccades = course.events(_SACCADES_PER_MIN, _SACCADE_UV * _saccade(), signs=(-1, 1))
    blinks = course.events(_BLINKS_PER_MIN, _BLINK_UV * _bell(0.3))
    return rolling + saccades + blinks


def _chin(course: _Course, traits: Traits) -> FloatArray:
    tone = course.follow(_with_contrast(_CHIN_TONE_UV, traits.contrast), _WANDER)
    twitches = course.events(_TWITCHES_PER_MIN, _TWITCH_UV * _bell(0.4))
    return np.asarray((tone + twitches) * course.noise(10.0, 48.0))


def _heart(course: _Course) -> FloatArray:
    """P, QRS and T as bells in the time since the beat; the rate is integrated to find the beats."""
    own_rate = np.exp(0.1 * course.rng.standard_normal())
    breathing = 0.03 * np.sin(2 * np.pi * 0.25 * course.times_s)
    wander = course.follow(_HEART_WANDER) * course.noise(0.04, 0.15)
    rate_hz = course.follow(_HEART_PER_MIN) / 60 * own_rate * np.exp(breathing + wander)
    since_s = np.cumsum(rate_hz) / SFREQ % 1 / rate_hz
    return np.asarray(
        sum(
            size_uv * np.exp(-0.5 * ((since_s - at_s) / width_s) ** 2)
            for size_uv, at_s, width_s in (
                (120.0, 0.10, 0.025),
                (-100.0, 0.235, 0.010),
                (1000.0, 0.26, 0.012),
                (-250.0, 0.285, 0.012),
                (250.0, 0.50, 0.050),
            )
        )
    )


def _bell(duration_s: float) -> FloatArray:
    bell: Any = scipy.signal.windows.hann(round(duration_s * SFREQ))
    return np.asarray(bell)


def _k_complex() -> FloatArray:
    """A sharp negative wave and a slower positive one, 0.9 s together."""
    return np.concatenate((-_bell(0.35), 0.7 * _bell(0.55)))


def _saccade() -> FloatArray:
    """A jump within 50 ms that the amplifier's high pass lets decay."""
    times_s = np.arange(0, 1.5, 1 / SFREQ)
    return np.asarray(np.minimum(times_s / 0.05, 1) * np.exp(-times_s / 0.35))
