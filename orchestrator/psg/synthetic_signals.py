"""What the stage does to each signal of a made-up recording, and how channels of one modality differ.

What depends on the **stage** is textbook physiology (AASM manual for the scoring of sleep; Berry, Fundamentals of
Sleep Medicine), in amplitudes of our own choosing:

- EEG: alpha in W, theta and low amplitude in N1, spindles and K-complexes in N2, slow waves of 0.5-2 Hz in N3, low
  mixed frequencies with some theta in REM, over a background of 1/f;
- EOG: blinks and quick glances in W, slow rolling eyes in N1, rapid movements in REM, and some EEG always;
- EMG of the chin: a tone that is highest in W, falls with depth and is lowest in REM, which has short twitches;
- ECG: beats with P, QRS and T, slower in NREM than in W, faster and less regular in REM, quicker on inhalation.

So stages are easiest to tell by the EEG; the EOG knows W and REM, the EMG little and the ECG least.

Shapes: T is the number of values of the recording.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import scipy.signal

from orchestrator.config.fields import MODALITIES, Modality
from orchestrator.psg.synthetic_course import SFREQ, Course, FloatArray
from orchestrator.psg.synthetic_sites import (
    REFERENCE,
    Site,
    blink_weight,
    eye_movement_weight,
    eye_side,
    own_share,
    scalp_site,
    weight,
)
from orchestrator.psg.synthetic_traits import Traits

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
_MUSCLE_HZ = (10.0, 48.0)
_CHIN_TONE_UV = (16.0, 10.0, 7.5, 6.5, 3.5)
_HEART_PER_MIN = (70.0, 65.0, 61.0, 60.0, 66.0)
_HEART_WANDER = (0.04, 0.035, 0.03, 0.02, 0.07)  # irregularity, as a part of the rate

_WANDER = 0.33
"""Spread of the log amplitude of a rhythm from epoch to epoch within a stage."""
_LOWEST = 0.01
"""Events a minute that a rate of none counts as, where rates are raised to a power."""
_EEG_IN_EOG = 0.4
_FURTHER_MUSCLE = 0.2  # spread of the log level of a further EMG of the same muscle
_FURTHER_LEAD = 0.8  # of the ECG, relative to the one before

SourceT = TypeVar("SourceT")

OwnStream = Callable[[Modality, int], np.random.Generator]
"""(modality, index of the channel in it) -> random numbers that are this channel's alone."""


def channel_signals(
    course: Course,
    traits: Traits,
    labels: Mapping[Modality, Sequence[str]],
    dominance: Mapping[Modality, float],
    own: OwnStream,
) -> Iterator[tuple[Modality, str, FloatArray]]:
    """Yield modality, label and signal of each channel, one after the other.

    Channels of a modality are mixed from the same sources, by what their names say: see
    :mod:`orchestrator.psg.synthetic_sites`. Several EMG share tone and twitches, several ECG the beats.

    Parameters
    ----------
    course : Course
        Its random numbers are drawn here, in the same order for any montage.
    labels : mapping
        Modality to names of its channels, in the order of the epoch store.
    dominance : mapping
        Modality to the exponent on the contrast between stages in its channels, 1 where it has none: of whatever is in
        them, so also of the EEG in an EOG. No channel of another modality is changed.

    Yields
    ------
    signal : (T,)
        In microvolts.
    """
    by = {modality: dominance.get(modality, 1.0) for modality in MODALITIES}
    brain = _Replay(course, lambda again, contrast: _brain(again, traits, contrast))
    eyes = _Replay(course, _eyes)
    muscle = _Replay(course, lambda again, contrast: _muscle(again, traits, contrast))
    heart = _Replay(course, lambda again, contrast: _heart(again, traits, contrast))

    def signal(modality: Modality, index: int) -> FloatArray:
        label = labels[modality][index]
        mine = course.drawing_from(own(modality, index))
        match modality:
            case "eeg":
                site, looks = scalp_site(label), eyes.at(by["eeg"])
                eeg = brain.at(by["eeg"]).seen_at(site, mine)
                eeg += blink_weight(site) * looks.blinks_uv
                return eeg + eye_movement_weight(site) * looks.movements_uv
            case "eog":
                looks = eyes.at(by["eog"])
                eeg = _EEG_IN_EOG * brain.at(by["eog"]).seen_at(REFERENCE, mine)
                return eeg + eye_side(label, index) * (looks.movements_uv + looks.blinks_uv)
            case "emg":
                amplitude_uv, carrier = muscle.at(by["emg"])
                if index > 0:
                    level = _FURTHER_MUSCLE * traits.spread * mine.rng.standard_normal()
                    amplitude_uv, carrier = np.exp(level) * amplitude_uv, mine.noise(*_MUSCLE_HZ)
                return amplitude_uv * carrier
            case "ecg":
                return _FURTHER_LEAD**index * heart.at(by["ecg"])

    for modality in MODALITIES:
        for index, label in enumerate(labels.get(modality, ())):
            noise = traits.noise_uv * course.rng.standard_normal(course.n_times)
            yield modality, label, traits.gain * signal(modality, index) + noise


