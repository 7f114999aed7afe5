"""Stores whose stages are noise, and in what two sweeps differ that should be one and the same."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.psg.feed import stored_recordings
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store
from trainables.stages import STAGE_NAMES, UNSCORED


def with_noise(store: Store, folder: Path, dataset: str, subjects: tuple[str, ...]) -> Store:
    """Copy a store, with random stages for the scored epochs of some subjects; the signals are the same."""
    noisy = Store.open(str(shutil.copytree(store.uri, folder)))
    rng = np.random.default_rng(7)
    digests = {}
    for recording in stored_recordings(store, dataset):
        if recording.subject not in subjects:
            continue
        table = store.read_table(recording.path)
        stages = table["stage"].to_numpy()
        drawn = rng.integers(0, len(STAGE_NAMES), len(stages))
        drawn = np.where(stages == UNSCORED, UNSCORED, drawn)
        assert (drawn != stages).any()
        changed = _with_column(table, "stage", pa.array(drawn, pa.int8()))
        key = recording.subject, recording.recording
        digests[key] = noisy.write_table(recording.path, changed)
    manifest = noisy.read_table(paths.manifest(dataset))
    digest = [
        digests.get((row["subject"], row["recording"]), row["epochs_sha256"])
        for row in manifest.to_pylist()
    ]
    noisy.write_table(
        paths.manifest(dataset), _with_column(manifest, "epochs_sha256", pa.array(digest))
    )
    return noisy


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def differing(one: Store, other: Store, path: str) -> set[str]:
    """Return in what a file of two stores differs: columns of a table, or keys of JSON as in ``metrics.1.kappa``.

    All else in it is the same, to the last bit.
    """
    if path.endswith(".parquet"):
        tables = one.read_table(path), other.read_table(path)
        assert tables[0].schema.equals(tables[1].schema, check_metadata=True)
        return {n for n in tables[0].column_names if not tables[0][n].equals(tables[1][n])}
    of_one, of_other = (_flat(read_json(store, path)) for store in (one, other))
    assert of_one.keys() == of_other.keys()
    return {key for key in of_one if of_one[key] != of_other[key]}


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return nested JSON as one mapping."""
    if not isinstance(value, dict | list):
        return {at: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inside = [_flat(item, f"{at}.{key}".removeprefix(".")) for key, item in items]
    return {key: item for part in inside for key, item in part.items()}
