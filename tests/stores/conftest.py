"""A copy of a stored store that a test may write to."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.processes import this_machine
from tests.stores.pages import FOLDER

SWEEPS = sorted(folder.name for folder in FOLDER.glob("store/sweeps/*"))


@pytest.fixture
def store_of_0_1(tmp_path: Path) -> Store:
    """The store of version 0.1 as it lies on the machine that it was made on, whose processes are gone."""
    store = Store.open(str(shutil.copytree(FOLDER / "store", tmp_path / "store")))
    for name in SWEEPS:
        lock = store.read_if_there(paths.sweep_lock(name))
        if lock is not None:
            here = {**json.loads(lock), "machine": this_machine(), "pid": 2**22 + 1}
            store.write_bytes(paths.sweep_lock(name), json.dumps(here).encode())
    return store
