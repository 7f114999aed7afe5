"""Scored annotations -> one stage per 30-s epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RecordingError
from orchestrator.psg.edf import Annotation
from orchestrator.psg.epoch_grid import EPOCH_S as EPOCH_S
from orchestrator.psg.epoch_grid import BeyondSignal
from trainables.stages import UNSCORED

_TOLERANCE_S = 0.01
"""How far an onset may be off the grid: scorers' programs round."""

_ROUNDING_S = 1e-6

_UNSET = -2

NO_STAGES = "no_stages"
"""Reason of an error: there is no stage where they were looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypnogram:
    """The stages of a recording, and where its epochs begin."""

    onset_s: float
    """Start of the first epoch, in seconds from the start of the signal."""
    stages: NDArray[np.int8]
    """Shape (n_epochs,): W N1 N2 N3 REM = 0..4, -1 unscored. Whole epochs within the signal only."""


def from_annotations(
    annotations: Sequence[Annotation],
    labels: Mapping[str, int],
    duration_s: float,
    *,
    beyond_signal: BeyondSignal = "quarantine",
) -> Hypnogram:
    """Return the stages that annotations give.

    The first scored annotation is the start of the epoch grid; each one may span many epochs. Texts that are
    not in `labels` are events of another kind (lights off, apnoea) and are ignored, unless they read like a
    stage. Epochs that nothing covers are unscored. An unfinished last epoch of the signal is dropped.

    Parameters
    ----------
    annotations : sequence of Annotation
    labels : mapping of str to int
        Annotation text -> stage, -1 for unscored.
    duration_s : float
        Length of the signal.
    beyond_signal : {"quarantine", "trim"}
        What to do with *scored* annotations after the end of the signal. Unscored ones, such as the last run
        of a Sleep-EDF hypnogram, never matter.

    Raises
    ------
    RecordingError
        ``no_stages``, ``unknown_label``, ``off_grid``, ``overlap``, ``before_signal``,
        ``annotations_beyond_signal``.
    """
    scored = sorted((a for a in annotations if a.text in labels), key=lambda a: a.onset_s)
    for annotation in annotations:
        if annotation.text not in labels and annotation.text.lower().startswith("sleep stage"):
            raise RecordingError(
                "unknown_label",
                f"annotation {annotation.text!r} at {annotation.onset_s:g} s reads like a stage but is not in "
                "the labels. Add it to `labels` of the dataset file.",
            )
    if not scored:
        seen = sorted({a.text for a in annotations})[:8]
        raise RecordingError(
            NO_STAGES,
            f"no annotation is a sleep stage; texts found: {', '.join(map(repr, seen)) or 'none'}. "
            "Add them to `labels` of the dataset file.",
        )
    onset_s = scored[0].onset_s
    if onset_s < -_TOLERANCE_S:
        raise RecordingError(
            "before_signal", f"the first stage begins {-onset_s:g} s before the signal does."
        )
    ends = [a.onset_s for a in scored[1:]] + [max(duration_s, scored[-1].onset_s + EPOCH_S)]
    spans = [
        (*_span(a, end_s, onset_s), labels[a.text]) for a, end_s in zip(scored, ends, strict=True)
    ]
    stages = np.full(max(stop for _, stop, _ in spans), _UNSET, dtype=np.int8)
    for start, stop, stage in spans:
        clash = (stages[start:stop] != _UNSET) & (stages[start:stop] != stage)
        if clash.any():
            epoch = start + int(np.argmax(clash))
            raise RecordingError(
                "overlap",
                f"epoch {epoch} ({onset_s + EPOCH_S * epoch:g} s) is scored twice, differently.",
            )
        stages[start:stop] = stage
    stages[stages == _UNSET] = UNSCORED
    return _fit_to_signal(stages, max(onset_s, 0.0), duration_s, beyond_signal)


def from_codes(
    text: str,
    codes: Mapping[str, int],
    duration_s: float,
    *,
    epochs_per_code: int = 1,
    beyond_signal: BeyondSignal = "quarantine",
) -> Hypnogram:
    """Return the stages of a text file with one code a line, from the start of the signal; blank lines do not count.

    Raises
    ------
    RecordingError
        ``no_stages``, ``unknown_label``, ``annotations_beyond_signal``.
    """
    stages = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.strip()
        if not code:
            continue
        if code not in codes:
            raise RecordingError(
                "unknown_label",
                f"line {number} of the stage file is {code!r}; allowed: {', '.join(codes)}.",
            )
        stages += [codes[code]] * epochs_per_code
    if not stages:
        raise RecordingError(NO_STAGES, "the stage file is empty.")
    return _fit_to_signal(np.array(stages, np.int8), 0.0, duration_s, beyond_signal)


def unscored(duration_s: float) -> Hypnogram:
    """Return the whole epochs of a signal that nobody has scored, from its start.

    Raises
    ------
    RecordingError
        ``too_short``.
    """
    return _fit_to_signal(np.empty(0, np.int8), 0.0, duration_s, "quarantine")


def _span(annotation: Annotation, next_onset_s: float, grid_s: float) -> tuple[int, int]:
    """First and one-past-last epoch of an annotation; without a duration it lasts until the next one."""
    open_end = not annotation.duration_s
    end_s = annotation.onset_s + annotation.duration_s if annotation.duration_s else next_onset_s
    start = (annotation.onset_s - grid_s) / EPOCH_S
    stop = (end_s - grid_s) / EPOCH_S
    off_grid = abs(start - round(start)) * EPOCH_S > _TOLERANCE_S
    if off_grid or (not open_end and abs(stop - round(stop)) * EPOCH_S > _TOLERANCE_S):
        lasting = "" if open_end else f" for {annotation.duration_s:g} s"
        raise RecordingError(
            "off_grid",
            f"{annotation.text!r} at {annotation.onset_s:g} s{lasting} does not fit the {EPOCH_S}-s grid that "
            f"starts at {grid_s:g} s.",
        )
    return round(start), int(stop + _TOLERANCE_S / EPOCH_S) if open_end else round(stop)


def _fit_to_signal(
    stages: NDArray[np.int8], onset_s: float, duration_s: float, beyond_signal: BeyondSignal
) -> Hypnogram:
    whole, rest_s = divmod(duration_s - onset_s + _ROUNDING_S, EPOCH_S)
    n_signal = max(int(whole), 0)
    # The epoch that the end of the signal cuts is dropped like any unfinished one.
    is_cut = whole >= 0 and rest_s > 2 * _ROUNDING_S
    n_beyond = int((stages[n_signal + is_cut :] != UNSCORED).sum())
    if n_beyond and beyond_signal == "quarantine":
        raise RecordingError(
            "annotations_beyond_signal",
            f"{n_beyond} scored epochs lie after the end of the signal: {len(stages)} epochs are annotated, the "
            f"signal of {duration_s:g} s holds {n_signal}. If the signal was cut on purpose, set "
            "`labels_beyond_signal: trim` in the dataset file.",
        )
    fitted = np.full(n_signal, UNSCORED, dtype=np.int8)
    n_common = min(len(fitted), len(stages))
    fitted[:n_common] = stages[:n_common]
    if not len(fitted):
        raise RecordingError(
            "too_short", f"the signal of {duration_s:g} s holds no whole {EPOCH_S}-s epoch."
        )
    return Hypnogram(onset_s=onset_s, stages=fitted)
