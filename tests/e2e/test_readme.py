"""Every command in the documents is run by a test, and every link leads somewhere."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("docs/adding.md", "docs/architecture.md", "docs/cluster.md", "docs/datasets.md"),
    *(
        "docs/operations.md",
        "docs/predict.md",
        "docs/sleepmg.md",
        "docs/sweeps.md",
        "docs/tables.md",
    ),
)


def commands_of(document: Path) -> list[str]:
    return commands_in(document.read_text(encoding="utf-8"))


def commands_in(text: str) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def real_data_commands(root: Path) -> list[list[str]]:
    # Those of the section on several modalities are run by tests/e2e/test_sleepmg.py.
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## With real recordings") : text.index("## Several modalities")]
    return [command.split() for command in commands_in(section)]


def test_real_data_commands_of_readme_are_those_that_the_tests_run(
    root: Path, test_data: Path, ucddb_done: "Done"
) -> None:
    known = {
        str(test_data / "ucddb"): "DIR",
        str(root / "datasets" / "ucddb.yaml"): "datasets/ucddb.yaml",
    }
    known[str(ucddb_done.store.parent / "tau-ucddb.yaml")] = "sweeps/tau-ucddb.yaml"  # shorter
    ran = [
        ["orchestrator", *(known.get(argument, argument) for argument in result.arguments)]
        for result in ucddb_done.results
    ]
    assert real_data_commands(root) == ran


@pytest.mark.slow  # tests/e2e/test_ucddb.py does it with a shorter sweep
def test_real_data_commands_of_readme_as_they_are(root: Path, test_data: Path, cli: "Cli") -> None:
    for folder in ("datasets", "sweeps"):
        shutil.copytree(root / folder, cli.cwd / folder)
    for _, *arguments in real_data_commands(root):
        cli(*(str(test_data / "ucddb") if word == "DIR" else word for word in arguments)).ok()
    sweep = cli.cwd / "runs" / "sweeps" / "tau-ucddb"
    rows = pq.read_table(sweep / "trials.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["complete"] * (12 + 3)
    reached = json.loads((sweep / "manifest.json").read_bytes())["pretrain"]
    assert reached["source_val_macro_f1"] > reached["majority_macro_f1"] + 0.15
    assert (cli.cwd / "runs" / "reviews" / "tau-ucddb" / "review.html").exists()


def test_make_commands_of_readme_run_what_the_tests_run(root: Path) -> None:
    written = [c for c in commands_of(root / "README.md") if c.startswith("make ")]
    assert written == ["make demo", "make test"]
    outside = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # of `make test`
    recipes = {
        target: subprocess.run(
            ["make", "--dry-run", target],
            cwd=root,
            env=outside,
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
        ).stdout.splitlines()[-1]
        for target in ("demo", "test")
    }
    assert recipes["demo"] == ".venv/bin/orchestrator demo"  # tests/e2e/test_demo.py
    assert recipes["test"].startswith(".venv/bin/python -m pytest ")  # this run


def test_all_commands_of_the_documents_are_of_a_kind_that_is_tested(root: Path) -> None:
    for document in DOCUMENTS:
        for command in commands_of(root / document):
            kinds = ("make ", "orchestrator ", "ray job submit ")  # the last: tests/e2e/cluster
            assert command.startswith(kinds), f"{document}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_somewhere(root: Path, document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (root / document).read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if "://" not in link and not (root / document).parent.joinpath(link).exists()
    ]
    assert missing == []


def test_readme_fits_on_a_page(root: Path) -> None:
    assert len((root / "README.md").read_text(encoding="utf-8").splitlines()) <= 80
