"""From the epoch store to arrays: which epochs may be used, and their scaled signals. Never their stages."""

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.fields import MODALITIES
from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.psg.convert import METADATA_KEY
from orchestrator.psg.quality import UNUSABLE, Flag
from orchestrator.store import paths
from orchestrator.store.decoding import Kinds, json_metadata, read_json
from orchestrator.store.store import Store

_METADATA: Kinds = {"channels": dict}
"""What is read of the metadata of an epoch file."""

CLIP_SPREADS = 20.0
"""Spreads from the centre at which scaled signals are clipped: artefacts reach hundreds. Reconstruction."""

Scale = Literal["recording", "microvolts"]
"""In what signals are: spreads of their own recording, or microvolts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRecording:
    """A recording in the epoch store, as its manifest names it."""

    dataset: str
    subject: str
    recording: str
    epochs_sha256: str
    labelled: bool = True
    """Whether any of its epochs was scored."""

    @property
    def path(self) -> str:
        """Of the epoch file."""
        return paths.epochs(self.dataset, self.subject, self.recording)


def stored_recordings(store: Store, dataset: str) -> list[StoredRecording]:
    """Return the recordings of a data set that are in the store, sorted by subject and name.

    Raises
    ------
    ConfigError
        The data set was never ingested into this store.
    """
    if not store.exists(paths.manifest(dataset)):
        known = [name for name in store.folders(paths.EPOCHS) if store.exists(paths.manifest(name))]
        close = get_close_matches(dataset, known, n=1)
        raise ConfigError(
            f"data set {dataset!r} is not in the store {store.uri}"
            + (f"; did you mean {close[0]!r}?" if close else ".")
            + f" It has: {', '.join(known) or 'none'}. Run `orchestrator ingest` with its dataset file first."
        )
    columns = ["subject", "recording", "epochs_sha256", "status"]
    if "labelled" in store.read_schema(paths.manifest(dataset)).names:
        columns.append("labelled")  # unlike in a manifest of before; then, all were
    return [
        StoredRecording(
            dataset=dataset,
            subject=row["subject"],
            recording=row["recording"],
            epochs_sha256=row["epochs_sha256"],
            labelled=row.get("labelled") is not False,
        )
        for row in store.read_table(paths.manifest(dataset), columns).to_pylist()
        if row["status"] == "ok"
    ]


def terms_of(store: Store, dataset: str) -> dict[str, Any]:
    """Return title, address and licence of a data set, each None where its manifest does not say."""
    path = paths.manifest_json(dataset)
    about = read_json(store, path) if store.exists(path) else {}
    return {key: about.get(key) for key in ("title", "url", "licence")}


def usable_epochs(store: Store, recording: StoredRecording) -> NDArray[np.int32]:
    """Return ``epoch_index`` of the epochs that may be trained on: scored and not flat."""
    return _unflagged(store, recording, UNUSABLE)


def signal_epochs(store: Store, recording: StoredRecording) -> NDArray[np.int32]:
    """Return ``epoch_index`` of the epochs that are not flat, scored or not."""
    return _unflagged(store, recording, Flag.FLAT)


def _unflagged(store: Store, recording: StoredRecording, flags: Flag) -> NDArray[np.int32]:
    with _expected(store, recording):
        table = store.read_table(recording.path, ["epoch_index", "flags"])
    keep = (table["flags"].to_numpy() & np.uint8(flags)) == 0
    return np.asarray(table["epoch_index"].to_numpy()[keep], np.int32)


@contextlib.contextmanager
def _expected(store: Store, recording: StoredRecording) -> Iterator[None]:
    """Say which file is missing that the manifest names."""
    try:
        yield
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{store.uri_of(recording.path)} is missing, although the manifest of {recording.dataset!r} names it. "
            "Ingest again."
        ) from error


def check_modality(store: Store, recording: StoredRecording, modality: str) -> None:
    """Refuse a modality that a recording does not have, by reading its metadata alone.

    Raises
    ------
    ConfigError
        The data set has no such modality, or this recording is without it.
    """
    _require_modality(recording, _metadata(store, recording), modality)


def has_modality(store: Store, recording: StoredRecording, modality: str) -> bool:
    """Tell whether a recording has a modality, by reading its metadata alone."""
    return modality in channel_labels(store, recording)


def channel_labels(store: Store, recording: StoredRecording) -> dict[str, list[str]]:
    """Return the channels of each modality that a recording has, as its file named them, by reading metadata alone.

    Modalities and channels are in the order of the epoch store.
    """
    channels = _metadata(store, recording)["channels"]
    return {m: [c["label"] for c in channels[m]] for m in MODALITIES if m in channels}


def preprocessing_of(store: Store, recording: StoredRecording) -> dict[str, Any]:
    """Return how a recording was preprocessed: names of channels, filters, rate; empty where its file does not say."""
    found: dict[str, Any] = _metadata(store, recording).get("preprocessing", {})
    return found


def read_signals(
    store: Store,
    recording: StoredRecording,
    modality: str,
    epochs: Sequence[int] | NDArray[np.int32],
    scale: Scale = "recording",
) -> NDArray[np.float32]:
    """Return scaled signals of some epochs of one recording.

    Parameters
    ----------
    modality : str
        A tensor column of the epoch store: ``eeg``, ``eog``, ``emg`` or ``ecg``.
    epochs : (n,)
        Values of ``epoch_index``, ascending.
    scale : "recording" or "microvolts"
        In what: spreads from the recording's own median, which takes its gain away; or microvolts as they were
        filtered, with artefacts of any size.

    Returns
    -------
    (n, n_channels, 3000) float32
        100 Hz. In spreads it is clipped at ±`CLIP_SPREADS`, in microvolts it is not clipped.

    Raises
    ------
    ConfigError
        The data set has no such modality, or this recording is without it.
    IntegrityError
        The file is not the one that the manifest describes.
    """
    file = _checked_file(store, recording)
    uri = store.uri_of(recording.path)
    metadata = json_metadata(file.schema_arrow, METADATA_KEY, uri, _METADATA)
    _require_modality(recording, metadata, modality)
    counts = counts_of(file.read([modality])[modality])[np.asarray(epochs, np.intp)]
    channels = metadata["channels"][modality]
    return scaled_signals(counts, channels, scale)


def signal_table(store: Store, recording: StoredRecording, modalities: Sequence[str]) -> pa.Table:
    """Return epochs of one recording without their stages: ``epoch_index``, ``flags`` and signals.

    Parameters
    ----------
    modalities : sequence of str
        One that the recording is without has no column.

    Raises
    ------
    IntegrityError
        The file is not the one that the manifest describes.
    """
    file = _checked_file(store, recording)
    columns = ["epoch_index", "flags", *(m for m in MODALITIES if m in modalities)]
    return file.read([name for name in columns if name in file.schema_arrow.names])


def _checked_file(store: Store, recording: StoredRecording) -> pq.ParquetFile:
    """Read an epoch file as a whole, and compare it with the manifest."""
    with _expected(store, recording):
        data = store.read_bytes(recording.path)
    if hashlib.sha256(data).hexdigest() != recording.epochs_sha256:
        raise IntegrityError(
            f"{store.uri_of(recording.path)} is not the file that the manifest of {recording.dataset!r} describes: its "
            "SHA-256 differs. Remove it and ingest again."
        )
    return pq.ParquetFile(io.BytesIO(data))


def scaled_signals(
    counts: NDArray[np.int16],
    channels: Sequence[Mapping[str, Any]],
    scale: Scale,
    clip_spreads: float = CLIP_SPREADS,
) -> NDArray[np.float32]:
    """Return signals of one modality as a network gets them.

    Parameters
    ----------
    counts : (n, n_channels, 3000)
        As an epoch table has them.
    channels : sequence of mapping
        What its metadata say of each channel.
    scale : "recording" or "microvolts"
        See `read_signals`.
    clip_spreads : float
        Where signals in spreads are clipped, up and down.

    Returns
    -------
    (n, n_channels, 3000) float32
    """
    if scale == "microvolts":
        steps = np.array([c["step_uv"] for c in channels], np.float32)[:, None]
        return np.asarray(counts * steps, np.float32)
    step, center, spread = (
        np.array([c[key] for c in channels], np.float64)[:, None]
        for key in ("step_uv", "center_uv", "spread_uv")
    )
    scaled = counts * (step / spread).astype(np.float32) - (center / spread).astype(np.float32)
    return np.asarray(np.clip(scaled, -clip_spreads, clip_spreads), np.float32)


def counts_of(column: pa.ChunkedArray) -> NDArray[np.int16]:
    """Return a tensor column of an epoch table, (n_epochs, n_channels, 3000)."""
    # By way of the storage array: to_numpy of the tensor type would not be zero-copy over chunks.
    whole = column.combine_chunks()
    shape = (len(whole), *whole.type.shape)
    return np.asarray(whole.storage.flatten().to_numpy().reshape(shape), np.int16)


def _metadata(store: Store, recording: StoredRecording) -> dict[str, Any]:
    with _expected(store, recording):
        schema = store.read_schema(recording.path)
    return json_metadata(schema, METADATA_KEY, store.uri_of(recording.path), _METADATA)


def _require_modality(
    recording: StoredRecording, metadata: Mapping[str, Any], modality: str
) -> None:
    if modality in metadata["channels"]:
        return
    has = ", ".join(m for m in MODALITIES if m in metadata["channels"])
    if modality in metadata["preprocessing"]["channels"]:
        raise ConfigError(
            f"recording {recording.recording!r} of data set {recording.dataset!r} is without {modality!r}; it has "
            f"{has}. Exclude it in the sweep file, or choose another modality."
        )
    raise ConfigError(
        f"data set {recording.dataset!r} has no modality {modality!r}; it has {has}. Change `modality` of the sweep "
        "file."
    )
