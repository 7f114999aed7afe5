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
    assert demo.out.splitlines()[-1] == f"open {page}"
    assert "Tau curve" in page.read_text(encoding="utf-8") or "tau" in page.read_text(
        encoding="utf-8"
    )
    assert [line[:3] for line in demo.out.splitlines()[:4]] == ["1/4", "2/4", "3/4", "4/4"]


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
