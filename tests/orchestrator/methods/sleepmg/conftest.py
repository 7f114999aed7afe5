"""A store of small made-up nights with several modalities, and a sweep file over it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.config.sweep import load_sweep
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.psg.convert import METADATA_KEY
from orchestrator.psg.ingest import MANIFEST_SCHEMA
from orchestrator.store import paths
from orchestrator.store.store import Store

CHANNELS = {"eeg": 2, "eog": 1}
N_EPOCHS = 10

SWEEP = """\
name: probe
method: sleepmg
dataset: home
modalities: {modalities}
folds: {folds}
{more}
training: {{n_passes: 2, batch_size: {batch_size}, learning_rate: 0.001}}
rows:
  - name: NaiveMG
    modulation: {{mod_y: false, mod_d: false}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def add_subject(store: Store) -> Callable[..., None]:
    """Add a recording whose stages go round and whose signals say them."""

    def add(
        subject: str,
        *,
        stages: Any = None,
        channels: Mapping[str, int] = CHANNELS,
        optional: Sequence[str] = (),
    ) -> None:
        stages = np.arange(N_EPOCHS) % 5 if stages is None else np.array(stages)
        n = len(stages)
        rng = np.random.default_rng([ord(c) for c in subject])
        times = np.arange(3000) / 100
        columns: dict[str, Any] = {}
        metadata = {}
        for modality, n_channels in channels.items():
            tone = np.sin(2 * np.pi * (1 + 3 * stages)[:, None, None] * times)
            values = 100 * (tone + rng.standard_normal((n, n_channels, 3000)))
            columns[modality] = pa.ExtensionArray.from_storage(
                pa.fixed_shape_tensor(pa.int16(), [n_channels, 3000]),
                pa.FixedSizeListArray.from_arrays(
                    pa.array(values.astype(np.int16).reshape(-1)), n_channels * 3000
                ),
            )
            metadata[modality] = [
                {"label": f"{modality}{i}", "step_uv": 0.5, "center_uv": 0.0, "spread_uv": 50.0}
                for i in range(n_channels)
            ]
        about: dict[str, Any] = {"channels": metadata}
        if optional:
            about["preprocessing"] = {"channels": dict(CHANNELS), "optional": list(optional)}
        table = pa.table(
            {
                "epoch_index": pa.array(np.arange(n, dtype=np.int32)),
                "stage": pa.array(stages, pa.int8()),
                "flags": pa.array(np.where(stages < 0, 2, 0).astype(np.uint8)),
                **columns,
            }
        ).replace_schema_metadata({METADATA_KEY: json.dumps(about)})
        row: dict[str, Any] = {"subject": subject, "recording": f"{subject}-n1", "status": "ok"}
        row["labelled"] = bool((stages >= 0).any())
        row["epochs_sha256"] = store.write_table(
            paths.epochs("home", subject, row["recording"]), table
        )
        path = paths.manifest("home")
        rows = store.read_table(path).to_pylist() if store.exists(path) else []
        store.write_table(path, pa.Table.from_pylist([*rows, row], schema=MANIFEST_SCHEMA))

    return add


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., SleepMGSweep]:
    """Load a sweep file over data set ``home``; arguments replace parts of it."""

    def make(**changes: str) -> SleepMGSweep:
        parts = {
            "modalities": "[eeg, eog]",
            "folds": "{kind: leave_one_subject_out}",
            "more": "",
            "batch_size": "8",
        }
        path = tmp_path / "sweep.yaml"
        path.write_text(SWEEP.format(**parts | changes), encoding="utf-8")
        sweep = load_sweep(path)
        assert isinstance(sweep, SleepMGSweep)
        return sweep

    return make
