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

CHANGES: dict[str, Any] = {
    "subjects": ["*-0[1-6]"],
    "training": {"n_passes": 2, "batch_size": 16, "patience": 2, "learning_rate": 1e-3},
    "stages": ["W", "N2", "N3"],
    "folds": {"kind": "k_fold", "n_folds": 2, "n_validation": 1},
}
"""Of the published sweep files: fewer subjects, passes and folds, and stages that every subject has."""


def readme_commands(root: Path, *names: str) -> list[list[str]]:
    """Return the commands of README's section on several modalities."""
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Several modalities") :]
    block = section[section.index("```console\n") + 11 :].partition("```")[0]
    commands = [line.partition("#")[0].split() for line in block.splitlines()]
    assert [command[:2] for command in commands] == [
        ["orchestrator", name] for name in ("synth", "ingest", "sweep", "review")
    ]
    return [command[1:] for command in commands if command[1] in names]


def write_sweep(root: Path, folder: Path, example: str, **changes: Any) -> Path:
    """Write a published sweep file with changes into the same place below `folder`."""
    content = yaml.safe_load((root / "sweeps" / f"{example}.yaml").read_text(encoding="utf-8"))
    content |= CHANGES | changes
    path = folder / "sweeps" / f"{example}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ingested(make_cli: "Callable[[Path], Cli]", root: Path, tmp_path_factory: Any) -> Path:
    """A folder with a store of made-up subjects in the montage of ISRUC-S3, made as README says."""
    folder: Path = tmp_path_factory.mktemp("sleepmg")
    shutil.copytree(root / "datasets", folder / "datasets")
    for command in readme_commands(root, "synth", "ingest"):
        make_cli(folder)(*command).ok()
    return folder


def table(folder: Path, name: str, which: str = "trials") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        folder / "runs" / "sweeps" / name / f"{which}.parquet"
    ).to_pylist()
    return rows


@pytest.mark.full
def test_two_rows_of_an_ablation_end_in_figures(
    ingested: Path, root: Path, make_cli: "Callable[[Path], Cli]"
) -> None:
    cli = make_cli(ingested)
    rows = yaml.safe_load((root / "sweeps" / "sleepmg-baselines.yaml").read_text(encoding="utf-8"))[
        "rows"
    ]
    kept = [row for row in rows if row["name"] in {"FeatureNet+M", "NaiveMG"}]
    assert len(kept) == 2
    path = write_sweep(root, ingested, "sleepmg-baselines", rows=kept, seeds=[1], exclude=["*-01"])
    # Of five subjects in two folds, the first tests three and another validates: one is left to learn from.
    cli("sweep", path).fails(2, "so 1 are left to train on; 2 are needed for a discriminator")
    path = write_sweep(root, ingested, "sleepmg-baselines", rows=kept, seeds=[1])
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
    assert "FeatureNet+M" in page.read_text(encoding="utf-8")
    assert (page.parent / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert (page.parent / "confusion.csv").exists()


@pytest.mark.full
def test_a_search_ends_in_a_page(
    ingested: Path, root: Path, make_cli: "Callable[[Path], Cli]"
) -> None:
    cli = make_cli(ingested)
    search = yaml.safe_load((root / "sweeps" / "sleepmg.yaml").read_text(encoding="utf-8"))[
        "search"
    ]
    space = {**search["space"], "schedule": {"choice": ["constant", "dann"]}}
    enqueue = [*search["enqueue"], {"schedule": "dann"}]
    write_sweep(
        root, ingested, "sleepmg", search={"n_trials": 2, "space": space, "enqueue": enqueue}
    )
    sweep, review = readme_commands(root, "sweep", "review")
    cli(*sweep).ok()
    trials = [row for row in table(ingested, "sleepmg") if row["kind"] == "trial"]
    assert [row["trial"] for row in trials] == ["t000", "t001"]
    assert [row["schedule"] for row in trials] == ["constant", "dann"]
    assert len({row["signature"] for row in trials}) == 2
    events = (
        (ingested / "runs" / "sweeps" / "sleepmg" / "events.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    ledger = [e for e in map(json.loads, events) if e["event"] in {"labels_read", "trial_done"}]
    splits = [e.get("split", e["event"]) for e in ledger]
    assert splits == ["fold_train", "fold_validation", "trial_done", "trial_done", "fold_test"]
    modalities = table(ingested, "sleepmg", "modalities")
    assert {row["modality"] for row in modalities} == {"eeg", "eog", "emg", "ecg"}
    assert all(row["k_y"] is not None for row in modalities if row["trial"] == "t000")
    page = Path(cli(*review).ok().out.strip())
    assert "NaiveMG" in page.read_text(encoding="utf-8")
    assert "schedule of lambda" in page.read_text(encoding="utf-8")
    trained = sorted((ingested / "runs" / "folds").rglob("*"))
    cli(*sweep).ok()  # looks everything up
    assert sorted((ingested / "runs" / "folds").rglob("*")) == trained


@pytest.mark.slow  # tests/orchestrator/methods/sleepmg does it in one process
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
        path = write_sweep(
            root,
            folder,
            "sleepmg",
            search={"n_trials": 1, "space": {"alpha_y": {"uniform": [0, 1]}}},
            rows=[],
            training={**CHANGES["training"], "n_passes": 6, "patience": 6},
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
