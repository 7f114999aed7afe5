"""From a recording and a model to the stages of its epochs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import MissingChannelError, RecordingError
from orchestrator.models.record import ModelRecord
from orchestrator.predict.inputs import (
    STAGES_IN_THE_RECORDING,
    Input,
    optional_of,
    wanted_text,
)
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import Signals
from orchestrator.predict.staged import ShownChannel, StagedNight
from orchestrator.psg import convert
from orchestrator.psg.edf import OpenRecording
from orchestrator.psg.feed import counts_of, scaled_signals
from orchestrator.psg.preprocess import EPOCH_N_TIMES, SFREQ
from orchestrator.psg.quality import Flag
from orchestrator.psg.recordings import Source
from orchestrator.psg.stages import NoStages
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store, sha256
from trainables.stages import UNSCORED, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A recording with its stages, and the channel to draw below them."""

    night: StagedNight
    channel: ShownChannel


def stage_file(given: Input, model: LoadedModel, settings: convert.Settings) -> Staged:
    """Stage a recording in a folder.

    Raises
    ------
    RecordingError
        It cannot be read, lacks a channel, or is too short.
    """
    files = _Files.of(given)

    def read(source: Source) -> convert.Converted:
        content = None if source.stage_path is None else files.stages
        return convert.converted(source, settings, given.file, content)

    converted, unread = _converted(given.source, settings, read)
    return _staged(
        converted,
        model,
        given.source.recording,
        subject=given.subject,
        dataset=given.dataset,
        source_sha256=files.sha256,
        staging_id=files.staging_id(given, model, settings),
        notes=(*given.notes, *unread),
    )


def stage_recording(
    recording: OpenRecording, model: LoadedModel, settings: convert.Settings, subject: str | None
) -> Staged:
    """Stage a recording that is open already, such as one that MNE has in memory.

    Parameters
    ----------
    recording : OpenRecording
        Its file name without suffix is its name; stages to compare with are looked for among its annotations.
    model : LoadedModel
    settings : Settings
    subject : str, optional
        Who is recorded.

    Raises
    ------
    RecordingError
        It lacks a channel, or is too short.
    """
    name = PurePath(recording.file_name).stem
    source = Source(
        subject=subject or name,
        recording=name,
        path=recording.file_name,
        stage_path=None,
        stages=STAGES_IN_THE_RECORDING,
    )

    def read(source: Source) -> convert.Converted:
        return convert.converted_recording(source, settings, recording)

    converted, unread = _converted(source, settings, read)
    return _staged(converted, model, name, subject=subject, notes=unread)


def _staged(
    converted: convert.Converted, model: LoadedModel, recording: str, **known: Any
) -> Staged:
    return stage_table(
        converted.table,
        model,
        recording=recording,
        start=converted.start,
        remainder_s=converted.remainder_s,
        reference=converted.stages,
        **known,
    )


def file_staging_id(given: Input, model: LoadedModel, settings: convert.Settings) -> str:
    """Return the id of all that the files of a recording in a folder depend on.

    Raises
    ------
    RecordingError
        ``unreadable``.
    """
    return _Files.of(given).staging_id(given, model, settings)


