"""The gate to stage labels: what it hands out, what it refuses, its ledger; and that nothing goes past it."""

import ast
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.errors import IntegrityError
from orchestrator.labels import LabelGate, Split
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog, read_events

NIGHTS = {"s1": [0, 1, 2, 3, 4, -1], "s2": [-1, 0, 0]}
KEYS = [("lab", subject, f"{subject}-n1") for subject in NIGHTS]
JUDGING_SPLITS = [Split.TARGET_TEST, Split.FOLD_TEST]
SEARCH_SPLITS = [split for split in Split if split not in JUDGING_SPLITS]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "runs"))
    for key, stages in zip(KEYS, NIGHTS.values(), strict=True):
        columns = {
            "epoch_index": pa.array(range(len(stages)), pa.int32()),
            "stage": pa.array(stages, pa.int8()),
            "flags": pa.array([0] * len(stages), pa.uint8()),
        }
        store.write_table(paths.epochs(*key), pa.table(columns))
    return store


@pytest.fixture
def gate(store: Store) -> LabelGate:
    return LabelGate(store, EventLog(store, "e.jsonl"))


def ledger(store: Store) -> list[tuple[str, str, str]]:
    return [(e["event"], e["split"], e["purpose"]) for e in read_events(store, "e.jsonl")]


def test_stages_come_in_the_order_asked_for(gate: LabelGate) -> None:
    two, one = gate.read([KEYS[1], KEYS[0]], Split.SOURCE_TRAIN, "pretraining")
    assert two.dtype == one.dtype == np.int8
    assert (one.tolist(), two.tolist()) == (NIGHTS["s1"], NIGHTS["s2"])


@pytest.mark.parametrize("split", SEARCH_SPLITS)
def test_all_but_test_labels_may_be_read_during_the_search(
    gate: LabelGate, store: Store, split: Split
) -> None:
    for _ in range(2):
        gate.read(KEYS, split, "objective")
    assert ledger(store) == [("labels_read", split.value, "objective")] * 2


def test_the_ledger_says_who_read_what_and_when(gate: LabelGate, store: Store) -> None:
    gate.read(KEYS, Split.SOURCE_VALIDATION, "objective of the sweep")
    (event,) = read_events(store, "e.jsonl")
    assert event["event"] == "labels_read"
    assert event["split"] == "source_validation"
    assert event["purpose"] == "objective of the sweep"
    assert event["recordings"] == ["lab/s1/s1-n1", "lab/s2/s2-n1"]
    assert event["n_epochs"] == 9
    assert {"time", "host", "pid"} <= set(event)


@pytest.mark.parametrize("split", JUDGING_SPLITS)
def test_test_labels_during_the_search_stop_the_sweep(
    gate: LabelGate, store: Store, split: Split
) -> None:
    with pytest.raises(IntegrityError, match=r"during the search \(peeking\)") as caught:
        gate.read(KEYS, split, "peeking")
    assert caught.value.exit_code == 4
    assert ledger(store) == [("labels_refused", split.value, "peeking")]


@pytest.mark.parametrize("split", JUDGING_SPLITS)
def test_test_labels_open_once_after_the_search(
    gate: LabelGate, store: Store, split: Split
) -> None:
    gate.end_search()
    assert [s.tolist() for s in gate.read(KEYS, split, "table")] == list(NIGHTS.values())
    with pytest.raises(IntegrityError, match="a second time"):
        gate.read(KEYS, split, "table again")
    assert ledger(store) == [
        ("labels_read", split.value, "table"),
        ("labels_refused", split.value, "table again"),
    ]
    gate.read(KEYS, Split.SOURCE_TRAIN, "other splits stay open")


def test_a_refusal_during_the_search_does_not_use_up_the_one_reading(gate: LabelGate) -> None:
    with pytest.raises(IntegrityError):
        gate.read(KEYS, Split.TARGET_TEST, "peeking")
    gate.end_search()
    gate.read(KEYS, Split.TARGET_TEST, "table")


