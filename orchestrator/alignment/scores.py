"""The score table: exact EMD of every source batch to every target batch, computed once by a Ray Data set of tiles."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch, batch_table
from orchestrator.alignment.emd import Metric, emd_matrix
from orchestrator.alignment.encode import RecordingFeatures, read_features
from orchestrator.errors import IntegrityError
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from orchestrator.telemetry.tasks import outcome, result_of

TILE_SOURCE, TILE_TARGET = 8, 64
"""Source and target batches of a tile: at 128 epochs and 2400 dimensions two seconds of work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRequest:
    """Everything that the values of a score table depend on."""

    encoder_id: str
    layer: str
    metric: Metric
    standardise: str
    """``source``: divide each feature by its spread over the epochs of the batches in `statistics`; ``none``."""
    batch_size: int
    source: tuple[StoredRecording, ...]
    target: tuple[StoredRecording, ...]
    source_batches: tuple[Batch, ...]
    target_batches: tuple[Batch, ...]
    statistics: tuple[int, ...]
    """Ids of the source batches that give location and spread: those that may be trained on."""

    @property
    def score_id(self) -> str:
        """Content id: the same inputs give the same table, so it can be looked up."""
        return content_id(
            {
                "encoder": self.encoder_id,
                "layer": self.layer,
                "metric": self.metric,
                "standardise": self.standardise,
                "batch_size": self.batch_size,
                "batching": "contiguous, drop_last",
                "source": [(r.dataset, r.subject, r.epochs_sha256) for r in self.source],
                "target": [(r.dataset, r.subject, r.epochs_sha256) for r in self.target],
                "statistics": self.statistics,
            }
        )


def score(store: Store, request: ScoreRequest, log: EventLog) -> NDArray[np.float64]:
    """Return the score table, (n_source_batches, n_target_batches), computing the tiles that are missing.

    The features must be in the store. Tiles that are there are kept, so a killed scoring goes on where it was.
    """
    score_id = request.score_id
    n_source, n_target = len(request.source_batches), len(request.target_batches)
    todo = _missing_tiles(store, request)
    if todo:
        n_kept = len(_tiles(n_source, n_target)) - len(todo)
        log.emit("scoring_started", n_tiles=len(todo), n_kept=n_kept)
        started = time.perf_counter()
        _score_tiles(store, request, todo, log)
        log.emit("scoring_finished", seconds=round(time.perf_counter() - started, 3))
    if not store.exists(paths.score_run(score_id)):
        table = batch_table(request.source_batches, request.target_batches)
        store.write_table(paths.score_batches(score_id), table)
        run = json.dumps(_run(store, request), indent=1, sort_keys=True)
        store.write_bytes(paths.score_run(score_id), run.encode())
    return read_scores(store, score_id, n_source, n_target)


def is_complete(store: Store, request: ScoreRequest) -> bool:
    """Whether the store holds the whole table, so that :func:`score` would only read it."""
    return store.exists(paths.score_run(request.score_id)) and not _missing_tiles(store, request)


def read_scores(store: Store, score_id: str, n_source: int, n_target: int) -> NDArray[np.float64]:
    """Return a complete score table from its tiles.

    Raises
    ------
    IntegrityError
        A tile does not hold what its name says.
    """
    emd_ST = np.full((n_source, n_target), np.nan)
    for tile in _tiles(n_source, n_target):
        table = store.read_table(paths.score_tile(score_id, tile.name))
        rows, columns = (table[f"{side}_batch_id"].to_numpy() for side in ("source", "target"))
        emd_ST[rows, columns] = table["emd"].to_numpy()
    if np.isnan(emd_ST).any():
        raise IntegrityError(
            f"the score table {store.uri_of(paths.score_folder(score_id))} lacks {int(np.isnan(emd_ST).sum())} of "
            f"{emd_ST.size} pairs, though all its tiles are there. Remove the folder and score again."
        )
    return emd_ST


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tile:
    source: range
    target: range

    @property
    def name(self) -> str:
        return f"tile-{self.source.start:07d}-{self.target.start:07d}"


def _tiles(n_source: int, n_target: int) -> list[_Tile]:
    return [
        _Tile(
            source=range(i, min(i + TILE_SOURCE, n_source)),
            target=range(j, min(j + TILE_TARGET, n_target)),
        )
        for i in range(0, n_source, TILE_SOURCE)
        for j in range(0, n_target, TILE_TARGET)
    ]


def _missing_tiles(store: Store, request: ScoreRequest) -> list[_Tile]:
    present = set(store.files(paths.score_folder(request.score_id)))
    return [
        tile
        for tile in _tiles(len(request.source_batches), len(request.target_batches))
        if paths.score_tile(request.score_id, tile.name) not in present
    ]