def stage_table(
    table: pa.Table,
    model: LoadedModel,
    *,
    recording: str,
    subject: str | None,
    source_sha256: str | None = None,
    staging_id: str | None = None,
    dataset: str | None = None,
    start: datetime | None = None,
    remainder_s: float | None = None,
    reference: NDArray[np.int8] | None = None,
    notes: Sequence[str] = (),
) -> Staged:
    """Stage the epochs of an epoch table. Flat ones are not staged.

    Parameters
    ----------
    table : table
        As :func:`orchestrator.psg.convert.epoch_table` gives it; its stages are not read.
    model : LoadedModel
    recording, subject : str
    source_sha256 : str, optional
        Of the recording, where it is a file.
    staging_id : str, optional
        Of all that the result depends on.
    dataset : str, optional
        Data set that the subject is of; None if unknown.
    start : datetime, optional
    remainder_s : float, optional
        Seconds at the end that are no whole epoch; None if unknown.
    reference : (n_epochs,), optional
        Stages of a scorer, -1 unscored.
    notes : sequence of str, optional
        What a reader has to know of the recording.

    Raises
    ------
    RecordingError
        ``missing_channel``: a modality is not there that the model cannot do without.
    """
    metadata = json.loads(table.schema.metadata[convert.METADATA_KEY])
    record = model.record
    has_signal = (table["flags"].to_numpy() & np.uint8(Flag.FLAT)) == 0
    missing = _missing_modalities(metadata, model, recording)
    x: Signals = {
        modality: scaled_signals(
            counts_of(table[modality])[has_signal],
            metadata["channels"][modality],
            record.scale,
            record.clip_spreads,
        )
        for modality in record.modalities
        if modality not in missing
    }
    probability = np.full((len(table), len(Stage)), np.nan, np.float32)
    if has_signal.any():
        probability[has_signal] = model.probability(x, subject, dataset)
    stages = np.full(len(table), UNSCORED, np.int8)
    stages[has_signal] = probability[has_signal].argmax(axis=1)
    night = StagedNight(
        recording=recording,
        subject=subject,
        start=start,
        onset_s=float(metadata.get("onset_s", 0.0)),
        probability=probability,
        stages=stages,
        flat=~has_signal,
        can_say=model.stages,
        remainder_s=remainder_s,
        reference=None if reference is None or (reference == UNSCORED).all() else reference,
        notes=(
            *notes,
            *_known(model, recording, subject, dataset),
            *([f"The recording has no {', '.join(missing)}: staged without."] if missing else []),
            *_late(metadata),
            *_amplitudes(metadata, record),
        ),
        model={"name": record.name, "id": model.model_id},
        source_sha256=source_sha256,
        staging_id=staging_id,
    )
    return Staged(night=night, channel=_shown(table, metadata, tuple(x)))


def staging_id(model: LoadedModel, recording: Mapping[str, Any]) -> str:
    """Return the id of all that the files of a recording depend on.

    Parameters
    ----------
    model : LoadedModel
    recording : mapping
        JSON values: all that decides what is staged, and what is said of it.
    """
    return content_id({"model": model.model_id, "recording": dict(recording)})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """What is read of the files of a recording before it is converted."""

    sha256: str
    """Of the recording."""
    stages: bytes | None
    """Content of the stage file."""

    @classmethod
    def of(cls, given: Input) -> "_Files":
        data, path = Store.open(given.data_uri), given.source.stage_path
        if any("\ud800" <= character <= "\udfff" for character in str(given.file)):
            raise RecordingError(
                "file_name",
                f"the name {str(given.file)!r} is no UTF-8 text, so no file can be called after it. Rename it.",
            )
        try:
            with given.file.open("rb"):  # for the reason in plain words
                pass
            stages = None if path is None else Path(given.data_uri, path).read_bytes()
        except OSError as error:
            raise RecordingError(
                "unreadable", f"{error.filename} cannot be read: {error.strerror}."
            ) from error
        return cls(sha256=data.sha256(given.source.path), stages=stages)

    def staging_id(self, given: Input, model: LoadedModel, settings: convert.Settings) -> str:
        return staging_id(
            model,
            {
                "sha256": self.sha256,
                "stages_sha256": None if self.stages is None else sha256(self.stages),
                **given.source.stages.identity(),
                "settings": settings.as_json(),
                "subject": [given.dataset, given.subject],
            },
        )


def _converted(
    source: Source, settings: convert.Settings, read: Callable[[Source], convert.Converted]
) -> tuple[convert.Converted, list[str]]:
    """Return the epochs of a recording, and a note on why its stages cannot be used, if they cannot.

    Stages are no reason to leave a recording unstaged: they only judge.
    """
    unlabelled = replace(source, problem=None, stages=NoStages(), stage_path=None)
    try:
        try:
            return read(source), []
        except MissingChannelError:
            raise
        except RecordingError as error:
            return read(unlabelled), [f"No stages to compare with: {error.message}"]
    except MissingChannelError as error:
        raise _what_is_missing(error, settings) from None


