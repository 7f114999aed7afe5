"""The demo refuses to show what a poor encoder gives."""

import json
from pathlib import Path

import pytest

from orchestrator import demo
from orchestrator.errors import DataError
from orchestrator.store import paths
from orchestrator.store.store import Store


@pytest.mark.parametrize(("macro_f1", "fine"), [(0.30, True), (0.20, False)])
def test_encoder_must_beat_the_majority_stage(tmp_path: Path, macro_f1: float, fine: bool) -> None:
    store = Store.open(str(tmp_path))
    reached = {
        "source_val_macro_f1": macro_f1,
        "majority_macro_f1": 0.1,
        "majority_stage": "N2",
    }
    store.write_bytes(paths.sweep_manifest("tau"), json.dumps({"pretrain": reached}).encode())
    if fine:
        demo._check_encoder(store, "tau")
    else:
        with pytest.raises(DataError, match=r"0\.200.*N2 gives 0\.100.*pretrain\.n_passes"):
            demo._check_encoder(store, "tau")
