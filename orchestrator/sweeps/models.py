"""Models that a sweep keeps: of the chosen trial and of its controls, as folders of their own."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.method import Done, Method, StoredWeights, Trained, table_name
from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.psg.feed import CLIP_SPREADS, preprocessing_of, terms_of
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store, sha256
from orchestrator.sweeps.manifest import PACKAGES
from orchestrator.sweeps.search.study import in_order
from orchestrator.telemetry.progress import note

_SHA256 = "weights_sha256"
"""Key of the JSON file that a training leaves beside weights which stay: ``fold.json``, ``encoder.json``."""


def keep_models(
    store: Store, method: Method[Any], done: Sequence[Done[Any]], final: pa.Table
) -> None:
    """Give those trials and controls a model that the sweep file says, and forget the weights of all others.

    A model that is there is not written again, so that an end which was killed is ended. What lacks weights, or could
    not be trained once more, is named, and gets none: a sweep does not fail for it.

    Parameters
    ----------
    store : Store
    method : Method
        Begun.
    done : sequence of Done
        All that have ended.
    final : table
        Their rows, by ``trial``.
    """
    sweep = method.sweep
    rows = {row["trial"]: row for row in final.to_pylist()}
    for one, row in _to_keep(method, done, rows):
        trial = row["trial"]
        trained = method.trained(one, row)
        if _is_there(store, sweep, trial, trained):
            continue
        if one.error is not None:
            note(_not_refitted(trial, one.error))
        elif lost := lost_weights(store, trained):
            note(_without_model(trial, lost))
        else:
            write_model(store, sweep, trial, trained)
    for path in store.files(paths.weights_folder(sweep.name)):
        store.delete_if_there(path)


def _is_there(store: Store, sweep: SweepBase, trial: str, trained: Trained) -> bool:
    """Tell whether a model is there; one of other trainings, as an earlier end had kept it, is removed."""
    if not store.exists(paths.model_json(sweep.name, trial)):
        return False
    folder = paths.model_folder(sweep.name, trial)
    wanted = {f"{folder}/{_file_name(w.seed, w.fold, w.subject)}" for w in trained.weights}
    there = [paths.model_json(sweep.name, trial)]  # first, as it says that the others are whole
    there += [path for path in store.files(folder) if path not in there]
    if set(there[1:]) == wanted:
        return True
    for path in there:
        store.delete_if_there(path)
    return False


def chosen(done: Iterable[Done[Any]]) -> list[str]:
    """Return the trial of the highest objective, the first of equals; with several objectives all on the front."""
    finished = [
        one
        for one in done
        if not one.is_control and one.signature is not None and one.objective is not None
    ]
    front = [one.name for one in finished if one.on_front]
    if front:
        return front
    best = min(
        finished, key=lambda one: (-(one.objective or 0.0), in_order(one.name)), default=None
    )
    return [] if best is None else [best.name]


def lost_weights(store: Store, trained: Trained) -> list[str]:
    """Return the paths of those weights that are missing, or are not those whose SHA-256 their training noted."""
    return [weights.path for weights in trained.weights if not _is_whole(store, weights)]


def write_model(
    store: Store, sweep: SweepBase, trial: str, trained: Trained, source: Store | None = None
) -> None:
    """Write the folder of a model; its ``model.json`` last, so that it is whole where that is there.

    Parameters
    ----------
    store : Store
    sweep : SweepBase
    trial : str
        What the final table calls the trial or control.
    trained : Trained
        Its weights are all there, see :func:`lost_weights`.
    source : Store, optional
        Where these are; `store` by default.
    """
    folder = paths.model_folder(sweep.name, trial)
    files = []
    for weights in trained.weights:
        name = _file_name(weights.seed, weights.fold, weights.subject)
        content = (source or store).read_bytes(weights.path)
        store.write_bytes(f"{folder}/{name}", content)
        files.append(
            WeightsFile(
                file=name,
                sha256=sha256(content),
                seed=weights.seed,
                fold=weights.fold,
                subject=weights.subject,
                modalities=None if weights.modalities is None else tuple(weights.modalities),
            )
        )
    record = _record(store, sweep, trial, trained, files)
    store.write_bytes(paths.model_json(sweep.name, trial), record.as_json())


def _record(
    store: Store, sweep: SweepBase, trial: str, trained: Trained, files: Sequence[WeightsFile]
) -> ModelRecord:
    return ModelRecord(
        name=f"{sweep.name}:{trial}",
        method=sweep.method,
        network=trained.network,
        modalities=tuple(trained.modalities),
        scale=trained.scale,
        clip_spreads=CLIP_SPREADS,
        preprocessing=preprocessing_of(store, trained.learned_from[0]),
        stages=tuple(stage.name for stage in trained.stages),
        training=_training(store, trained),
        metrics=tuple(_as_json(trained.metrics)),
        about=_as_json(trained.about),
        versions={package: version(package) for package in PACKAGES},
        files=tuple(files),
    )


def _to_keep(
    method: Method[Any], done: Sequence[Done[Any]], rows: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Done[Any], Mapping[str, Any]]]:
    """Return what to keep, each with its row of the final table; a control that is not in the table is not kept."""
    which = method.sweep.keep_models
    if which == "none":
        return []
    best = chosen(done)
    found = []
    for one in done:
        name = table_name(method, one.name, rows) if one.is_control else one.name
        if name is None or one.signature is None:
            continue
        if which == "all" or one.is_control or one.name in best:
            found.append((one, rows[name]))
    return found


def _is_whole(store: Store, weights: StoredWeights) -> bool:
    if weights.record is None:
        return store.exists(weights.path)
    if not store.exists(weights.record):
        return False
    content = store.read_if_there(weights.path)
    noted = read_json(store, weights.record, {_SHA256: str})[_SHA256]
    return content is not None and sha256(content) == noted


def _without_model(trial: str, lost: Sequence[str]) -> str:
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"{trial} has no model: its weights ({lost[0]}{more}) were not kept when it was trained, or are not those that "
        f"its training wrote. `orchestrator sweep FILE --keep {trial}` trains it again"
    )


def _not_refitted(trial: str, error: str) -> str:
    cause, *_ = error.splitlines()
    return (
        f"{trial} has no model: its training after the search failed ({cause}). `orchestrator sweep FILE --keep "
        f"{trial}` keeps the networks that it trained before"
    )


def _file_name(seed: int, fold: int | None, subject: str | None) -> str:
    parts = [f"seed-{seed}"]
    parts += [] if fold is None else [f"fold-{fold}"]
    parts += [] if subject is None else [f"subject-{subject}"]
    return f"{'_'.join(parts)}.safetensors"


def _training(store: Store, trained: Trained) -> dict[str, Any]:
    """Say who it learned from, and under which terms."""
    dataset = trained.learned_from[0].dataset
    return {
        "dataset": dataset,
        **terms_of(store, dataset),
        "subjects": sorted({recording.subject for recording in trained.learned_from}),
        "recordings": sorted({recording.recording for recording in trained.learned_from}),
    }


def _as_json(value: Any) -> Any:
    """Return plain data as it will be read again: lists where there are tuples."""
    return json.loads(json.dumps(value))
