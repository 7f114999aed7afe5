"""The notebook in ``docs/`` runs from its first cell to its last, in an empty folder."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from orchestrator.predict.files import output_names

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first_night.ipynb"


def notebook() -> Any:
    return nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("notebook")
    book = notebook()
    environment = {k: v for k, v in os.environ.items() if k != "ORCHESTRATOR_STORE"}
    client = NotebookClient(book, timeout=500, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return book, folder


def test_it_ends_in_a_staged_night(ran: tuple[Any, Path]) -> None:
    _, folder = ran
    staged = sorted(path.name for path in (folder / "staged").iterdir())
    assert staged == sorted(output_names("shift1-seed3-01"))
    assert (folder / "runs/reviews/first/review.html").exists()


def test_it_shows_frames_the_page_and_pictures(ran: tuple[Any, Path]) -> None:
    book, _ = ran
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    shown = [output["data"] for output in outputs if "data" in output]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    assert any("<iframe srcdoc=" in page and "Not judged" in page for page in pages)
    assert sum("data:image/png;base64," in page for page in pages if "<iframe" not in page) == 1
    assert sum("image/png" in data for data in shown) == 1  # the figure, once
    texts = [data.get("text/plain", "") for data in shown]
    assert any("scored: 4 recordings of 4 subjects in the store" in text for text in texts)
    assert any("ANNOT" in text.upper() or "Sleep stage" in text for text in texts)


def test_it_is_kept_without_outputs() -> None:
    book = notebook()
    for cell in book.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
