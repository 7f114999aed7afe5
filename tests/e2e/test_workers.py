"""Sweeps whose trials are trained by two workers each under Ray Train, on two CPUs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

TAKING_TURNS = {"workers": 2, "cpus_per_worker": 0.5}


def trials(folder: Path, name: str) -> list[dict[str, Any]]:
    rows = pq.read_table(folder / "runs" / "sweeps" / name / "trials.parquet").to_pylist()
    return [row for row in rows if row["kind"] == "trial"]


@pytest.fixture(scope="module")
def epochs(root: Path, tmp_path_factory: Any, make_cli: "Callable[[Path], Cli]") -> Path:
    """The epochs of six made-up subjects, a quarter of an hour each."""
    folder: Path = tmp_path_factory.mktemp("workers")
    cli = make_cli(folder)
    options = ("--montage", "isruc-s3", "--subjects", "6", "--hours", "0.25")
    cli("synth", "data", *options).ok()
    cli("ingest", root / "datasets" / "synthetic-isruc-s3.yaml", "--data", "data").ok()
    return folder / "runs" / "epochs"


def sleepmg(root: Path, **training: Any) -> dict[str, Any]:
    """Return the published sweep, smaller, and with two workers a trial."""
    content: dict[str, Any] = yaml.safe_load(
        (root / "sweeps" / "sleepmg.yaml").read_text(encoding="utf-8")
    )
    content |= {**TAKING_TURNS, "rows": [], "stages": ["W", "N2", "N3"]}
    content["folds"]["n_folds"] = 2
    content["training"] |= {"n_passes": 2, "batch_size": 16, **training}
    content["search"] |= {"n_trials": 2}
    return content


def test_sleepmg(
    epochs: Path, root: Path, tmp_path: Path, make_cli: "Callable[[Path], Cli]"
) -> None:
    cli = make_cli(tmp_path)
    shutil.copytree(epochs, tmp_path / "runs" / "epochs")
    content = sleepmg(root)
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    crowded = cli("sweep", path, "--cpus", "2")
    crowded.fails(2, "2 trials at a time of 2 workers with 0.5 CPUs each", "need 3 CPUs", "has 2")
    content["search"] |= {"max_concurrent": 1}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    cli("sweep", path, "--cpus", "2").ok()
    assert [row["state"] for row in trials(tmp_path, "sleepmg")] == ["complete"] * 2
    assert not list((tmp_path / "runs" / "sweeps" / "sleepmg" / "train").rglob("*.json"))
    cli("replay", "sleepmg", "--trial", "t000", "--cpus", "2").ok()


def test_killed_workers_go_on_at_the_last_pass_to_nearly_the_same_weights(
    epochs: Path,
    root: Path,
    tmp_path: Path,
    make_cli: "Callable[[Path], Cli]",
    tools: "type[Tools]",
) -> None:
    content = sleepmg(root, n_passes=6, patience=6)
    content["search"] |= {"n_trials": 1, "max_concurrent": 1}
    weights: dict[str, dict[str, Any]] = {}
    for name in ("whole", "killed"):
        cli = make_cli(tmp_path / name)
        cli.cwd.mkdir()
        shutil.copytree(epochs, cli.cwd / "runs" / "epochs")
        (cli.cwd / "sweep.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        folds = cli.cwd / "runs" / "folds"
        if name == "killed":
            process = cli.start("sweep", "sweep.yaml", "--cpus", "2")
            tools.wait_for(
                lambda folds=folds: any(folds.glob("*/checkpoint.safetensors")),  # type: ignore[misc]
                timeout_s=120,
                what="a fold has a checkpoint",
            )
            tools.kill_tree(process)
            assert not list(folds.glob("*/fold.json")), "killed too late to show anything"
        cli("sweep", "sweep.yaml", "--cpus", "2").ok()
        weights[name] = {
            file.parent.name: load_file(file) for file in folds.glob("*/weights.safetensors")
        }
    assert len(weights["whole"]) == 2
    assert weights["whole"].keys() == weights["killed"].keys()
    for fold, expected in weights["whole"].items():
        for name, value in expected.items():
            torch.testing.assert_close(weights["killed"][fold][name], value, rtol=0, atol=1e-5)


def test_selective(cli: "Cli", tiny: "Tiny") -> None:
    cli("ingest", tiny.dataset, "--data", tiny.data).ok()
    content = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content |= {**TAKING_TURNS, "arms": ["no_adapt", "random"]}
    content["search"] |= {"n_trials": 2, "max_concurrent": 1}
    path = cli.cwd / "sweep.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    cli("sweep", path, "--cpus", "2").ok()
    assert [row["state"] for row in trials(cli.cwd, "small")] == ["complete"] * 2
    printed = cli("replay", "small", "--cpus", "2").ok().out
    assert printed.endswith(
        "proposals: same\nsweep small: 4 of 4 configurations gave the same again\n"
    )


def test_selective_for_each_target_subject(cli: "Cli", tiny: "Tiny") -> None:
    cli("ingest", tiny.dataset, "--data", tiny.data).ok()
    content = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content |= {**TAKING_TURNS, "adapt_to": "subject", "arms": ["no_adapt", "random"]}
    content["source"] |= {"exclude": ["s05", "s06"], "validation": ["s03", "s04"]}
    content["target"]["subjects"] = ["s05", "s06"]
    content["search"] |= {"n_trials": 2, "max_concurrent": 1}
    path = cli.cwd / "sweep.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    cli("sweep", path, "--cpus", "2").ok()
    found = trials(cli.cwd, "small")
    assert [row["state"] for row in found] == ["complete"] * 2
    assert {row["n_selectable"] for row in found} == {2 * 10}
    subjects = pq.read_table(cli.cwd / "runs/sweeps/small/trials_by_subject.parquet")["subject"]
    assert set(subjects.to_pylist()) == {"s05", "s06"}
    printed = cli("replay", "small", "--cpus", "2").ok().out
    assert printed.endswith(
        "proposals: same\nsweep small: 4 of 4 configurations gave the same again\n"
    )
