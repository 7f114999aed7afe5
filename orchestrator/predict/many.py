"""Stage the recordings of a data set that is in the store: one Ray Data task a recording; what is done is skipped."""

import io
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from orchestrator.errors import ConfigError, IntegrityError, RecordingError
from orchestrator.models.record import ModelRecord
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import one_thread
from orchestrator.predict.run import (
    Result,
    check_free,
    done_before,
    night_text,
    staged_before,
    write_night,
)
from orchestrator.predict.staging import stage_table, staging_id
from orchestrator.psg.feed import (
    StoredRecording,
    check_modality,
    preprocessing_of,
    stored_recordings,
)
from orchestrator.store.placement import check_outlives_job
from orchestrator.store.store import Store, sha256
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from orchestrator.telemetry.tasks import outcome, result_of


def stage_dataset(
    store: Store,
    model: LoadedModel,
    dataset: str,
    out: Store,
    *,
    overwrite: bool = False,
    n_cpus: int | None = None,
) -> list[Result]:
    """Stage the recordings of a data set, and write the files of each to `out`.

    A recording whose files are there, by the same model, is not staged again: a run that was killed goes on.

    Raises
    ------
    ConfigError
        The data set is unknown, lacks a modality of the model, or was preprocessed otherwise than its training data;
        or a file that would be written is there already, from another recording or model.
    """
    check_outlives_job(out)
    recordings = stored_recordings(store, dataset)
    if not recordings:
        raise ConfigError(
            f"data set {dataset!r} of {store.uri} has no recording that could be staged."
        )
    required = [
        m
        for m in model.record.modalities
        if m not in model.record.preprocessing.get("optional", ())
    ]
    for modality in required:
        check_modality(store, recordings[0], modality)
    _check_preprocessing(store, recordings[0], model.record)
    done = {
        r.recording
        for r in recordings
        if done_before(out, r.recording, staging_id(model, r.epochs_sha256))
    }
    todo = [recording for recording in recordings if recording.recording not in done]
    check_free(out, [recording.recording for recording in todo], overwrite=overwrite)
    results = [staged_before(name) for name in sorted(done)]
    if todo:
        with ray_session(n_cpus, store):
            results += _stage(todo, model, store, out)
    return sorted(results, key=lambda result: result.recording)


def _stage(
    todo: list[StoredRecording], model: LoadedModel, store: Store, out: Store
) -> list[Result]:
    import ray
    import ray.data

    shared = ray.put((model.record, dict(model.files)))

    def stage_one(recording: StoredRecording) -> dict[str, Any]:
        record, files = ray.get(shared)
        return _staged(
            Store.open(store.uri),
            Store.open(out.uri),
            LoadedModel(record=record, files=files),
            recording,
        )

    results = []
    with progress("predict", len(todo), time_left=True) as advance:
        tasks = ray.data.range(len(todo), override_num_blocks=len(todo)).map(
            lambda item: {"outcome": outcome(partial(stage_one, todo[item["id"]]))}
        )
        for task in tasks.iter_rows():
            found = result_of(task["outcome"])
            result = Result(
                recording=found["recording"],
                text=found["text"],
                is_staged=found["is_staged"],
                notes=tuple(found["notes"]),
            )
            results.append(result)
            advance(result.recording)
    return results


def _staged(
    store: Store, out: Store, model: LoadedModel, recording: StoredRecording
) -> dict[str, Any]:
    """Stage one recording in this process, and return JSON values of its result."""
    one_thread()
    content = store.read_bytes(recording.path)
    if sha256(content) != recording.epochs_sha256:
        raise IntegrityError(
            f"{store.uri_of(recording.path)} is not the file that the manifest of {recording.dataset!r} describes: its "
            "SHA-256 differs. Remove it and ingest again."
        )
    columns = ["epoch_index", "flags", *model.record.modalities]
    file = pq.ParquetFile(io.BytesIO(content))
    table = file.read([name for name in columns if name in file.schema_arrow.names])
    try:
        staged = stage_table(
            table,
            model,
            recording=recording.recording,
            subject=recording.subject,
            source_sha256=recording.epochs_sha256,
        )
    except RecordingError as error:
        found = {"text": error.message, "is_staged": False, "notes": []}
    else:
        write_night(out, staged)
        night = staged.night
        found = {
            "text": night_text(night),
            "is_staged": True,
            "notes": [*night.notes, *night.cautions],
        }
    return {"recording": recording.recording, **found}


def _check_preprocessing(store: Store, recording: StoredRecording, record: ModelRecord) -> None:
    """Refuse signals that were filtered otherwise than those that the model learned from."""
    theirs, own = preprocessing_of(store, recording), record.preprocessing
    if not theirs or not own:
        return
    for modality in record.modalities:
        if theirs["filter_hz"].get(modality) != own["filter_hz"].get(modality):
            raise ConfigError(
                f"data set {recording.dataset!r} holds {modality} filtered at {theirs['filter_hz'].get(modality)} "
                f"Hz, and the model learned from {own['filter_hz'].get(modality)} Hz. Stage the recordings' files "
                "instead, which are then filtered as the model needs them."
            )
