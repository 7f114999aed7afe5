"""What a data set looks like on disk: files, subjects, hypnograms, channel names.

A new EDF data set needs such a file and no code. ``datasets/`` holds examples.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import MODALITIES, Modality, Slug, StageLabel, Text
from orchestrator.config.montage import BundledMontage, Channels, bundled_montage
from orchestrator.config.suggest import did_you_mean
from orchestrator.config.validation import Section, as_error, validated, wrong_key
from orchestrator.config.yaml_source import YamlSource, shown, source_of
from orchestrator.psg.epoch_grid import STORE_SFREQ, BeyondSignal
from orchestrator.psg.file_names import Glob, Regex, found_in
from orchestrator.psg.stages import NONE, Stages
from trainables.stages import ANNOTATION_STAGES

DEFAULT_FILTER_HZ: Mapping[Modality, tuple[float, float]] = {
    "eeg": (0.3, 35.0),
    "eog": (0.3, 35.0),
    "emg": (10.0, 45.0),
    "ecg": (0.5, 40.0),
}
"""Pass bands, Hz. EEG and EOG: 0.3-35 as in the AASM manual; EMG and ECG cut below half the store's
rate."""


def _band(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low < high < STORE_SFREQ / 2:
        raise PydanticCustomError(
            "not_a_band",
            "needs 0 < low < high < {half} Hz, because the store keeps {rate} values per second",
            {"half": STORE_SFREQ // 2, "rate": STORE_SFREQ},
        )
    return value


Band = Annotated[tuple[float, float], AfterValidator(_band)]


class RecordingForm(Section):
    """One form in which recordings of the data set are published."""

    files: Glob
    """Recordings, as a glob relative to the folder given with ``--data``; ``**/`` looks in
    subfolders too."""
    subject: Regex
    """Regular expression searched in the file name; group 1, or the whole match, is the subject."""
    stages: Stages
    """Where the stages are; or ``none`` for recordings that nobody has scored."""

    def subject_of(self, recording: str) -> str | None:
        """Subject of a recording by its file name; None when ``subject`` is not found in it.

        Parameters
        ----------
        recording : str
            File name of the recording, such as ``SC4001E0-PSG.edf``.
        """
        return found_in(self.subject, recording)


class DatasetFile(Section):
    """One data set: where its recordings and stages are, and which channels to read."""

    name: Slug
    """Name in sweep files and in the store."""
    title: Text
    """Name for people."""
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """Where to get the data; none for data made here."""
    licence: Text
    """Terms of use."""
    recordings: Annotated[tuple[RecordingForm, ...], Field(min_length=1)]
    """Forms in which the recordings are published; a folder may hold any of them."""
    labels: dict[Text, StageLabel] = Field(default_factory=dict)
    """Annotation text to stage or ``unscored``; added to the R&K and AASM labels, and wins over
    them."""
    listed_channels: Channels | None = Field(default=None, alias="channels", min_length=1)
    """Written ``channels``. Modality to montage; each channel is a name or a list of names in order of
    preference."""
    montage: BundledMontage | None = Field(default=None, validate_default=True)
    """Instead of ``channels``: the name of a montage that comes with the program."""
    optional: tuple[Modality, ...] = ()
    """Modalities that a recording may lack: it is kept without them. At least one is not optional."""
    filter_hz: dict[Modality, Band] = Field(default_factory=dict, validate_default=True)
    """Modality to pass band ``[low, high]`` in Hz, one for each modality of the montage."""
    labels_beyond_signal: BeyondSignal = "quarantine"
    """What to do when stages are scored after the end of the signal: refuse the recording, or drop
    those stages."""

    @field_validator("montage")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "listed_channels" not in info.data:  # wrong, and reported for itself
            return value
        if (value is None) == (info.data["listed_channels"] is None):
            problem = (
                "is missing, and so is 'channels': write one of them"
                if value is None
                else "not together with 'channels': keep one of them"
            )
            raise PydanticCustomError("one_of_both", "{problem}", {"problem": problem})
        return value

    @field_validator("optional")
    @classmethod
    def _some_required(
        cls, value: tuple[Modality, ...], info: ValidationInfo
    ) -> tuple[Modality, ...]:
        channels = _channels(info.data)
        if channels is None:
            return value
        for modality in value:
            if modality not in channels:
                problem = f"names {modality}, which this data set does not have"
                raise PydanticCustomError("no_such_modality", "{problem}", {"problem": problem})
        if set(value) == set(channels):
            raise PydanticCustomError(
                "none_required", "names every modality; a recording needs at least one of them"
            )
        return tuple(modality for modality in MODALITIES if modality in value)

    @field_validator("filter_hz")
    @classmethod
    def _default_filters(
        cls, value: dict[Modality, tuple[float, float]], info: ValidationInfo
    ) -> dict[Modality, tuple[float, float]]:
        channels = _channels(info.data)
        if channels is None:
            return value
        for modality in value:
            if modality not in channels:
                raise wrong_key(modality, f"has no effect: this data set has no {modality}")
        return {
            modality: value.get(modality, DEFAULT_FILTER_HZ[modality])
            for modality in MODALITIES
            if modality in channels
        }

    @property
    def channels(self) -> Channels:
        """Modality to channels, listed here or by the montage."""
        channels = _channels({"listed_channels": self.listed_channels, "montage": self.montage})
        assert channels is not None
        return channels

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities of this data set, in the order of the epoch store."""
        return tuple(modality for modality in MODALITIES if modality in self.channels)

    @property
    def annotation_stages(self) -> dict[str, int]:
        """Annotation texts that are stage labels here, each with its stage or ``UNSCORED``."""
        return {**ANNOTATION_STAGES, **self.labels}


def _channels(values: Mapping[str, Any]) -> Channels | None:
    """Return the channels of a data set; None where they are wrong, which is reported for itself."""
    listed, montage = values.get("listed_channels"), values.get("montage")
    if listed is None and montage is not None:
        return bundled_montage(montage).channels
    return listed


def load_dataset(given: str | Path | Mapping[str, Any]) -> DatasetFile:
    """Read a data set file, or a mapping with the same keys.

    Raises
    ------
    ConfigError
        Everything that is wrong with it, in a file each at file:line:column.
    """
    source = source_of(given)
    _check_words(source)
    return validated(DatasetFile, replace(source, data=_spelt_out(source.data)))


def _check_words(source: YamlSource) -> None:
    """Refuse a word for ``stages`` that is not ``none``: a model would ask for a section."""
    forms = source.data.get("recordings")
    mistakes = [
        (
            source.position(("recordings", number, "stages")),
            f"recordings[{number}].stages is {shown(form['stages'])}: not allowed."
            f"{did_you_mean(form['stages'], [NONE])} Allowed: none, or a section that says where they are, as in "
            "{from: annotations}.",
        )
        for number, form in enumerate(forms if isinstance(forms, list) else ())
        if isinstance(form, Mapping) and isinstance(form.get("stages"), str)
        if form["stages"] != NONE
    ]
    if mistakes:
        raise as_error(source, mistakes)


def _spelt_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says with the section that ``stages: none`` stands for."""
    forms = data.get("recordings")
    if not isinstance(forms, list):
        return dict(data)
    return {
        **data,
        "recordings": [
            {**form, "stages": {"from": NONE}}
            if isinstance(form, Mapping) and form.get("stages") == NONE
            else form
            for form in forms
        ],
    }
