"""Models that a sweep keeps: of the chosen trial and of its controls, as folders of their own."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from orchestrator.method import Done, Method, Trained
from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.psg.feed import CLIP_SPREADS, preprocessing_of
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store, sha256
from orchestrator.sweep.manifest import PACKAGES
from orchestrator.sweep.search.study import in_order
from orchestrator.telemetry.progress import note


def keep_models(
    store: Store, method: Method[Any], done: Sequence[Done[Any]], final: pa.Table
) -> None:
    """Give those trials and controls a model that the sweep file says, and forget the weights of all others.

    A model that is there is not written again, so that an end which was killed is ended.

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
    for one, row in _to_keep(sweep.keep_models, done, rows):
        trained = method.trained(one, row)
        if not store.exists(paths.model_json(sweep.name, row["trial"])):
            write_model(store, sweep.name, sweep.method, row["trial"], trained)
    for path in store.files(paths.weights_folder(sweep.name)):
        store.delete_if_there(path)


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


def write_model(store: Store, sweep: str, method: str, trial: str, trained: Trained) -> None:
    """Write the folder of a model; its ``model.json`` last, so that it is whole where that is there."""
    missing = [weights.path for weights in trained.weights if not store.exists(weights.path)]
    if missing:
        note(
            f"{trial} has no model: its weights were not kept when it was trained. `orchestrator sweep FILE --keep "
            f"{trial}` trains it again"
        )
        return
    files = []
    for weights in trained.weights:
        name = _file_name(weights.seed, weights.fold, weights.subject)
        content = store.read_bytes(weights.path)
        store.write_bytes(f"{paths.model_folder(sweep, trial)}/{name}", content)
        files.append(
            WeightsFile(
                file=name,
                sha256=sha256(content),
                seed=weights.seed,
                fold=weights.fold,
                subject=weights.subject,
            )
        )
    record = ModelRecord(
        name=f"{sweep}:{trial}",
        method=method,
        network=trained.network,
        modalities=tuple(trained.modalities),
        scale=trained.scale,
        clip_spreads=CLIP_SPREADS,
        preprocessing=preprocessing_of(store, trained.learned_from[0]),
        stages=tuple(stage.name for stage in trained.stages),
        training=_training(store, trained),
        metrics=tuple(trained.metrics),
        about=json.loads(json.dumps(trained.about)),
        versions={package: version(package) for package in PACKAGES},
        files=tuple(files),
    )
    store.write_bytes(paths.model_json(sweep, trial), record.as_json())


def _to_keep(
    which: str, done: Sequence[Done[Any]], rows: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Done[Any], Mapping[str, Any]]]:
    """Return what to keep, each with its row of the final table; a control that is not in the table is not kept."""
    if which == "none":
        return []
    best = chosen(done)
    found = []
    for one in done:
        name = next((n for n in (one.name, f"arm-{one.name}") if n in rows), None)
        if name is None or one.signature is None:
            continue
        if which == "all" or one.is_control or one.name in best:
            found.append((one, rows[name]))
    return found


def _file_name(seed: int, fold: int | None, subject: str | None) -> str:
    parts = [f"seed-{seed}"]
    parts += [] if fold is None else [f"fold-{fold}"]
    parts += [] if subject is None else [f"subject-{subject}"]
    return f"{'_'.join(parts)}.safetensors"


def _training(store: Store, trained: Trained) -> dict[str, Any]:
    """Say who it learned from, and under which terms."""
    dataset = trained.learned_from[0].dataset
    about = read_json(store, paths.manifest_json(dataset)) if _is_described(store, dataset) else {}
    return {
        "dataset": dataset,
        **{key: about.get(key) for key in ("title", "url", "licence")},
        "subjects": sorted({recording.subject for recording in trained.learned_from}),
        "recordings": sorted({recording.recording for recording in trained.learned_from}),
    }


def _is_described(store: Store, dataset: str) -> bool:
    return store.exists(paths.manifest_json(dataset))
