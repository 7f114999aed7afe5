"""Trials of a finished sweep of version 0.1, which kept no model, can be kept from the weights that it left."""

from hashlib import sha256

import pytest

from orchestrator.models.record import record_of
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.keep import keep_trials

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(("method", "n_files"), [("pretrain", 1), ("sleepmg", 2)])
def test_what_0_1_trained_is_kept(method: str, n_files: int, store_of_0_1: Store) -> None:
    name = f"{method}-finished"
    left = {
        sha256(store_of_0_1.read_bytes(path)).hexdigest()
        for folder in ("encoders", "folds")
        for path in store_of_0_1.files(folder)
    }
    list(keep_trials(store_of_0_1, name, ["t000"]))
    path = paths.model_json(name, "t000")
    record = record_of(store_of_0_1.read_bytes(path), path)
    assert len(record.files) == n_files
    assert {file.sha256 for file in record.files} <= left
    assert record.training["licence"] == "none (generated)"
    assert record.stages == ("W", "N2")