class _Replay(Generic[SourceT]):
    """Sources as they are, and with another contrast between stages: from the same random numbers.

    So the contrast of one modality changes no signal of another one, although they share sources.
    """

    def __init__(self, course: Course, make: Callable[[Course, float], SourceT]) -> None:
        self._course = course.drawing_from(copy.deepcopy(course.rng))
        self._make = make
        self._made = {1.0: make(course, 1.0)}

    def at(self, dominance: float) -> SourceT:
        """Return the sources with an exponent on the contrast between stages."""
        if dominance not in self._made:
            again = self._course.drawing_from(copy.deepcopy(self._course.rng))
            self._made[dominance] = self._make(again, dominance)
        return self._made[dominance]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rhythm:
    """One rhythm of the EEG, or its background."""

    unit: FloatArray
    """(T,), of unit power."""
    amplitude_E: FloatArray
    """(n_epochs,), microvolts, by stage alone."""
    wander_E: FloatArray
    """(n_epochs,), how its logarithm deviates at C3, in spreads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Brain:
    """Sources of the EEG as C3 sees them, in the order in which they are added up."""

    rhythms: Mapping[str, _Rhythm]
    events_uv: Mapping[str, FloatArray]
    """Source to (T,)."""
    slope: float
    """Of the background."""

    def seen_at(self, site: Site, course: Course) -> FloatArray:
        """Return the EEG at a site, (T,); the course gives what this channel has for itself."""
        share = own_share(site)
        eeg = np.zeros(course.n_times)
        for name, rhythm in self.rhythms.items():
            unit, wander_E = rhythm.unit, rhythm.wander_E
            if share:
                wander_E = _blend(wander_E, course.wander_E(), share)
            if share and name == "background":
                unit = _blend(unit, course.noise(*_BACKGROUND_HZ, self.slope), share)
            amplitude_uv = course.glide(rhythm.amplitude_E * np.exp(_WANDER * wander_E))
            eeg += weight(name, site) * amplitude_uv * unit
        for name, event_uv in self.events_uv.items():
            eeg += weight(name, site) * event_uv
        return eeg


def _blend(shared: FloatArray, own: FloatArray, share: float) -> FloatArray:
    """Mix two independent noises of unit power into one; `share` is the part of the power that is its own."""
    return np.asarray(np.sqrt(1 - share) * shared + np.sqrt(share) * own)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Eyes:
    """What the eyes add to the EOG of the left one, each (T,)."""

    movements_uv: FloatArray
    blinks_uv: FloatArray


def _brain(course: Course, traits: Traits, dominance: float) -> _Brain:
    rhythms_hz = {**_RHYTHMS_HZ, "alpha": (traits.alpha_hz, _ALPHA_WIDTH_HZ)}
    rhythms = {}
    for name, amplitudes_uv in _RHYTHMS_UV.items():
        rhythms[name] = _Rhythm(
            unit=course.noise(*_BACKGROUND_HZ, traits.slope)
            if name == "background"
            else course.rhythm(*rhythms_hz[name]),
            amplitude_E=_with_dominance(_with_contrast(amplitudes_uv, traits.contrast), dominance)[
                course.stages_E
            ],
            wander_E=course.wander_E(),
        )
    spindles = course.events(_with_dominance(_SPINDLES_PER_MIN, dominance), _bell(1.0))
    spindles_uv = _SPINDLE_UV * traits.contrast * spindles
    spindles_uv = spindles_uv * np.sqrt(2) * course.rhythm(13.2, 0.3)
    kernel_uv = _K_COMPLEX_UV * traits.contrast * _k_complex()
    k_complexes_uv = course.events(_with_dominance(_K_COMPLEXES_PER_MIN, dominance), kernel_uv)
    events_uv = {"spindles": spindles_uv, "k_complexes": k_complexes_uv}
    return _Brain(rhythms=rhythms, events_uv=events_uv, slope=traits.slope)


def _eyes(course: Course, dominance: float) -> _Eyes:
    amplitude_uv = course.follow(_with_dominance(_ROLLING_EYES_UV, dominance), _WANDER)
    rolling = amplitude_uv * course.noise(0.3, 0.6)
    saccades = course.events(
        _with_dominance(_SACCADES_PER_MIN, dominance), _SACCADE_UV * _saccade(), signs=(-1, 1)
    )
    blinks = course.events(_with_dominance(_BLINKS_PER_MIN, dominance), _BLINK_UV * _bell(0.3))
    return _Eyes(movements_uv=rolling + saccades, blinks_uv=blinks)


def _muscle(course: Course, traits: Traits, dominance: float) -> tuple[FloatArray, FloatArray]:
    """Return the amplitude of the chin in microvolts and noise of unit power to carry it, each (T,)."""
    tone_uv = _with_dominance(_with_contrast(_CHIN_TONE_UV, traits.contrast), dominance)
    tone = course.follow(tone_uv, _WANDER)
    twitches = course.events(_with_dominance(_TWITCHES_PER_MIN, dominance), _TWITCH_UV * _bell(0.4))
    return tone + twitches, course.noise(*_MUSCLE_HZ)


def _heart(course: Course, traits: Traits, dominance: float) -> FloatArray:
    """P, QRS and T as bells in the time since the beat, (T,); the rate is integrated to find the beats."""
    own_rate = np.exp(0.1 * traits.spread * course.rng.standard_normal())
    breathing = 0.03 * np.sin(2 * np.pi * 0.25 * course.times_s)
    wander = course.follow(_with_dominance(_HEART_WANDER, dominance)) * course.noise(0.04, 0.15)
    per_min = course.follow(_with_dominance(_HEART_PER_MIN, dominance))
    rate_hz = per_min / 60 * own_rate * np.exp(breathing + wander)
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


def _with_contrast(amplitudes: Sequence[float], contrast: float) -> FloatArray:
    """Move positive values towards their geometric mean (below 1) or away from it."""
    logs = np.log(amplitudes)
    return np.asarray(np.exp(logs.mean() + contrast * (logs - logs.mean())))


def _with_dominance(values: Sequence[float] | FloatArray, dominance: float) -> FloatArray:
    """Do the same, but above 1 let the largest value stay as it is, so that nothing becomes too large for a body."""
    if dominance == 1:
        return np.asarray(values)
    logs = np.log(np.maximum(values, _LOWEST))
    pivot = logs.mean() if dominance < 1 else logs.max()
    return np.asarray(np.exp(pivot + dominance * (logs - pivot)))


def _bell(duration_s: float) -> FloatArray:
    window: Any = scipy.signal.windows.hann(round(duration_s * SFREQ))
    return np.asarray(window)


def _k_complex() -> FloatArray:
    """A sharp negative wave and a slower positive one, 0.9 s together."""
    return np.concatenate((-_bell(0.35), 0.7 * _bell(0.55)))


def _saccade() -> FloatArray:
    """A jump within 50 ms that the amplifier's high pass lets decay."""
    times_s = np.arange(0, 1.5, 1 / SFREQ)
    return np.asarray(np.minimum(times_s / 0.05, 1) * np.exp(-times_s / 0.35))