# Nothing goes past the gate. The walk below sees three ways to get at the column:
# its name written out where something is looked up or asked for, an epoch file read with all its columns, and
# another reader of Parquet than the store. It cannot see a name put together at run time; that the feed, which
# takes a column name from its caller, refuses anything but a modality is a test of its own.

READERS = {"read_table", "read_parquet", "ParquetFile", "ParquetDataset", "dataset", "iter_batches"}


def reads_of_stages(code: str) -> list[str]:
    """Every place in a module that could read the stage column: function and what it does."""
    found = []

    def visit(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.FunctionDef):
            where = node.name
        asked: list[
            ast.expr
        ] = []  # where a literal asks for something; a key of a new dict asks for nothing
        if isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.Call):
            asked = [*node.args, *(k.value for k in node.keywords)]
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            asked = node.elts
        if any(isinstance(x, ast.Constant) and x.value == "stage" for x in asked):
            found.append(f"{where}: names the column")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, call = node.func.attr, ast.unparse(node)
            owner = ast.unparse(node.func.value)
            if name == "read_table" and owner != "pq":
                columns = len(node.args) > 1 or any(k.arg == "columns" for k in node.keywords)
                path = ast.unparse(node.args[0])
                if not columns and (not path.startswith("paths.") or "paths.epochs" in path):
                    found.append(f"{where}: {call}")
            elif name in READERS and owner in {"pq", "parquet", "pads", "ray.data", "data"}:
                found.append(f"{where}: {owner}.{name}")
        for child in ast.iter_child_nodes(node):
            visit(child, where)

    visit(ast.parse(code), "module")
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    "line",
    [
        "table['stage']",
        "store.read_table(path, ['epoch_index', 'stage'])",
        "store.read_table(path, columns=('stage',))",
        "columns = ['stage', 'flags']",
        "table.column('stage')",
        "store.read_table(path)",
        "store.read_table(paths.epochs(*key))",
        "pq.ParquetFile(f)",
        "pq.read_table(f)",
        "ray.data.read_parquet(uri)",
    ],
)
def test_the_guard_sees_each_way_past_the_gate(line: str) -> None:
    assert reads_of_stages(f"def f():\n    {line}\n") != []


@pytest.mark.parametrize(
    "line",
    [
        "pa.table({'stage': stages})",
        "store.read_table(paths.sweep_trials(name))",
        "store.read_table(path, ['epoch_index', 'flags'])",
        "print('the stage')",
    ],
)
def test_the_guard_lets_the_rest_be(line: str) -> None:
    assert reads_of_stages(f"def f():\n    {line}\n") == []


@pytest.mark.heavy
def test_only_the_gate_reads_the_stage_column(root: Path) -> None:
    """Besides it, ingest counts the stages of a table that it made, or that a killed ingest made."""
    allowed = {
        "labels.py": ["read: names the column"],
        "psg/convert.py": ["summary: names the column"],
        "psg/ingest.py": ["_known_rows: store.read_table(path)"],
        # Checks the file's hash, and then reads columns that the metadata calls a modality.
        "psg/feed.py": ["_checked_file: pq.ParquetFile"],
        # The header of a table that is written: of the stages that a model gave.
        "predict/files.py": ["module: names the column"],
        # The store itself: path and columns are the caller's.
        "store/store.py": ["read_table: pq.read_table"],
    }
    package = root / "orchestrator"
    found = {
        str(file.relative_to(package)): reads_of_stages(file.read_text(encoding="utf-8"))
        for file in sorted(package.rglob("*.py"))
    }
    assert {module: reads for module, reads in found.items() if reads} == allowed


@pytest.mark.heavy
def test_the_counts_of_ingest_stay_in_ingest(root: Path) -> None:
    """``convert.summary`` gives numbers per stage; only the module that writes the manifest calls it."""
    callers = {
        str(file.relative_to(root))
        for package in ("orchestrator", "trainables", "search_spaces")
        for file in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "convert.summary")
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").endswith("psg.convert")
            and any(alias.name == "summary" for alias in node.names)
        )
    }
    assert callers == {"orchestrator/psg/ingest.py"}