def _what_is_missing(error: MissingChannelError, settings: convert.Settings) -> RecordingError:
    """Say what the model wants, what there is, and which name is nearest."""
    before = error.message.partition("; it has ")[0]
    if not error.labels:
        return RecordingError(error.reason, f"{before}: it holds annotations alone, and no signal.")
    modality = next(m for m, channels in settings.channels.items() if error.wanted in channels)
    close = (get_close_matches(name, error.labels, 1, 0.5) for name in error.wanted)
    near = next((found[0] for found in close if found), None)
    nearest = f" The nearest name is {near!r}." if near else ""
    again = "" if len(settings.channels[modality]) == 1 else ", once for each channel of it"
    return RecordingError(
        error.reason,
        f"{before}. The model wants {wanted_text(settings)}; the recording has "
        f"{', '.join(map(repr, error.labels))}.{nearest} Name the channel to take, as in --channel "
        f'{modality}="{near or error.labels[0]}"{again}.',
    )


def _missing_modalities(
    metadata: Mapping[str, Any], model: LoadedModel, recording: str
) -> list[str]:
    record = model.record
    missing = [m for m in record.modalities if m not in metadata["channels"]]
    needed = [m for m in missing if m not in optional_of(record)]
    if needed or len(missing) == len(record.modalities):
        raise RecordingError(
            "missing_channel",
            f"recording {recording!r} has no {', '.join(needed or missing)}, which the model {record.name} needs; it "
            f"has {', '.join(metadata['channels'])}. Choose another model, or leave this recording out.",
        )
    return missing


def _known(
    model: LoadedModel, recording: str, subject: str | None, dataset: str | None
) -> list[str]:
    """Sentences about what the model has seen of this recording or its subject before."""
    training = model.record.training
    elsewhere = dataset is not None and training.get("dataset") not in (None, dataset)
    is_adapted_to = model.adapted_to(subject, dataset)
    said = []
    if subject is not None and subject in training["subjects"] and elsewhere:
        said.append(
            f"The model was trained on a subject called {subject}, of data set {training['dataset']}: if it is the "
            "same person, agreement with a scorer says little."
        )
    elif subject is not None and subject in training["subjects"]:
        said.append(
            f"The model was trained on subject {subject}: agreement with a scorer says little here."
        )
    elif recording in training.get("recordings", ()):
        said.append(
            f"The model was trained on a recording called {recording}: if it is this one, agreement with a scorer says "
            "little."
        )
    if is_adapted_to:
        said.append(f"The model was adapted to the signals, not the stages, of subject {subject}.")
    if any(entry.subject is not None for entry in model.record.files):
        if subject is None:
            which = "all of them, as nothing says who this is (--dataset-file would)"
        elif is_adapted_to:
            which = f"those adapted to {subject}"
        else:
            which = "all of them, as none was adapted to this one"
        said.append(f"The model has weights for each subject; used here: {which}.")
    return said


def _late(metadata: Mapping[str, Any]) -> list[str]:
    """Say that epochs begin where a scorer's do, so that the two can be compared epoch by epoch."""
    onset_s = metadata.get("onset_s", 0.0)
    if onset_s < 0.5:
        return []
    return [
        f"The first epoch begins where the stages of the scorer do, {onset_s:g} s after the start of the signal; what "
        "is before is not staged."
    ]


def _amplitudes(metadata: Mapping[str, Any], record: ModelRecord) -> list[str]:
    consequence = (
        "Each recording is scaled by its own spread, so stages do not suffer unless the gain changed within the "
        "recording."
        if record.scale == "recording"
        else "The model takes microvolts as they are, so its stages cannot be relied on."
    )
    return [
        f"The amplitude of {channel['label']} ({modality}) is implausible, by a factor of about "
        f"{convert.implausible_by(channel['spread_uv']):.2g}: its unit or gain in the file is wrong. {consequence}"
        for modality in record.modalities
        for channel in metadata["channels"].get(modality, ())
        if not channel.get("plausible", True)
    ]


def _shown(table: pa.Table, metadata: Mapping[str, Any], modalities: Sequence[str]) -> ShownChannel:
    """Return the first channel of the first modality, as it was filtered, from the start of the signal."""
    modality = modalities[0]
    about = metadata["channels"][modality][0]
    counts: NDArray[np.int16] = counts_of(table[modality])[:, 0]
    before = np.zeros(round(metadata.get("onset_s", 0.0) * SFREQ), np.float32)
    signal = counts.reshape(len(table) * EPOCH_N_TIMES) * np.float32(about["step_uv"])
    return ShownChannel(
        label=about.get("label", modality),
        sfreq=float(SFREQ),
        signal_uv=np.concatenate([before, signal]),
    )