def _score_tiles(
    store: Store,
    request: ScoreRequest,
    tiles: Sequence[_Tile],
    log: EventLog,
) -> None:
    import ray
    import ray.data

    features = _Features(store, request)
    metric, score_id, uri = request.metric, request.score_id, store.uri
    with ray_session(), progress("score", len(tiles)) as advance:
        # One object per row and per column of tiles: a task fetches two, and reads them without a copy.
        source_refs = {
            start: ray.put(features.batches(request.source_batches[start : start + TILE_SOURCE]))
            for start in sorted({tile.source.start for tile in tiles})
        }
        target_refs = {
            start: ray.put(
                features.batches(request.target_batches[start : start + TILE_TARGET], target=True)
            )
            for start in sorted({tile.target.start for tile in tiles})
        }

        def score_tile(tile: _Tile) -> dict[str, Any]:
            sources, targets = ray.get(
                [source_refs[tile.source.start], target_refs[tile.target.start]]
            )
            started_at = datetime.now(UTC)
            started = time.perf_counter()
            values = emd_matrix(sources, targets, metric)
            seconds = time.perf_counter() - started
            table = _tile_table(tile, values, sources.shape[1], targets.shape[1])
            Store.open(uri).write_table(paths.score_tile(score_id, tile.name), table)
            return {
                "tile": tile.name,
                "n_pairs": values.size,
                "started": started_at.isoformat(timespec="milliseconds"),
                "seconds": round(seconds, 4),
            }

        def score_tiles(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            outcomes = [outcome(partial(score_tile, tiles[int(i)])) for i in batch["id"]]
            return {"outcome": np.array(outcomes)}

        tasks = ray.data.range(len(tiles), override_num_blocks=len(tiles)).map_batches(
            score_tiles, batch_size=1, num_cpus=1
        )
        for task in tasks.iter_rows():
            done = result_of(str(task["outcome"]))
            log.emit("tile_scored", **done)
            advance(done["tile"])


def _tile_table(tile: _Tile, values: NDArray[np.float64], n: int, m: int) -> pa.Table:
    n_source, n_target = values.shape
    return pa.table(
        {
            "source_batch_id": pa.array(np.repeat(np.array(tile.source, np.int32), n_target)),
            "target_batch_id": pa.array(np.tile(np.array(tile.target, np.int32), n_source)),
            "emd": pa.array(values.reshape(-1), pa.float64()),
            "n": pa.array(np.full(values.size, n, np.int16)),
            "m": pa.array(np.full(values.size, m, np.int16)),
        }
    )


class _Features:
    """Features of batches, read recording by recording and standardised with source statistics."""

    def __init__(self, store: Store, request: ScoreRequest) -> None:
        self._store = store
        self._request = request
        self._source = {(r.subject, r.recording): r for r in request.source}
        self._target = {(r.subject, r.recording): r for r in request.target}
        self._last: tuple[StoredRecording, RecordingFeatures] | None = None
        self._center: NDArray[np.float32] | float = 0.0
        self._spread: NDArray[np.float32] | float = 1.0
        if request.standardise == "source":
            self._center, self._spread = self._statistics()

    def batches(self, batches: Sequence[Batch], *, target: bool = False) -> NDArray[np.float32]:
        """Return (len(batches), batch_size, feature_dim), ready for the distance."""
        stacked = np.stack([self._raw(batch, target) for batch in batches])
        return np.asarray((stacked - self._center) / self._spread, np.float32)

    def _raw(self, batch: Batch, target: bool) -> NDArray[np.float32]:
        key = (batch.subject, batch.recording)
        recording = (self._target if target else self._source)[key]
        if self._last is None or self._last[0] != recording:
            request = self._request
            self._last = (
                recording,
                read_features(self._store, recording, request.encoder_id, request.layer),
            )
        return self._last[1].of(batch.epochs)

    def _statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and SD of each feature over the source epochs that may be trained on."""
        n, total, squares = 0, 0.0, 0.0
        for batch_id in self._request.statistics:
            raw = self._raw(self._request.source_batches[batch_id], target=False).astype(np.float64)
            n += len(raw)
            total = total + raw.sum(axis=0)
            squares = squares + (raw**2).sum(axis=0)
        mean = np.asarray(total / n)
        spread = np.sqrt(np.maximum(squares / n - mean**2, 0))
        spread[spread < 1e-6 * max(float(spread.max()), 1e-30)] = 1.0  # a dead feature stays dead
        return mean.astype(np.float32), spread.astype(np.float32)


def _run(store: Store, request: ScoreRequest) -> dict[str, Any]:
    first = request.source_batches[0]
    recording = next(
        r for r in request.source if (r.subject, r.recording) == (first.subject, first.recording)
    )
    features = read_features(store, recording, request.encoder_id, request.layer)
    encoder_json = paths.encoder_json(request.encoder_id)
    return {
        "run_id": request.score_id,
        "encoder_id": request.encoder_id,
        "model_sha256": read_json(store, encoder_json, {"weights_sha256": str})["weights_sha256"],
        "feature_layer": request.layer,
        "feature_dim": features.features.shape[1],
        "standardise": request.standardise,
        "metric": request.metric,
        "source_dataset": request.source[0].dataset,
        "target_dataset": request.target[0].dataset,
        "source_epochs_sha256": content_id({"r": [r.epochs_sha256 for r in request.source]}, 64),
        "target_epochs_sha256": content_id({"r": [r.epochs_sha256 for r in request.target]}, 64),
        "batch_size": request.batch_size,
        "batching": "contiguous within a recording, gaps closed, remainder dropped",
        "n_source_batches": len(request.source_batches),
        "n_target_batches": len(request.target_batches),
        "solver": "pot.emd on a float64 BLAS cost matrix, value re-summed from the plan",
        "solver_version": version("pot"),
    }
