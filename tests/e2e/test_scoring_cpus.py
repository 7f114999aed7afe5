"""Features and scores of the real nights do not depend on the number of CPUs that computed them."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def flat_sweep(root: Path, tmp_path: Path) -> Path:
    """The example file with one pass of pretraining and flattened features."""
    text = (root / "sweeps" / "tau-ucddb.yaml").read_text(encoding="utf-8")
    for old, new in (("n_passes: 8", "n_passes: 1"), ("layer: afr_gap", "layer: afr_flat")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "flat.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def score_events(store: Path) -> list[dict[str, Any]]:
    (log,) = (store / "scores").glob("*/events.jsonl")
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@pytest.mark.usefixtures("test_data")
def test_one_and_two_cpus_give_the_same_bytes(
    cli: "Cli", nights_done: "Done", flat_sweep: Path, tmp_path: Path, tools: "type[Tools]"
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copytree(nights_done.store / "epochs", one / "epochs")
    cli("pretrain", flat_sweep, "--store", one).ok()
    shutil.copytree(one, two)
    for store, cpus in ((one, 1), (two, 2)):
        result = cli("score", flat_sweep, "--store", store, "--cpus", str(cpus)).ok()
        assert "110 source batches x 25 target batches" in result.out
    artefacts = tools.tree(one, "encoders", "features", "scores")
    assert artefacts == tools.tree(two, "encoders", "features", "scores")
    names = [Path(path).name for path in artefacts]
    assert sum(name.startswith("tile-") for name in names) == 14
    assert {"run.json", "batches.parquet", "encoder.json", "weights.safetensors"} <= set(names)
    assert sum(path.startswith("features/") for path in artefacts) == 13
    for store, n_workers in ((one, {1}), (two, {2, 3})):  # Ray may replace a worker
        for kind in ("recording_encoded", "tile_scored"):
            events = [event for event in score_events(store) if event["event"] == kind]
            assert len({event["worker_pid"] for event in events}) in n_workers
