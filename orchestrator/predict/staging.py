"""From a recording and a model to the stages of its epochs."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import RecordingError
from orchestrator.predict.inputs import Input, wanted_text
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import Signals
from orchestrator.predict.staged import ShownChannel, StagedNight
from orchestrator.psg import convert
from orchestrator.psg.feed import counts_of, scaled_signals
from orchestrator.psg.preprocess import EPOCH_N_TIMES, SFREQ
from orchestrator.psg.quality import Flag
from orchestrator.psg.stages import NoStages
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
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
    data, source = Store.open(given.data_uri), given.source
    stage_content = data.read_bytes(source.stage_path) if source.stage_path else None
    with data.local_copy(source.path) as file:
        converted, unread = _converted(given, settings, file, stage_content)
    notes = [] if unread is None else [f"The stages in the file could not be read: {unread}"]
    return stage_table(
        converted.table,
        model,
        recording=source.recording,
        subject=given.subject,
        start=converted.start,
        remainder_s=converted.remainder_s,
        source_sha256=data.sha256(source.path),
        notes=notes,
    )


def stage_table(
    table: pa.Table,
    model: LoadedModel,
    *,
    recording: str,
    subject: str | None,
    source_sha256: str,
    start: Any = None,
    remainder_s: float = 0.0,
    notes: list[str] | None = None,
) -> Staged:
    """Stage the epochs of an epoch table.

    Flat epochs are not staged. Where the table has stages, those give the reference.

    Parameters
    ----------
    table : table
        As :func:`orchestrator.psg.convert.epoch_table` gives it.
    model : LoadedModel
    recording, subject : str
    source_sha256 : str
        Of the recording.
    start : datetime, optional
    remainder_s : float
        Seconds at the end that are no whole epoch.
    notes : list of str, optional
        What a reader has to know of the recording.
    """
    metadata = json.loads(table.schema.metadata[convert.METADATA_KEY])
    record = model.record
    has_signal = (table["flags"].to_numpy() & np.uint8(Flag.FLAT)) == 0
    x: Signals = {
        modality: scaled_signals(
            counts_of(table[modality])[has_signal], metadata["channels"][modality], record.scale
        )
        for modality in record.modalities
        if modality in metadata["channels"]
    }
    probability = np.full((len(table), len(Stage)), np.nan, np.float32)
    if has_signal.any():
        probability[has_signal] = model.probability(x, subject)
    stages = np.full(len(table), UNSCORED, np.int8)
    stages[has_signal] = probability[has_signal].argmax(axis=1)
    reference = None
    if "stage" in table.column_names:
        scored = np.asarray(table["stage"].to_numpy(), np.int8)
        reference = scored if (scored != UNSCORED).any() else None
    night = StagedNight(
        recording=recording,
        subject=subject,
        start=start,
        onset_s=float(metadata["onset_s"]),
        probability=probability,
        stages=stages,
        flat=~has_signal,
        can_say=model.stages,
        remainder_s=remainder_s,
        reference=reference,
        notes=(*(notes or []), *_known(model, recording, subject), *_amplitudes(metadata)),
        model={"name": record.name, "id": model.model_id},
        source_sha256=source_sha256,
        staging_id=staging_id(model, source_sha256),
    )
    return Staged(night=night, channel=_shown(table, metadata, record.modalities))


def staging_id(model: LoadedModel, source_sha256: str) -> str:
    """Return the id of all that the files of a recording depend on."""
    return content_id({"model": model.model_id, "recording": source_sha256})


def _converted(
    given: Input, settings: convert.Settings, content: Path, stage_content: bytes | None
) -> tuple[convert.Converted, str | None]:
    """Return the epochs of a recording, and why the stages that it holds cannot be used, if they cannot.

    Stages are no reason to leave a recording unstaged: they only judge.
    """
    source = replace(given.source, problem=None)
    try:
        if given.source.problem is not None:
            raise given.source.problem
        return convert.converted(source, settings, content, stage_content), None
    except RecordingError as error:
        if error.reason == "missing_channel":
            raise _missing_channel(error, settings) from error
        unlabelled = replace(source, stages=NoStages(), stage_path=None)
        try:
            return convert.converted(unlabelled, settings, content, None), error.message
        except RecordingError as worse:
            if worse.reason == "missing_channel":
                raise _missing_channel(worse, settings) from worse
            raise worse from None


def _missing_channel(error: RecordingError, settings: convert.Settings) -> RecordingError:
    """Say what the model wants, what there is, and which name is nearest."""
    before, _, there = error.message.partition("; it has ")
    labels = re.findall(r"'([^']*)'", there)
    wanted = [name for names in settings.channels.values() for channel in names for name in channel]
    near = next((m[0] for name in wanted if (m := get_close_matches(name, labels, 1, 0.5))), None)
    modality = next(iter(settings.channels))
    example = near or (labels[0] if labels else "NAME")
    nearest = f" The nearest name is {near!r}." if near else ""
    return RecordingError(
        error.reason,
        f"{before}. The model wants {wanted_text(settings)}; the recording has "
        f"{', '.join(map(repr, labels)) or 'no channel'}.{nearest} Name the channel to take, as in --channel "
        f'{modality}="{example}".',
    )


def _known(model: LoadedModel, recording: str, subject: str | None) -> list[str]:
    """Sentences about what the model has seen of this recording or its subject before."""
    training = model.record.training
    adapted = model.record.about.get("adapted_to", {}).get("subjects", ())
    own = [e for e in model.record.files if e.subject is not None and e.subject == subject]
    said = []
    if subject is not None and subject in training["subjects"]:
        said.append(
            f"The model was trained on subject {subject}: agreement with a scorer says little here."
        )
    elif recording in training.get("recordings", ()):
        said.append(
            f"The model was trained on a recording called {recording}: if it is this one, agreement with a scorer says "
            "little."
        )
    if subject is not None and subject in adapted:
        said.append(f"The model was adapted to the signals, not the stages, of subject {subject}.")
    if any(entry.subject is not None for entry in model.record.files):
        which = (
            f"those adapted to {subject}" if own else "all of them, as none was adapted to this one"
        )
        said.append(f"The model has weights for each subject; used here: {which}.")
    return said


def _amplitudes(metadata: Mapping[str, Any]) -> list[str]:
    said = []
    for modality, channels in metadata["channels"].items():
        for channel in channels:
            if not channel["plausible"]:
                factor = convert.implausible_by(channel["spread_uv"])
                said.append(
                    f"The amplitude of {channel['label']} ({modality}) is implausible, by a factor of about "
                    f"{factor:.2g}: its unit or gain in the file is wrong. Each recording is scaled by its own "
                    "spread, so stages do not suffer unless the gain changed within the recording."
                )
    return said


def _shown(table: pa.Table, metadata: Mapping[str, Any], modalities: Any) -> ShownChannel:
    """Return the first channel of the first modality, as it was filtered, from the start of the signal."""
    modality = next(m for m in modalities if m in metadata["channels"])
    about = metadata["channels"][modality][0]
    counts: NDArray[np.int16] = counts_of(table[modality])[:, 0]
    before = np.zeros(round(metadata["onset_s"] * SFREQ), np.float32)
    signal = counts.reshape(len(table) * EPOCH_N_TIMES) * np.float32(about["step_uv"])
    return ShownChannel(
        label=about["label"], sfreq=float(SFREQ), signal_uv=np.concatenate([before, signal])
    )
