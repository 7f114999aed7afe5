"""`orchestrator demo`: the whole story from an empty folder, without data."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from orchestrator.example_files import example_file

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, MakeCli, Result, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def demo_cli(make_cli: "MakeCli", tmp_path_factory: pytest.TempPathFactory) -> "Cli":
    return make_cli(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def demo(demo_cli: "Cli") -> "Result":
    return demo_cli("demo", timeout_s=850).ok()


@pytest.fixture(scope="module")
def manifest(demo: "Result", demo_cli: "Cli") -> dict[str, Any]:
    content = (demo_cli.cwd / "runs" / "sweeps" / "tau" / "manifest.json").read_bytes()
    decoded: dict[str, Any] = json.loads(content)
    return decoded


def test_demo_prints_where_the_page_is(demo: "Result", demo_cli: "Cli") -> None:
    page = demo_cli.cwd / "runs" / "reviews" / "tau" / "review.html"
    picture = demo_cli.cwd / "runs" / "staged" / "shift1-seed3-01.png"
    assert demo.out.splitlines()[-2:] == [f"open {page}", f"open {picture}"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Tau curve" in page.read_text(encoding="utf-8") or "tau" in page.read_text(
        encoding="utf-8"
    )
    assert [line[:3] for line in demo.out.splitlines()[:4]] == ["1/5", "2/5", "3/5", "4/5"]


def test_demo_is_no_toy(manifest: dict[str, Any], demo_cli: "Cli") -> None:
    assert manifest["n_selectable"] >= 20
    assert len(manifest["source_subjects"]) >= 6
    assert len(manifest["validation_subjects"]) == 2
    assert manifest["batch_size"] == 32
    assert manifest["pretrain"]["n_steps"] >= 200
    trials = pq.read_table(demo_cli.cwd / "runs" / "sweeps" / "tau" / "trials.parquet").to_pylist()
    trained = [row for row in trials if row["arm"] != "no_adapt"]
    assert sum(row["kind"] == "trial" for row in trained) >= 12
    assert {row["n_steps"] for row in trained} == {30}
    assert {row["state"] for row in trials} == {"complete"}


def test_encoder_of_the_demo_learned_to_stage(manifest: dict[str, Any]) -> None:
    pretrain = manifest["pretrain"]
    assert pretrain["source_val_macro_f1"] >= pretrain["majority_macro_f1"] + 0.15


def test_the_night_is_staged_by_the_chosen_trial(demo: "Result", demo_cli: "Cli") -> None:
    """Of a subject in no role: neither learned from, nor adapted to, nor judged in the sweep."""
    staged = demo_cli.cwd / "runs" / "staged"
    summary = json.loads((staged / "shift1-seed3-01_summary.json").read_bytes())
    name = summary["model"]["name"]
    trials = pq.read_table(demo_cli.cwd / "runs" / "sweeps" / "tau" / "trials.parquet").to_pylist()
    best = max((row for row in trials if row["kind"] == "trial"), key=lambda row: row["objective"])
    assert name == f"tau:{best['trial']}"
    assert summary["n_epochs"] == 960
    assert summary["notes"] == []
    agreement = summary["scorer"]["agreement"]
    assert agreement["n_epochs"] > 900
    assert agreement["kappa"] > 0.2  # chance is 0
    models = demo_cli.cwd / "runs" / "sweeps" / "tau" / "models"
    kept = {folder.name for folder in models.iterdir()}
    assert kept == {best["trial"], "arm-all_source", "arm-no_adapt", "arm-random"}
    assert not list((models.parent).glob("weights/*"))


def test_the_first_command_of_readme(demo_cli: "Cli", demo: "Result", root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    command = readme.partition("```console\n")[2].partition("\n")[0]
    assert command == "orchestrator predict tau night.edf"
    demo_cli(
        "synth", "new", "--subjects", "1", "--shift", "1", "--seed", "4", "--hours", "0.5"
    ).ok()
    (demo_cli.cwd / "new" / "shift1-seed4-01.edf").rename(demo_cli.cwd / "night.edf")
    done = demo_cli(*command.split()[1:]).ok()
    assert done.out.splitlines()[-1] == str(demo_cli.cwd / "staged")
    names = (
        "night.csv",
        "night.png",
        "night_events.tsv",
        "night_hypnogram.edf",
        "night_summary.json",
    )
    assert sorted(path.name for path in (demo_cli.cwd / "staged").iterdir()) == sorted(names)


def test_second_demo_makes_nothing_again(
    demo: "Result", demo_cli: "Cli", tools: "type[Tools]"
) -> None:
    store = demo_cli.cwd / "runs"

    def written() -> dict[Path, int]:
        files = (path for path in demo_cli.cwd.rglob("*") if path.is_file())
        return {p: p.stat().st_mtime_ns for p in files if (store / "reviews") not in p.parents}

    before, pages = written(), tools.tree(store, "reviews")
    again = demo_cli("demo").ok()
    assert again.out.splitlines()[-1] == demo.out.splitlines()[-1]
    assert written() == before
    assert tools.tree(store, "reviews") == pages
    assert "pretrain" not in again.err


def test_files_that_the_demo_runs_are_those_of_the_repository(root: Path) -> None:
    assert example_file("sweeps/tau.yaml") == root / "sweeps" / "tau.yaml"
    assert example_file("datasets/synthetic.yaml") == root / "datasets" / "synthetic.yaml"
