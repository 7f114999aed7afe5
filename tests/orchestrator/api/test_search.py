"""What a finished sweep is in Python: frames, the chosen trial, and a page that a notebook shows."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest

import orchestrator as so
from orchestrator.api.search import Review
from orchestrator.errors import ConfigError, DataError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.by_subject import BySubjectRow
from orchestrator.tables.rows import schema_of

ROWS: list[dict[str, Any]] = [
    {"trial": "t000", "kind": "trial", "state": "complete", "objective": 0.5},
    {"trial": "t001", "kind": "trial", "state": "complete", "objective": 0.7},
    {"trial": "t002", "kind": "trial", "state": "failed", "objective": None},
    {"trial": "arm-all_source", "kind": "arm", "state": "complete", "objective": 0.9},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "runs"), writable=True)
    store.write_table(paths.sweep_trials("tau"), pa.Table.from_pylist(ROWS))
    store.write_bytes(paths.sweep_file("begun"), b"")
    return store


def test_tables_are_frames_and_the_best_is_the_chosen_trial(store: Store) -> None:
    found = so.results("tau", store=store.uri)
    assert found.trials["trial"].tolist() == [row["trial"] for row in ROWS]
    assert found.best["trial"] == "t001"
    assert found.best["objective"] == 0.7
    with pytest.raises(DataError, match=r"its target has no labels, or version 0\.1"):
        found.by_subject  # noqa: B018
    row = {"trial": "t001", "subject": "p1", "macro_f1": 0.5}
    store.write_table(
        paths.sweep_trials_by_subject("tau"),
        pa.Table.from_pylist([row], schema=schema_of(BySubjectRow)),
    )
    assert found.by_subject[["trial", "subject", "macro_f1"]].to_numpy().tolist() == [
        ["t001", "p1", 0.5]
    ]
    assert "4 rows" in repr(found)
    assert "arm-all_source" in found._repr_html_()


def test_without_an_objective_nothing_is_chosen(store: Store) -> None:
    rows = [row | {"objective": None} for row in ROWS]
    store.write_table(paths.sweep_trials("tau"), pa.Table.from_pylist(rows))
    with pytest.raises(DataError, match="so none is chosen"):
        so.results("tau", store=store.uri).best  # noqa: B018


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tua", "no sweep 'tua' in .* Did you mean 'tau'"),
        ("begun", "'begun' in .* has not finished"),
    ],
)
def test_what_has_no_results_is_refused(store: Store, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        so.results(name, store=store.uri)


def test_a_page_in_a_notebook_is_a_document_of_its_own() -> None:
    shown = Review(uri="review.html", html='<p class="x">a & b</p>')._repr_html_()
    assert 'srcdoc="&lt;p class=&quot;x&quot;&gt;a &amp; b&lt;/p&gt;"' in shown


def test_a_mapping_is_a_file_without_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the mapping: missing key 'method'"):
        so.sweep({"name": "tau"}, store=tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)^the mapping: .*\nthe mapping: "):
        so.ingest({"name": "no slug!", "titel": "x"}, tmp_path, store=tmp_path)
    with pytest.raises(ConfigError, match=r"holds what a YAML file cannot: .*Path"):
        so.sweep({"name": tmp_path}, store=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="missing key 'method'"):  # a mapping that is no dict
        so.sweep(MappingProxyType({"name": "tau"}), store=tmp_path)
