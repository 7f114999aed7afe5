"""Claim: two CPUs compute the tiles of a score table of flattened (2400-d) features 1.6 times as fast as one.

Two tables: that of the thirteen nights of ``datasets/ucddb.yaml`` (110 x 25 batches of 32 epochs; with ``--data``, the
folder of the recordings), and a made-up one of 64 x 64 batches of 128 epochs, which takes long enough for the start
of a task not to matter. Rounds alternate between one and two CPUs, each in a process and a Ray session of its own,
with workers that have scored the table once before, as they have encoded its features in a real run. Printed are the
medians and their ratio of

- the tiles: from the start of the first in any worker to the end of the last;
- the whole call: features read and standardised, tasks started, tiles written, table read again.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.telemetry.session import prepare_ray_environment

prepare_ray_environment()

import pyarrow as pa  # noqa: E402

from orchestrator.alignment.batches import cut_batches  # noqa: E402
from orchestrator.alignment.scores import ScoreRequest, score  # noqa: E402
from orchestrator.config.sweep import load_sweep  # noqa: E402
from orchestrator.methods.selective.config.sweep import SelectiveSweep  # noqa: E402
from orchestrator.methods.selective.plan import plan_sweep  # noqa: E402
from orchestrator.methods.selective.run.scoring import run_scoring  # noqa: E402
from orchestrator.psg.dataset import load_dataset  # noqa: E402
from orchestrator.psg.feed import StoredRecording  # noqa: E402
from orchestrator.psg.ingest import ingest  # noqa: E402
from orchestrator.store import paths  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.telemetry.events import EventLog, read_events  # noqa: E402
from orchestrator.telemetry.session import ray_session  # noqa: E402

ROOT = Path(__file__).parents[1]
CPUS = (1, 2)
DIM = 2400
MADE_UP_BATCHES, MADE_UP_BATCH_SIZE = 64, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="folder of the UCDDB recordings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        table, store, n_cpus = options.measure
        print(json.dumps(measure(table, Store.open(store), int(n_cpus))))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder, writable=True)
        if options.data:
            prepare_ucddb(store, options.data)
            report("UCDDB, 110 x 25 batches of 32 epochs", "ucddb", store, options.rounds)
        else:
            print("no --data: only the made-up table is measured")
        prepare_made_up(store)
        size = f"{MADE_UP_BATCHES} x {MADE_UP_BATCHES} batches of {MADE_UP_BATCH_SIZE} epochs"
        report(f"made-up features, {size}", "made-up", store, options.rounds)


def report(title: str, table: str, store: Store, n_rounds: int) -> None:
    print(f"{title}, {DIM}-d; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    taken: dict[int, list[dict[str, float]]] = {n_cpus: [] for n_cpus in CPUS}
    for _ in range(n_rounds):
        for n_cpus in CPUS:
            command = [sys.executable, __file__, "--measure", table, store.uri, str(n_cpus)]
            done = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
            taken[n_cpus].append(json.loads(done.stdout.splitlines()[-1]))
    for key, name in (("tiles_s", "tiles"), ("call_s", "whole call")):
        values = {n_cpus: [x[key] for x in taken[n_cpus]] for n_cpus in CPUS}
        for n_cpus in CPUS:
            rounds = " ".join(f"{value:.2f}" for value in values[n_cpus])
            print(
                f"  {name}, {n_cpus} CPU: median {statistics.median(values[n_cpus]):.2f} s ({rounds})"
            )
        one, two = (statistics.median(values[n_cpus]) for n_cpus in CPUS)
        print(f"  {name}: {one / two:.2f} times as fast on 2 CPUs")


def measure(table: str, store: Store, n_cpus: int) -> dict[str, float]:
    """Score a table twice in one session and return the seconds of the second time."""
    request = ucddb_request(store) if table == "ucddb" else made_up_request()
    log_path = f"{table}-{n_cpus}.jsonl"
    with ray_session(n_cpus):
        for _ in range(2):
            shutil.rmtree(Path(store.uri_of(paths.score_folder(request.score_id))), True)
            Path(store.uri_of(log_path)).unlink(missing_ok=True)
            with EventLog(store, log_path) as log:
                started = perf_counter()
                score(store, request, log)
                call_s = perf_counter() - started
    tiles = [event for event in read_events(store, log_path) if event["event"] == "tile_scored"]
    starts = [datetime.fromisoformat(tile["started"]).timestamp() for tile in tiles]
    ends = [start + tile["seconds"] for start, tile in zip(starts, tiles, strict=True)]
    assert len({tile["worker_pid"] for tile in tiles}) == n_cpus
    return {"tiles_s": max(ends) - min(starts), "call_s": call_s}


def prepare_ucddb(store: Store, data: str) -> None:
    """Ingest, pretrain for one pass and encode; the speed does not depend on how good the encoder is."""
    with ray_session():
        ingest(load_dataset(ROOT / "datasets" / "ucddb.yaml"), data, store)
        text = (ROOT / "sweeps" / "tau-ucddb.yaml").read_text(encoding="utf-8")
        text = text.replace("n_passes: 8", "n_passes: 1").replace("afr_gap", "afr_flat")
        store.write_bytes("flat.yaml", text.encode())
        run_scoring(store, ucddb_sweep(store))


def ucddb_sweep(store: Store) -> SelectiveSweep:
    sweep = load_sweep(store.uri_of("flat.yaml"))
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def ucddb_request(store: Store) -> ScoreRequest:
    plan = plan_sweep(ucddb_sweep(store), store)
    return plan.score_request(plan.encoder_request().encoder_id)


def made_up_recording(role: str) -> StoredRecording:
    return StoredRecording(dataset="made-up", subject=role, recording=role, epochs_sha256=role)


def made_up_request() -> ScoreRequest:
    epochs = np.arange(MADE_UP_BATCHES * MADE_UP_BATCH_SIZE, dtype=np.int32)
    source, target = (made_up_recording(role) for role in ("source", "target"))
    batches: list[Any] = [
        tuple(cut_batches([(r.subject, r.recording, epochs)], MADE_UP_BATCH_SIZE))
        for r in (source, target)
    ]
    return ScoreRequest(
        encoder_id="made-up",
        layer="afr_flat",
        metric="euclidean",
        standardise="source",
        batch_size=MADE_UP_BATCH_SIZE,
        source=(source,),
        target=(target,),
        source_batches=batches[0],
        target_batches=batches[1],
        statistics=tuple(range(MADE_UP_BATCHES)),
    )


def prepare_made_up(store: Store) -> None:
    """Write features with few directions of much variance, as those of trained networks are."""
    rng = np.random.default_rng(0)
    store.write_bytes(paths.encoder_json("made-up"), json.dumps({"weights_sha256": ""}).encode())
    directions = rng.normal(size=(45, DIM)) / np.sqrt(np.arange(1, 46))[:, None]
    n = MADE_UP_BATCHES * MADE_UP_BATCH_SIZE
    for role, shift in (("source", 0.0), ("target", 0.5)):
        features = rng.normal(shift, 1, (n, 45)) @ directions + rng.normal(0, 0.3, (n, DIM))
        write_features(store, made_up_recording(role), features)


def write_features(store: Store, recording: StoredRecording, features: NDArray[np.float64]) -> None:
    values = np.asarray(features, np.float32)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    table = pa.table({"epoch_index": np.arange(len(values), dtype=np.int32), "features": tensor})
    path = paths.features(
        "made-up", "afr_flat", recording.dataset, recording.subject, recording.recording
    )
    store.write_table(path, table)


if __name__ == "__main__":
    main()
