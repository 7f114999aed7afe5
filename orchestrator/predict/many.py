"""Stage the recordings of a data set that is in the store: one Ray Data task a recording; what is done is skipped."""

from functools import partial
from typing import Any

from orchestrator.errors import ConfigError, RecordingError
from orchestrator.models.record import ModelRecord
from orchestrator.predict.inputs import check_names, optional_of
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.networks import one_thread
from orchestrator.predict.run import STAGED_BEFORE, Outputs, Result, night_text, write_night
from orchestrator.predict.staging import Staged, stage_table, staging_id
from orchestrator.psg.feed import (
    StoredRecording,
    check_modality,
    preprocessing_of,
    signal_table,
    stored_recordings,
)
from orchestrator.store.placement import check_outlives_job
from orchestrator.store.store import Store
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

    A recording whose files are there, by the same model, is not staged again unless `overwrite`: a run that was killed
    goes on. The store holds neither the start of a recording nor the rest at its end, and its stages are not read.

    Raises
    ------
    ConfigError
        The data set is unknown, lacks a modality of the model, or was preprocessed otherwise than its training data;
        or a file that would be written is there already, from another recording or model; or `out` is a folder that
        the job or a node of the cluster has for itself.
    """
    check_outlives_job(out, "--out")
    recordings = stored_recordings(store, dataset)
    if not recordings:
        raise ConfigError(
            f"data set {dataset!r} of {store.uri} has no recording that could be staged."
        )
    check_names((recording.recording, recording.path) for recording in recordings)
    _check_preprocessing(store, recordings[0], model.record)
    outputs, done = Outputs.of(out), set()
    if not overwrite:
        ids = {one.recording: partial(_id_of, one, model) for one in recordings}
        done = outputs.done(ids)
        outputs.check_free(ids, done)
    todo = [recording for recording in recordings if recording.recording not in done]
    results = [Result(recording=name, text=STAGED_BEFORE, is_staged=True) for name in done]
    if todo:
        with ray_session(n_cpus, store, out):
            results += _stage(todo, model, store, out)
    return sorted(results, key=lambda result: result.recording)


def _id_of(recording: StoredRecording, model: LoadedModel) -> str:
    return staging_id(
        model,
        {
            "epochs_sha256": recording.epochs_sha256,
            "subject": [recording.dataset, recording.subject],
        },
    )


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
    try:
        staged = stage_stored(store, recording, model)
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


def stage_stored(store: Store, recording: StoredRecording, model: LoadedModel) -> Staged:
    """Stage one recording of the store in this process; its stages are not read.

    Raises
    ------
    RecordingError
        It lacks a modality that the model cannot do without.
    IntegrityError
        Its file is not the one that the manifest describes.
    """
    one_thread()
    return stage_table(
        signal_table(store, recording, model.record.modalities),
        model,
        recording=recording.recording,
        subject=recording.subject,
        dataset=recording.dataset,
        source_sha256=recording.epochs_sha256,
        staging_id=_id_of(recording, model),
    )


def _check_preprocessing(store: Store, recording: StoredRecording, record: ModelRecord) -> None:
    """Refuse a data set without the modalities of the model, or with signals of another kind.

    A recording that lacks what its data set has is told by itself.
    """
    theirs, own = preprocessing_of(store, recording), record.preprocessing
    for modality in record.modalities:
        if modality not in theirs.get("channels", {}) and modality not in optional_of(record):
            check_modality(store, recording, modality)
    if not theirs or not own:
        return
    for modality in (m for m in record.modalities if m in theirs["channels"]):
        there, wanted = len(theirs["channels"][modality]), len(own["channels"][modality])
        if there != wanted:
            raise ConfigError(
                f"data set {recording.dataset!r} holds {there} channels of {modality}, and the model needs {wanted}. "
                "Stage the recordings' files instead, and name the channels with --channel."
            )
        if theirs["filter_hz"].get(modality) != own["filter_hz"].get(modality):
            raise ConfigError(
                f"data set {recording.dataset!r} holds {modality} filtered at {theirs['filter_hz'].get(modality)} "
                f"Hz, and the model learned from {own['filter_hz'].get(modality)} Hz. Stage the recordings' files "
                "instead, which are then filtered as the model needs them."
            )
