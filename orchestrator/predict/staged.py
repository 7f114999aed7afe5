"""What a model says of one recording, epoch by epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from orchestrator.errors import RecordingError
from orchestrator.predict.statistics import Agreement, agreement
from orchestrator.psg.epoch_grid import EPOCH_S
from trainables.stages import UNSCORED, Stage

UNCERTAIN_BELOW = 0.5
"""Largest probability below which an epoch is called uncertain: no stage is more probable than all others together.
A convention of ours, which no study has set. A model that can say two stages is never uncertain in this sense."""

_ROUNDING = 1e-3  # of a sum of float32 probabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedNight:
    """One recording, staged by a model.

    Raises
    ------
    RecordingError
        ``too_short`` without any epoch, ``file_name`` where the name cannot begin the name of a file, ``inconsistent``
        where the parts do not fit each other.
    """

    recording: str
    """Name; the names of the files begin with it."""
    subject: str | None = None
    start: datetime | None = None
    """When the recording starts, in the local time of the laboratory; None if unknown."""
    onset_s: float = 0.0
    """Start of the first epoch, in seconds from the start of the signal."""
    probability: NDArray[np.float32]
    """(n_epochs, 5), in the order W N1 N2 N3 REM; NaN where the epoch is not staged."""
    stages: NDArray[np.int8]
    """(n_epochs,): W N1 N2 N3 REM = 0..4, -1 not staged. Flat and unusable epochs are never guessed."""
    flat: NDArray[np.bool_]
    """(n_epochs,): a channel that the model needs does not move."""
    can_say: tuple[Stage, ...] = tuple(Stage)
    """Stages that the model can say; the probability of others is 0."""
    remainder_s: float | None = 0.0
    """Seconds at the end of the signal that are no whole epoch; None if unknown."""
    reference: NDArray[np.int8] | None = None
    """(n_epochs,): what a scorer said, -1 unscored; None without a scorer."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader has to know, such as "The model was trained on this subject."."""
    model: Mapping[str, str]
    """What identifies the model, such as its sweep and trial."""
    source_sha256: str | None = None
    """Of the recording."""
    staging_id: str | None = None
    """Of model and recording: equal ones give equal files."""

    def __post_init__(self) -> None:
        if not self.recording or self.recording in {".", ".."} or set(self.recording) & set("/\0"):
            raise RecordingError(
                "file_name",
                f"recording {self.recording!r} cannot begin the name of a file; allowed: a name that is not empty "
                "and has no slash. Name the recording otherwise.",
            )
        if not self.stages.size:
            rest_s = self.remainder_s or 0.0
            raise RecordingError(
                "too_short",
                f"recording {self.recording!r} holds no whole {EPOCH_S}-s epoch, but {rest_s:g} s; there "
                "is nothing to stage.",
            )
        for wrong in (_wrong_shape, _wrong_stage, _wrong_probability):
            if problem := wrong(self):
                raise RecordingError("inconsistent", f"recording {self.recording!r}: {problem}")

    @property
    def n_epochs(self) -> int:
        """Number of epochs, staged or not."""
        return self.stages.size

    @property
    def is_staged(self) -> NDArray[np.bool_]:
        """(n_epochs,): the model gave a stage."""
        return np.asarray(self.stages != UNSCORED)

    @property
    def entropy(self) -> NDArray[np.float64]:
        """(n_epochs,): how undecided the model is, as a share of the logarithm of the number of stages it can say.

        0 where one stage has all probability, 1 where all that the model can say are as probable; NaN where the epoch
        is not staged. 0 for a model that can say one stage only.
        """
        nats = entr(self.probability.astype(np.float64)).sum(axis=1)
        return np.asarray(nats / np.log(max(len(self.can_say), 2)))

    @property
    def is_uncertain(self) -> NDArray[np.bool_]:
        """(n_epochs,): staged, with a largest probability below `UNCERTAIN_BELOW`."""
        # A comparison with NaN is false, so epochs that are not staged are not uncertain.
        return np.asarray(self.probability.max(axis=1) < UNCERTAIN_BELOW)

    @property
    def agreement(self) -> Agreement | None:
        """With the reference; None without one, or where no epoch has a stage from both."""
        return None if self.reference is None else agreement(self.reference, self.stages)

    @property
    def cannot_say(self) -> tuple[Stage, ...]:
        """Stages that the model cannot say."""
        return tuple(stage for stage in Stage if stage not in self.can_say)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that follow from what the model can say."""
        if not self.cannot_say:
            return ()
        names = ", ".join(stage.name for stage in self.cannot_say)
        return (
            f"The model cannot say {names}: such epochs are counted under other stages, and all sleep statistics "
            "depend on which.",
        )

    @property
    def onsets_s(self) -> NDArray[np.float64]:
        """(n_epochs,): start of each epoch, in seconds from the start of the signal."""
        return self.onset_s + EPOCH_S * np.arange(self.n_epochs, dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownChannel:
    """The channel whose spectrogram is drawn below the stages."""

    label: str
    """Name, such as ``EEG Fpz-Cz``."""
    sfreq: float
    """Hz."""
    signal_uv: NDArray[np.floating]
    """(n_times,), microvolts, from the start of the signal, which is `StagedNight.onset_s` before the first epoch."""


def _wrong_shape(night: StagedNight) -> str | None:
    n_epochs = night.stages.shape[0]
    wanted: list[tuple[str, NDArray[np.generic] | None, tuple[int, ...]]] = [
        ("stages", night.stages, (n_epochs,)),
        ("probability", night.probability, (n_epochs, len(Stage))),
        ("flat", night.flat, (n_epochs,)),
        ("reference", night.reference, (n_epochs,)),
    ]
    for name, values, shape in wanted:
        if values is not None and values.shape != shape:
            return f"{name} has shape {values.shape}; allowed: {shape}, as there are {n_epochs} epochs."
    return None


def _wrong_probability(night: StagedNight) -> str | None:
    staged, rest = night.probability[night.is_staged], night.probability[~night.is_staged]
    if not np.isnan(rest).all():
        return "an epoch without a stage has a probability; allowed: NaN. Give it a stage, or none of both."
    # Not "any is wrong": NaN among the probabilities of a staged epoch has to be found, too.
    if not ((staged >= 0) & (np.abs(staged.sum(axis=1, keepdims=True) - 1) < _ROUNDING)).all():
        return "probabilities of a staged epoch are negative, no numbers, or do not add up to 1."
    if (staged[:, list(night.cannot_say)] > 0).any():
        return f"a stage that the model cannot say has a probability; it can say {_names(night.can_say)}."
    return None


def _wrong_stage(night: StagedNight) -> str | None:
    said = np.unique(night.stages[night.is_staged]).tolist()
    if unknown := sorted(set(said) - set(night.can_say)):
        return f"an epoch has stage {unknown[0]}; allowed: -1, or what the model can say ({_names(night.can_say)})."
    if (night.flat & night.is_staged).any():
        epoch = int((night.flat & night.is_staged).argmax())
        return f"epoch {epoch} is flat and has a stage; allowed: -1, as nothing can be seen in it."
    if night.reference is not None and not np.isin(night.reference, (UNSCORED, *Stage)).all():
        return "the reference holds a value that is no stage; allowed: -1 (unscored) to 4 (REM)."
    return None


def _names(stages: tuple[Stage, ...]) -> str:
    return ", ".join(stage.name for stage in stages)
