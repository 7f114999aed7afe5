"""The files of a review of pretrainings, and what the page says."""

import csv
import html
import io
import re
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.methods.pretrain.review import review_files
from orchestrator.reviews import write_review
from orchestrator.store import paths

pytestmark = pytest.mark.heavy


def text_of(page: bytes) -> str:
    """Text of a page, without pictures and style."""
    body = page.decode().partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_the_files_of_a_review(save: Any) -> None:
    files = review_files(save(), "probe")
    assert set(files) == {
        *("review.html", "encoder.yaml", "parameters.png", "parameters.csv"),
        *("trials.csv", "subjects.csv"),
    }
    assert files["parameters.png"][:4] == b"\x89PNG"
    rows = list(csv.DictReader(io.StringIO(files["trials.csv"].decode())))
    assert [row["trial"] for row in rows] == ["t000", "t001", "t002", "t003"]
    assert rows[1]["objective"] == "0.712345678901"
    assert rows[3]["objective"] == ""
    points = list(csv.DictReader(io.StringIO(files["parameters.csv"].decode())))
    assert [p["trial"] for p in points] == ["t000", "t001", "t002"]
    assert points[1]["batch_size"] == "33"
    assert len(files["subjects.csv"].splitlines()) == 10


def test_the_page_says_what_is_best_and_what_that_is_worth(save: Any) -> None:
    text = text_of(review_files(save(), "probe")["review.html"])
    assert (
        "Of 4 trials, t001 has the highest objective (macro-F1 on 3 held-out source subjects 0.712): dropout 0.20, "
        "batch size 33. Subject by subject it is 0.580 on average and 0.500 at the lowest. Always answering N2 has "
        "0.250." in text
    )
    assert "failed: DivergedError: too fast" in text
    assert "finds encoder e-t001 in the store and does not pretrain" in text
    assert "With 3 trials, fewer than 20, the importance" in text
    assert "No target." in text


def test_the_page_holds_the_sections_as_they_are_in_the_file(save: Any) -> None:
    files = review_files(save(), "probe")
    shown = re.search(r"<pre><code>(.*?)</code></pre>", files["review.html"].decode(), re.S)
    assert shown is not None
    assert html.unescape(shown[1]).strip() == files["encoder.yaml"].decode().strip()


def test_a_sweep_in_which_all_failed_has_a_page(made: Any, save: Any) -> None:
    files = review_files(save([made.failed(made.trial_row())], []), "probe")
    assert "encoder.yaml" not in files
    assert "says nothing about pretraining" in text_of(files["review.html"])


def test_names_are_escaped(made: Any, save: Any) -> None:
    store = save([made.failed(made.trial_row(), "<script>alert(1)</script>")], [], dataset="a<b>")
    page = review_files(store, "probe")["review.html"].decode()
    assert "<script>" not in page
    assert "a&lt;b&gt;" in page


def test_the_command_writes_the_same_bytes_twice(save: Any) -> None:
    store = save()
    write_review(store, "probe")
    first = {path: store.read_bytes(path) for path in store.files("reviews/probe")}
    write_review(store, "probe")
    assert {path: store.read_bytes(path) for path in store.files("reviews/probe")} == first
    assert len(first) == 6


def test_tables_of_another_version_are_refused(save: Any) -> None:
    store = save()
    table = store.read_table(paths.sweep_trials("probe"))
    store.write_table(paths.sweep_trials("probe"), table.drop_columns(["best_pass"]))
    with pytest.raises(DataError, match="lacks 'best_pass'"):
        review_files(store, "probe")
