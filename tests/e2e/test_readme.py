"""Every command in the documents is run by a test, and every link leads somewhere."""

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Done

pytestmark = pytest.mark.e2e

DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("docs/cluster.md", "docs/operations.md", "docs/sleepmg.md", "docs/sweeps.md"),
)


def commands_of(document: Path) -> list[str]:
    return commands_in(document.read_text(encoding="utf-8"))


def commands_in(text: str) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_real_data_commands_of_readme_are_those_that_the_tests_run(
    root: Path, test_data: Path, ucddb_done: "Done"
) -> None:
    # Those of the section on several modalities are taken from README and run by tests/e2e/test_sleepmg.py.
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## With real recordings") : text.index("## Several modalities")]
    written = [command.split() for command in commands_in(section)]
    data = str(test_data / "ucddb")
    ran = [
        [
            "orchestrator",
            *(
                "DIR" if argument == data else argument.removeprefix(f"{root}/")
                for argument in result.arguments
            ),
        ]
        for result in ucddb_done.results
    ]
    assert written == ran
    assert all(result.code == 0 for result in ucddb_done.results)


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
