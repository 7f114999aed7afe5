"""A store that is used as S3 is, without a server; one with small made-up nights, written as ingest writes them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from orchestrator.config.sweep import load_sweep
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.psg.convert import METADATA_KEY
from orchestrator.psg.ingest import MANIFEST_SCHEMA
from orchestrator.psg.quality import Flag
from orchestrator.store import paths
from orchestrator.store.store import Store
from trainables.stages import UNSCORED

AddNight = Callable[..., None]
MakeSweep = Callable[..., SelectiveSweep]

STEP_UV, CENTER_UV, SPREAD_UV = 0.5, 1.0, 20.0

SWEEP = """\
name: probe
method: selective
source:
  dataset: {source}
  exclude: {exclude}
  validation: {validation}
target:
  dataset: {target}
{target_subjects}
{more_target}
batch_size: 8
search:
  n_trials: 3
  n_steps: 2
{more_search}
"""


class RemoteStore(Store):
    """A folder that is used as S3 is: through whole objects only."""

    @property
    def is_local(self) -> bool:
        return False


@pytest.fixture
def remote(tmp_path: Path) -> Store:
    """A store in which a sweep ``probe`` may write."""
    root = tmp_path / "bucket"
    (root / "sweeps/probe").mkdir(parents=True)
    return RemoteStore(str(root), pafs.LocalFileSystem(), str(root))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def add_night(store: Store) -> AddNight:
    """Add a recording: stages with -1 for unscored, and the positions of flat epochs."""

    def add(
        dataset: str,
        subject: str,
        stages: Sequence[int],
        flat: Sequence[int] = (),
        recording: str | None = None,
        status: str = "ok",
    ) -> None:
        recording = recording or f"{subject}-n1"
        n = len(stages)
        flags = np.where(np.array(stages) == UNSCORED, Flag.UNSCORED, 0).astype(np.uint8)
        flags[list(flat)] |= np.uint8(Flag.FLAT)
        seed = np.random.default_rng([ord(c) for c in dataset + recording])
        values = pa.array(seed.integers(-300, 300, n * 3000, dtype=np.int16))
        tensor = pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int16(), [1, 3000]),
            pa.FixedSizeListArray.from_arrays(values, 3000),
        )
        channel = {"step_uv": STEP_UV, "center_uv": CENTER_UV, "spread_uv": SPREAD_UV}
        table = pa.table(
            {
                "epoch_index": pa.array(np.arange(n, dtype=np.int32)),
                "stage": pa.array(stages, pa.int8()),
                "flags": pa.array(flags),
                "eeg": tensor,
            }
        ).replace_schema_metadata({METADATA_KEY: json.dumps({"channels": {"eeg": [channel]}})})
        row: dict[str, Any] = {"subject": subject, "recording": recording, "status": status}
        row["labelled"] = any(stage != UNSCORED for stage in stages)
        row["epochs_sha256"] = store.write_table(paths.epochs(dataset, subject, recording), table)
        path = paths.manifest(dataset)
        rows = store.read_table(path).to_pylist() if store.exists(path) else []
        store.write_table(path, pa.Table.from_pylist([*rows, row], schema=MANIFEST_SCHEMA))

    return add


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Load a sweep file over data sets ``home`` and ``clinic``; arguments replace parts of it."""

    def make(**changes: str) -> SelectiveSweep:
        parts: dict[str, str] = {
            "source": "home",
            "exclude": "[]",
            "validation": "[v1, v2]",
            "target": "clinic",
            "target_subjects": "['*']",
            "more_target": "",
            "more_search": "",
            **changes,
        }
        if subjects := parts["target_subjects"]:
            parts["target_subjects"] = f"  subjects: {subjects}"
        path = tmp_path / "sweep.yaml"
        path.write_text(SWEEP.format(**parts), encoding="utf-8")
        sweep = load_sweep(path)
        assert isinstance(sweep, SelectiveSweep)
        return sweep

    return make


@pytest.fixture
def two_sites(add_night: AddNight) -> None:
    """Source ``home`` with subjects s1, s2, v1, v2, and target ``clinic`` with t1."""
    add_night("home", "s1", [0, 1, 2, 3, 4, -1, -1, 2] * 5, flat=[0, 5])  # 29 usable, 38 not flat
    add_night("home", "s2", [2] * 41)
    add_night("home", "v1", [2] * 8)
    add_night("home", "v2", [0, 3] * 8)
    add_night("clinic", "t1", [-1, -1, -1, 2] * 5, flat=[1])
