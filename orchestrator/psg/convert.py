"""One recording -> one epoch table. Plain functions; ``ingest`` runs them in Ray tasks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.config.fields import MODALITIES
from orchestrator.errors import RecordingError
from orchestrator.psg import edf, hypnogram, preprocess, quality
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.epoch_grid import BeyondSignal
from orchestrator.psg.quality import Flag, clipped_epochs, flat_epochs
from orchestrator.psg.recordings import Source
from orchestrator.psg.stages.format import StageSource
from trainables.stages import STAGE_NAMES, UNSCORED

SCHEMA_VERSION = 1
"""Of epoch files; raised when their content changes meaning."""

METADATA_KEY = b"psg"
"""Key of our JSON in the Parquet file's metadata."""

_PLAUSIBLE_UV = (0.5, 500.0)
"""Spread of a voltage signal of the body after filtering; outside it the unit or the gain is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything besides the files that decides the content of an epoch table."""

    labels: Mapping[str, int]
    channels: Mapping[str, tuple[tuple[str, ...], ...]]
    filter_hz: Mapping[str, tuple[float, float]]
    labels_beyond_signal: BeyondSignal
    optional: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: DatasetFile) -> "Settings":
        """Take the settings from a dataset file."""
        return cls(
            labels=dataset.annotation_stages,
            channels={str(m): dataset.channels[m] for m in dataset.modalities},
            filter_hz={str(m): dataset.filter_hz[m] for m in dataset.modalities},
            labels_beyond_signal=dataset.labels_beyond_signal,
            optional=dataset.optional,
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, the constants of the preprocessing included."""
        values = json.loads(json.dumps(asdict(self)))
        if (
            not self.optional
        ):  # so that ids of data sets without it stay what they were before it was a key
            del values["optional"]
        return {
            **values,
            "schema_version": SCHEMA_VERSION,
            "sfreq": preprocess.SFREQ,
            "epoch_s": hypnogram.EPOCH_S,
            "lowest_sfreq": preprocess.LOWEST_SFREQ,
            "flat_steps": quality.FLAT_STEPS,
            "clipped_share": quality.CLIPPED_SHARE,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """The epochs of one recording, and what of it is not in them."""

    table: pa.Table
    """See :func:`epoch_table`."""
    remainder_s: float
    """Seconds at the end of the signal that are no whole epoch."""
    start: datetime | None
    """When the recording starts, in the time of its place; None where the file does not say."""
    stages: NDArray[np.int8]
    """(n_epochs,), of a scorer: W N1 N2 N3 REM = 0..4, -1 unscored."""


def epoch_table(
    source: Source, settings: Settings, content: bytes | Path, stage_content: bytes | None
) -> pa.Table:
    """Return the epochs of one recording.

    Columns: ``epoch_index`` int32, ``stage`` int8, ``flags`` uint8 and for each modality a fixed-shape tensor of
    int16, (n_channels, 3000) at 100 Hz. The metadata hold for each channel the microvolts per step and the
    robust centre and spread that :mod:`orchestrator.psg.feed` scales with.

    An optional modality has no column, and no part in the flags, where the recording has none of its channels or where
    each of them is flat throughout or sampled at a rate that cannot be used.

    Parameters
    ----------
    source : Source
    settings : Settings
    content : bytes or Path
        Content of the recording, or a local file of it, of which only one channel at a time is in memory.
    stage_content : bytes, optional
        Content of the stage file, where the recording has one.

    Raises
    ------
    RecordingError
        Whatever keeps the recording from being used; what is wrong with a channel is told after what is wrong with
        the stages, and of several channels for the first.
    """
    return converted(source, settings, content, stage_content).table


def converted(
    source: Source, settings: Settings, content: bytes | Path, stage_content: bytes | None
) -> Converted:
    """Return the epochs of one recording with what is known of its time; see :func:`epoch_table`."""
    if source.problem is not None:
        raise source.problem
    with edf.open_recording(content, source.path) as recording:
        return converted_recording(source, settings, recording, stage_content)


def converted_recording(
    source: Source,
    settings: Settings,
    recording: edf.OpenRecording,
    stage_content: bytes | None = None,
) -> Converted:
    """Do the same for a recording that is open already."""
    table, grid = _table(source, settings, recording, stage_content)
    end_s = grid.onset_s + hypnogram.EPOCH_S * len(grid.stages)
    return Converted(
        table=table,
        remainder_s=max(recording.duration_s - end_s, 0.0),
        start=recording.start,
        stages=grid.stages,
    )


def _table(
    source: Source, settings: Settings, recording: edf.OpenRecording, stage_content: bytes | None
) -> tuple[pa.Table, hypnogram.Hypnogram]:
    wanted = {
        modality: list(zip(recording.find(channels), (n[0] for n in channels), strict=True))
        for modality, channels in settings.channels.items()
        if modality not in settings.optional or recording.has_any(channels)
    }
    scored, why_unlabelled = _hypnogram(source, settings, recording, stage_content)
    n_epochs = len(scored.stages)
    flags = np.where(scored.stages == UNSCORED, Flag.UNSCORED, 0).astype(np.uint8)
    modalities: dict[str, _Modality] = {}
    for modality, channels in wanted.items():
        converted = _modality(
            recording,
            channels,
            settings.filter_hz[modality],
            scored,
            optional=modality in settings.optional,
        )
        if converted is None:
            continue
        flags |= converted.flags_E
        modalities[modality] = converted
    table = pa.table(
        {
            "epoch_index": pa.array(np.arange(n_epochs, dtype=np.int32)),
            "stage": pa.array(scored.stages, pa.int8()),
            "flags": pa.array(flags, pa.uint8()),
            **{name: _tensor_column(m.quantised_ECT) for name, m in modalities.items()},
        }
    )
    metadata = {
        "subject": source.subject,
        "recording": source.recording,
        "onset_s": scored.onset_s,
        "channels": {name: m.metadata for name, m in modalities.items()},
        "preprocessing": settings.as_json(),
        # Only where it is so: the hash of a labelled recording is what it was before there was this key.
        **({} if why_unlabelled is None else {"why_unlabelled": why_unlabelled}),
    }
    text = json.dumps(metadata, sort_keys=True)
    return table.replace_schema_metadata({METADATA_KEY: text}), scored


@dataclass(frozen=True, kw_only=True, slots=True)
class _Modality:
    """The channels of a modality as they are stored."""

    quantised_ECT: NDArray[np.int16]
    flags_E: NDArray[np.uint8]
    metadata: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Channel:
    """One channel as it is stored."""

    quantised_ET: NDArray[np.int16]
    flat_E: NDArray[np.bool_]
    clipped_E: NDArray[np.bool_]
    metadata: dict[str, Any]


def _modality(
    recording: edf.OpenRecording,
    channels: Sequence[tuple[int, str]],
    band_hz: tuple[float, float],
    scored: hypnogram.Hypnogram,
    *,
    optional: bool,
) -> _Modality | None:
    """Convert the channels of a modality, one at a time; None for an optional one of which no channel can be used."""
    n_epochs = len(scored.stages)
    quantised_ECT = np.empty((n_epochs, len(channels), preprocess.EPOCH_N_TIMES), np.int16)
    flags_E = np.zeros(n_epochs, np.uint8)
    metadata, problems = [], []
    for i, (index, preferred) in enumerate(channels):
        raw = recording.channel(index)  # not in the try: what cannot be read is there and broken
        try:
            channel = _channel(raw, preferred, band_hz, scored)
        except RecordingError as error:
            if not optional:
                raise
            problems.append(error.with_traceback(None))  # which would keep the signal
            continue
        quantised_ECT[:, i] = channel.quantised_ET
        flags_E[channel.flat_E] |= np.uint8(Flag.FLAT)
        flags_E[channel.clipped_E] |= np.uint8(Flag.CLIPPED)
        metadata.append(channel.metadata)
        del raw, channel  # before the next one is read
    if not metadata:
        return None
    if problems:
        raise problems[0]
    return _Modality(quantised_ECT=quantised_ECT, flags_E=flags_E, metadata=metadata)


def _channel(
    channel: edf.RawChannel,
    preferred: str,
    band_hz: tuple[float, float],
    scored: hypnogram.Hypnogram,
) -> _Channel:
    raw = preprocess.cut_epochs(
        channel.signal_uv, channel.sfreq, scored.onset_s, len(scored.stages)
    )
    flat = flat_epochs(raw, channel.step_uv)
    clipped = clipped_epochs(raw, channel.lower_uv, channel.upper_uv) & ~flat
    clean = preprocess.clean_epochs(raw, flat, channel.sfreq, band_hz, overwrite=True)
    scale = preprocess.robust_scale(clean, flat, channel.label)
    quantised, step_uv = preprocess.quantise(clean)
    return _Channel(
        quantised_ET=quantised,
        flat_E=flat,
        clipped_E=clipped,
        metadata={
            "label": channel.label,
            "wanted": preferred,
            "unit_in_file": channel.unit,
            "sfreq_in_file": channel.sfreq,
            "step_uv": step_uv,
            "center_uv": scale.center_uv,
            "spread_uv": scale.spread_uv,
            "n_flat": int(flat.sum()),
            "plausible": _PLAUSIBLE_UV[0] <= scale.spread_uv <= _PLAUSIBLE_UV[1],
        },
    )


def implausible_by(spread_uv: float) -> float:
    """Return how many times a spread lies beyond what a body gives; 1 or less for a plausible one.

    >>> implausible_by(2500.0), round(implausible_by(5e-5))
    (5.0, 10000)
    """
    low, high = _PLAUSIBLE_UV
    return max(low / spread_uv, spread_uv / high)


def summary(table: pa.Table) -> dict[str, Any]:
    """Return what the manifest says of an epoch table: counts, channels, quality."""
    flags = table["flags"].to_numpy()
    stages = table["stage"].to_numpy()
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    channels, wanted = metadata["channels"], metadata["preprocessing"]["channels"]
    every = [channel for name in table.column_names for channel in channels.get(name, ())]
    return {
        "n_epochs": len(stages),
        **{f"n_{name}": int((stages == i).sum()) for i, name in enumerate(STAGE_NAMES)},
        "n_unscored": int((stages == UNSCORED).sum()),
        "n_flat": int((flags & Flag.FLAT > 0).sum()),
        "n_flat_scored": int(((flags & Flag.FLAT > 0) & (stages != UNSCORED)).sum()),
        "n_clipped": int((flags & Flag.CLIPPED > 0).sum()),
        "n_usable": int(((flags & (Flag.FLAT | Flag.UNSCORED)) == 0).sum()),
        "channels": [c["label"] for c in every],
        "substituted": [c["label"] for c in every if c["label"].strip() != c["wanted"]],
        "implausible_amplitude": [c["label"] for c in every if not c["plausible"]],
        "missing_modalities": [m for m in MODALITIES if m in wanted and m not in channels],
        "labelled": bool((stages != UNSCORED).any()),
        "message": metadata.get("why_unlabelled"),
    }


def _hypnogram(
    source: Source, settings: Settings, recording: edf.OpenRecording, stage_content: bytes | None
) -> tuple[hypnogram.Hypnogram, str | None]:
    """Return the stages, and why there are none although they were looked for."""
    given = StageSource(
        content=stage_content,
        file=source.stage_path or "",
        annotations=recording.annotations,
        duration_s=recording.duration_s,
        labels=settings.labels,
        beyond_signal=settings.labels_beyond_signal,
    )
    try:
        return source.stages.read(given), source.why_unlabelled
    except RecordingError as error:
        # A stage file without stages is a broken one; a recording that was never scored is not.
        of_recording = stage_content is None and error.reason == hypnogram.NO_STAGES
        if not (of_recording and source.stages.optional):
            raise
        return hypnogram.unscored(recording.duration_s), error.message


def _tensor_column(signal_ECT: NDArray[np.int16]) -> pa.Array:
    """Return a fixed-shape tensor column.

    Built from storage: ``from_numpy_ndarray`` adds a permutation that breaks Ray Data's group-by.
    """
    n_channels, n_times = signal_ECT.shape[1:]
    values = pa.array(np.ascontiguousarray(signal_ECT).reshape(-1), pa.int16())
    storage = pa.FixedSizeListArray.from_arrays(values, n_channels * n_times)
    return pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int16(), [n_channels, n_times]), storage
    )
