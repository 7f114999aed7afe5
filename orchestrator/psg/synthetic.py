"""Made-up polysomnograms: EDF+ recordings of subjects who do not exist, in laboratories as different as one likes.

For demonstrations and tests, where the whole path has to run without anybody's sleep. They are **no substitute for
real recordings**: whatever is found on them says nothing about sleep or about a method's worth in a clinic.

What a stage does to the signals is in :mod:`orchestrator.psg.synthetic_signals`, what distinguishes channels of one
modality in :mod:`orchestrator.psg.synthetic_sites`, what distinguishes subjects and domains in
:mod:`orchestrator.psg.synthetic_traits`.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import date, time

import edfio
import numpy as np
from numpy.typing import NDArray

from orchestrator.config.fields import MODALITIES, Modality
from orchestrator.config.montage import MontageFile, bundled_montage
from orchestrator.errors import ConfigError, SetupError
from orchestrator.psg.hypnogram import EPOCH_S
from orchestrator.psg.synthetic_course import SFREQ, Course
from orchestrator.psg.synthetic_hypnogram import draw_stages
from orchestrator.psg.synthetic_signals import channel_signals
from orchestrator.psg.synthetic_traits import POSITION_SPREAD, draw_traits, stream
from orchestrator.store.store import Store
from orchestrator.telemetry.progress import progress
from trainables.stages import STAGE_NAMES, UNSCORED, Stage

LIMITS_UV: Mapping[Modality, float] = {"eeg": 500.0, "eog": 1000.0, "emg": 500.0, "ecg": 5000.0}
"""Amplitude at which the channels of a modality clip, in microvolts."""

LARGEST_SHIFT = 2.0
"""Beyond it traits leave what a body and an amplifier can give."""

LARGEST_SPREAD = 2.0
"""Factor on the deviations between subjects; less where the shift is large, for the same reason."""

LARGEST_DOMINANCE = 3.0
"""Exponent on the contrast between stages; beyond it some of the signals would vanish in some of the stages."""

LONGEST_H = 12.0

BASIC = "basic"
"""Montage of recordings for which none is named."""

_LONGEST_LABEL = 16  # characters, of a channel in an EDF header


def recording(
    stages: Sequence[int] | NDArray[np.int8],
    *,
    shift: float = 0.0,
    seed: int = 1,
    number: int = 1,
    subject: str = "made-up",
    montage: MontageFile | None = None,
    dominance: Mapping[Modality, float] | None = None,
    spread: float = 1.0,
) -> edfio.Edf:
    """Return a recording with a given hypnogram.

    Parameters
    ----------
    stages : (n_epochs,)
        At least one; W N1 N2 N3 REM = 0..4. -1 is annotated as unscored, over the signals of W.
    shift, seed, number, spread
        See `draw_traits`; they also decide the course of the signals.
    subject : str
        Patient code in the header, without blanks.
    montage : MontageFile, optional
        Which channels; by default one of each modality. A channel's label is the first of its names.
    dominance : mapping, optional
        Modality to the exponent on the contrast between stages in its channels; 1 where it has none.

    Returns
    -------
    edfio.Edf
        Continuous EDF+ of the montage's channels at 100 Hz, in microvolts, with one annotation for each epoch. The
        same arguments give the same bytes; date and time in the header are fixed.

    Examples
    --------
    >>> edf = recording([0, 0, 1, 2], shift=0.5)
    >>> edf.duration, edf.labels[0], edf.annotations[3].text
    (120.0, 'EEG C3-M2', 'Sleep stage N2')
    """
    stages = np.asarray(stages, np.int8)
    montage = montage or bundled_montage(BASIC)
    course = Course(np.where(stages == UNSCORED, Stage.W, stages), stream(seed, number, "signals"))
    signals = channel_signals(
        course,
        draw_traits(seed, number, shift, spread),
        montage.labels,
        dominance or {},
        lambda modality, i: stream(seed, number, "channels", MODALITIES.index(modality), i),
    )
    return edfio.Edf(
        [
            edfio.EdfSignal(
                np.clip(signal, -LIMITS_UV[modality], LIMITS_UV[modality]),
                SFREQ,
                label=label,
                physical_dimension="uV",
                physical_range=(-LIMITS_UV[modality], LIMITS_UV[modality]),
            )
            for modality, label, signal in signals
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
    folder: str,
    *,
    n_subjects: int,
    shift: float,
    seed: int,
    hours: float,
    montage: MontageFile | None = None,
    dominance: Mapping[Modality, float] | None = None,
    spread: float = 1.0,
) -> list[str]:
    """Write one EDF+ file for each subject of a made-up domain.

    Parameters
    ----------
    folder : str
        A local folder, made if it is missing, or ``s3://bucket/prefix``. Files of the same name are replaced, those
        with another montage, dominance or spread too: these are not in the name.
    n_subjects : int
        At least 1. The first files of a larger domain are the files of a smaller one.
    shift : float
        0 to `LARGEST_SHIFT`; 0 is the domain that others are shifted from.
    seed : int
        At least 0. The same seed gives the same bytes; in another domain it gives the same subjects' other recordings,
        with another montage the same subjects' other channels in the same night.
    hours : float
        Length of each recording, one epoch to `LONGEST_H`; a broken epoch is left out.
    montage : MontageFile, optional
        Which channels; by default one of each modality.
    dominance : mapping, optional
        Modality to a factor of 0 to `LARGEST_DOMINANCE`, 1 where it has none: the exponent on the contrast between
        stages in its channels. 0 takes all information about the stage out of them, 2 doubles the contrast of
        logarithms. No other channel is changed.
    spread : float
        0 to `LARGEST_SPREAD`: factor on the deviations between subjects.

    Returns
    -------
    list of str
        File names, ``shift<shift>-seed<seed>-<number>.edf``, numbers from 01.

    Raises
    ------
    ConfigError
        A number is outside its range, the montage has no such modality or a name that is no label of an EDF channel.
    SetupError, StoreUnreachableError
        The folder cannot be written to.
    """
    montage = montage or bundled_montage(BASIC)
    dominance = dominance or {}
    n_epochs = _check(n_subjects, shift, seed, hours, spread)
    _check_dominance(dominance, montage)
    _check_labels(montage)
    shift = float(f"{shift:g}")  # the file name says it
    try:
        store = Store.open(folder, writable=True)
    except SetupError as error:
        raise SetupError(f"recordings cannot be written: {error}") from error
    names = []
    with progress("synth", n_subjects) as advance:
        for number in range(1, n_subjects + 1):
            subject = f"shift{shift:g}-seed{seed}-{number:02d}"
            edf = recording(
                draw_stages(stream(seed, number, "stages"), n_epochs),
                shift=shift,
                seed=seed,
                number=number,
                subject=subject,
                montage=montage,
                dominance=dominance,
                spread=spread,
            )
            content = io.BytesIO()
            edf.write(content)
            store.write_bytes(f"{subject}.edf", content.getvalue())
            names.append(f"{subject}.edf")
            advance(names[-1])
    return names


def _check(n_subjects: int, shift: float, seed: int, hours: float, spread: float) -> int:
    """Return the number of epochs, or say what is wrong."""
    shortest_h = EPOCH_S / 3600
    # No subject may lie further along than those of the largest shift do.
    widest = min(LARGEST_SPREAD, (LARGEST_SHIFT + POSITION_SPREAD - shift) / POSITION_SPREAD)
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
        ("spread", spread, 0 <= spread <= widest, f"0 to {widest:g} at a shift of {shift:g}"),
    ):
        if not ok:
            raise ConfigError(f"{name} is {value:g}; allowed: {allowed}.")
    return int(hours / shortest_h + 1e-6)


def _check_dominance(dominance: Mapping[Modality, float], montage: MontageFile) -> None:
    for modality, factor in dominance.items():
        if modality not in montage.labels:
            raise ConfigError(
                f"the dominance of {modality!r} has no effect: montage {montage.name!r} has "
                f"{', '.join(montage.labels)}."
            )
        if not 0 <= factor <= LARGEST_DOMINANCE:
            raise ConfigError(
                f"dominance of {modality} is {factor:g}; allowed: 0 to {LARGEST_DOMINANCE:g}."
            )


def _check_labels(montage: MontageFile) -> None:
    for label in (label for labels in montage.labels.values() for label in labels):
        if len(label) > _LONGEST_LABEL or not (label.isascii() and label.isprintable()):
            raise ConfigError(
                f"montage {montage.name!r}: {label!r} cannot name a channel of an EDF file, which takes at most "
                f"{_LONGEST_LABEL} printable ASCII characters. Put a shorter name first."
            )


def _label(stage: int) -> str:
    if stage == UNSCORED:
        return "?"
    return "R" if stage == Stage.REM else STAGE_NAMES[stage]
