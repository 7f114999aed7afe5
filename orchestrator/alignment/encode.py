"""Features of every epoch from a frozen encoder, one Ray Data task per recording."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.psg.feed import StoredRecording, read_signals, signal_epochs
from orchestrator.store import paths
from orchestrator.store.decoding import json_metadata
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from orchestrator.telemetry.tasks import outcome, result_of

_METADATA_KEY = b"features"

EncodeEpochs = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, n_channels, 3000) -> (n, feature_dim). Must be importable or picklable: it runs in Ray tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingFeatures:
    """Features of all epochs of one recording that are not flat."""

    epoch_index: NDArray[np.int32]
    """(n_epochs,), ascending."""
    features: NDArray[np.float32]
    """(n_epochs, feature_dim)."""

    def of(self, epochs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the rows of some epochs, (len(epochs), feature_dim)."""
        return self.features[np.searchsorted(self.epoch_index, epochs)]


def encode_recordings(
    store: Store,
    recordings: Sequence[StoredRecording],
    encode: EncodeEpochs,
    *,
    encoder_id: str,
    layer: str,
    modality: str,
    log: EventLog,
) -> None:
    """Write the features of the recordings that have none yet.

    Features count as present when they were made from the same epoch file, by its hash.
    """
    todo = [r for r in recordings if not _is_current(store, r, encoder_id, layer)]
    if not todo:
        return
    import ray
    import ray.data

    with ray_session(), progress(f"encode {layer}", len(todo)) as advance:
        encode_ref = ray.put(encode)

        def encode_one(recording: StoredRecording) -> dict[str, Any]:
            worker_store = Store.open(store.uri)
            epochs = signal_epochs(worker_store, recording)
            signals = read_signals(worker_store, recording, modality, epochs)
            table = _table(recording, epochs, ray.get(encode_ref)(signals))
            worker_store.write_table(_path(recording, encoder_id, layer), table)
            return {"recording": recording.recording, "n_epochs": len(epochs)}

        tasks = ray.data.range(len(todo), override_num_blocks=len(todo)).map(
            lambda item: {"outcome": outcome(lambda: encode_one(todo[item["id"]]))}
        )
        for task in tasks.iter_rows():
            done = result_of(task["outcome"])
            log.emit("recording_encoded", layer=layer, **done)
            advance(done["recording"])


def read_features(
    store: Store, recording: StoredRecording, encoder_id: str, layer: str
) -> RecordingFeatures:
    """Return what :func:`encode_recordings` wrote."""
    table = store.read_table(_path(recording, encoder_id, layer), ["epoch_index", "features"])
    column = table["features"].combine_chunks()
    return RecordingFeatures(
        epoch_index=table["epoch_index"].to_numpy(),
        features=column.storage.flatten().to_numpy().reshape(len(column), *column.type.shape),
    )


def _path(recording: StoredRecording, encoder_id: str, layer: str) -> str:
    return paths.features(
        encoder_id, layer, recording.dataset, recording.subject, recording.recording
    )


def _is_current(store: Store, recording: StoredRecording, encoder_id: str, layer: str) -> bool:
    path = _path(recording, encoder_id, layer)
    if not store.exists(path):
        return False
    metadata = json_metadata(store.read_schema(path), _METADATA_KEY, store.uri_of(path))
    return bool(metadata.get("epochs_sha256") == recording.epochs_sha256)


def _table(
    recording: StoredRecording, epochs: NDArray[np.int32], features: NDArray[np.float32]
) -> pa.Table:
    values = pa.array(np.ascontiguousarray(features).reshape(-1), pa.float32())
    dim = features.shape[1]
    tensor = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [dim]), pa.FixedSizeListArray.from_arrays(values, dim)
    )
    table = pa.table(
        {
            "subject": pa.array([recording.subject] * len(epochs)).dictionary_encode(),
            "recording": pa.array([recording.recording] * len(epochs)).dictionary_encode(),
            "epoch_index": pa.array(epochs, pa.int32()),
            "features": tensor,
        }
    )
    metadata = {"epochs_sha256": recording.epochs_sha256}
    return table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata)})
