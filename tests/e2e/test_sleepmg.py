"""SleepMG from the shell: made-up recordings to a review, and a kill in the middle of a fold."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import yaml

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Tools

pytestmark = pytest.mark.e2e

N_SUBJECTS = 6
TRAINING = {"n_passes": 2, "batch_size": 16, "patience": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def ingested(make_cli: "Callable[[Path], Cli]", root: Path, tmp_path_factory: Any) -> Path:
    """A folder with a store of six made-up subjects, fifteen minutes each, in the montage of ISRUC-S3."""
    folder: Path = tmp_path_factory.mktemp("sleepmg")
    cli = make_cli(folder)
    options = ("--montage", "isruc-s3", "--subjects", str(N_SUBJECTS), "--hours", "0.25")
    cli("synth", "data", *options).ok()
    cli("ingest", root / "datasets" / "synthetic-isruc-s3.yaml", "--data", "data").ok()
    return folder


def sweep_file(root: Path, folder: Path, example: str, **changes: Any) -> Path:
    """Write a published sweep file with fewer passes and stages that every subject has."""
    content = yaml.safe_load((root / "sweeps" / f"{example}.yaml").read_text())
    content |= {"training": TRAINING, "stages": ["W", "N2", "N3"], "folds": FOLDS} | changes
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


FOLDS = {"kind": "k_fold", "n_folds": 2, "n_validation": 1}


def table(folder: Path, name: str, which: str = "trials") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        folder / "runs" / "sweeps" / name / f"{which}.parquet"
    ).to_pylist()
    return rows


def test_two_rows_of_an_ablation_end_in_figures(
    ingested: Path, root: Path, make_cli: "Callable[[Path], Cli]"
) -> None:
    cli = make_cli(ingested)
    rows = yaml.safe_load((root / "sweeps" / "sleepmg-baselines.yaml").read_text())["rows"]
    kept = [row for row in rows if row["name"] in {"FeatureNet+M", "NaiveMG"}]
    assert len(kept) == 2
    path = sweep_file(root, ingested, "sleepmg-baselines", rows=kept, seeds=[1], exclude=["*-01"])
    # Of five subjects in two folds, the first tests three and another validates: one is left to learn from.
    cli("sweep", path).fails(2, "so 1 are left to train on; 2 are needed for a discriminator")
    path = sweep_file(root, ingested, "sleepmg-baselines", rows=kept, seeds=[1])
    printed = cli("sweep", path).ok().out
    assert "row-featurenet-m-seed1" in printed
    trials = table(ingested, "sleepmg-baselines")
    assert [row["state"] for row in trials] == ["complete"] * 2
    naive, plain = (
        next(row for row in trials if row["row"] == name) for name in ("NaiveMG", "FeatureNet+M")
    )
    assert naive["domain_chance"] is not None
    assert plain["domain_chance"] is None
    confusion = table(ingested, "sleepmg-baselines", "confusion")
    n_epochs = (
        sum(row["n_epochs"] for row in table(ingested, "sleepmg-baselines", "recordings")) / 2
    )
    for row in trials:
        assert sum(c["n"] for c in confusion if c["trial"] == row["trial"]) == n_epochs
    page = Path(cli("review", "sleepmg-baselines").ok().out.strip())
    assert "FeatureNet+M" in page.read_text()
    assert (page.parent / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert (page.parent / "confusion.csv").exists()


def test_a_search_ends_in_a_page(
    ingested: Path, root: Path, make_cli: "Callable[[Path], Cli]"
) -> None:
    cli = make_cli(ingested)
    search = yaml.safe_load((root / "sweeps" / "sleepmg.yaml").read_text())["search"]
    path = sweep_file(root, ingested, "sleepmg", search={**search, "n_trials": 2})
    cli("sweep", path).ok()
    trials = [row for row in table(ingested, "sleepmg") if row["kind"] == "trial"]
    assert [row["trial"] for row in trials] == ["t000", "t001"]
    assert len({(row["alpha_y"], row["alpha_d"], row["grl_weight"]) for row in trials}) == 2
    events = (ingested / "runs" / "sweeps" / "sleepmg" / "events.jsonl").read_text().splitlines()
    ledger = [e for e in map(json.loads, events) if e["event"] in {"labels_read", "trial_done"}]
    splits = [e.get("split", e["event"]) for e in ledger]
    assert splits == ["fold_train", "fold_validation", "trial_done", "trial_done", "fold_test"]
    modalities = table(ingested, "sleepmg", "modalities")
    assert {row["modality"] for row in modalities} == {"eeg", "eog", "emg", "ecg"}
    assert all(row["k_y"] is not None for row in modalities if row["trial"] == "t000")
    page = Path(cli("review", "sleepmg").ok().out.strip())
    assert "NaiveMG" in page.read_text()
    # A second call looks everything up.
    assert cli("sweep", path).ok().seconds < 10


def test_a_fold_killed_on_its_way_ends_with_the_same_weights(
    ingested: Path,
    root: Path,
    tmp_path: Path,
    make_cli: "Callable[[Path], Cli]",
    tools: "type[Tools]",
) -> None:
    weights = {}
    for name in ("whole", "killed"):
        folder = tmp_path / name
        shutil.copytree(ingested / "runs" / "epochs", folder / "runs" / "epochs")
        cli = make_cli(folder)
        path = sweep_file(
            root,
            folder,
            "sleepmg",
            search={"n_trials": 1, "space": {"alpha_y": {"uniform": [0, 1]}}},
            rows=[],
            training={**TRAINING, "n_passes": 6, "patience": 6},
        )
        folds = folder / "runs" / "folds"
        if name == "killed":
            process = cli.start("sweep", path)
            tools.wait_for(
                lambda folds=folds: any(folds.glob("*/checkpoint.safetensors")),  # type: ignore[misc]
                timeout_s=120,
                what="a fold has a checkpoint",
            )
            tools.kill_tree(process)
            assert not list(folds.glob("*/fold.json")), "killed too late to show anything"
        cli("sweep", path).ok()
        assert not list(folds.glob("*/checkpoint.safetensors"))
        weights[name] = {
            file.parent.name: file.read_bytes() for file in folds.glob("*/weights.safetensors")
        }
    assert len(weights["whole"]) == 2
    assert weights["killed"] == weights["whole"]
