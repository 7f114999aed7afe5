"""Sweeps whose trials are trained by two workers each under Ray Train, on two CPUs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import yaml

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Tiny

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

TAKING_TURNS = {"workers": 2, "cpus_per_worker": 0.5}


def trials(folder: Path, name: str) -> list[dict[str, Any]]:
    rows = pq.read_table(folder / "runs" / "sweeps" / name / "trials.parquet").to_pylist()
    return [row for row in rows if row["kind"] == "trial"]


def test_sleepmg(root: Path, tmp_path: Path, make_cli: "Callable[[Path], Cli]") -> None:
    cli = make_cli(tmp_path)
    options = ("--montage", "isruc-s3", "--subjects", "6", "--hours", "0.25")
    cli("synth", "data", *options).ok()
    cli("ingest", root / "datasets" / "synthetic-isruc-s3.yaml", "--data", "data").ok()
    content = yaml.safe_load((root / "sweeps" / "sleepmg.yaml").read_text())
    content |= {**TAKING_TURNS, "rows": [], "stages": ["W", "N2", "N3"]}
    content["folds"]["n_folds"] = 2
    content["training"] |= {"n_passes": 2, "batch_size": 16}
    content["search"] |= {"n_trials": 2}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    crowded = cli("sweep", path, "--cpus", "2")
    crowded.fails(2, "2 trials at a time of 2 workers with 0.5 CPUs each", "need 3 CPUs", "has 2")
    content["search"] |= {"max_concurrent": 1}
    path.write_text(yaml.safe_dump(content))
    cli("sweep", path, "--cpus", "2").ok()
    assert [row["state"] for row in trials(tmp_path, "sleepmg")] == ["complete"] * 2
    assert not list((tmp_path / "runs" / "sweeps" / "sleepmg" / "train").rglob("*.json"))


def test_selective(cli: "Cli", tiny: "Tiny") -> None:
    cli("ingest", tiny.dataset, "--data", tiny.data).ok()
    content = yaml.safe_load(tiny.sweep.read_text())
    content |= {**TAKING_TURNS, "arms": ["no_adapt", "random"]}
    content["search"] |= {"n_trials": 2, "max_concurrent": 1}
    path = cli.cwd / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    cli("sweep", path, "--cpus", "2").ok()
    assert [row["state"] for row in trials(cli.cwd, "small")] == ["complete"] * 2
