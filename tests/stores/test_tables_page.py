"""docs/tables.md: every block of Python is run, and optuna-dashboard opens a journal, where that is installed."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from optuna.storages import JournalStorage

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.search.journal import OwnBackend
from orchestrator.sweeps.search.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
COMMANDS = [
    "pip install optuna-dashboard",
    "cp runs/sweeps/tau/optuna.journal tau.journal",
    "optuna-dashboard tau.journal",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def folder(store_of_0_1: Store, tmp_path: Path) -> Path:
    """A folder with the store ``runs``, in which the sweeps have the names of the page."""
    sweeps = Path(shutil.move(store_of_0_1.uri, tmp_path / "runs")) / "sweeps"
    for name, on_page in (("selective-finished", "tau"), ("sleepmg-finished", "sleepmg")):
        (sweeps / name).rename(sweeps / on_page)
        journal = sweeps / on_page / "optuna.journal"
        text = journal.read_text(encoding="utf-8").replace(f'"{name}"', f'"{on_page}"')
        journal.write_text(text, encoding="utf-8")
    rows = pq.read_table(sweeps / "tau/trials.parquet").to_pylist()
    for row in rows:  # all have the same objective, which shows no order
        row["objective"] = {"t002": 0.75, "t004": 0.5, "t001": None}.get(row["trial"], 0.25)
    schema = pq.read_schema(sweeps / "tau/trials.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sweeps / "tau/trials.parquet")
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted((folder / "runs").rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(block: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
def test_the_blocks_of_python_do_what_they_say(folder: Path) -> None:
    tau, sleepmg, anywhere, _, journal = blocks("python")
    before = digests(folder)
    said = run(tau, folder)
    rows = [line.split() for line in said.splitlines() if re.match(r"\d+ +t00\d ", line)]
    trials = [row[1] for row in rows]
    assert (trials[:2], set(trials[2:4]), trials[4]) == (["t002", "t004"], {"t000", "t003"}, "t001")
    assert re.search(r"source_train +finetuning on source batches +108", said)  # of the ledger
    said = run(sleepmg, folder)
    assert said.splitlines()[0].split() == ["predicted", "W", "N1", "N2", "N3", "REM"]
    assert "shift0-seed1-01" in said
    assert re.search(r"^complete +8$", run(anywhere, folder), re.M)
    said = run(journal, folder)
    assert said.startswith("t000 [0.46153846153846156] {'tau_quantile': 0.25, 'learning_rate'")
    assert len(said.splitlines()) == 5
    assert digests(folder) == before


@pytest.mark.heavy
def test_the_block_of_polars_does_what_it_says(folder: Path) -> None:
    pytest.importorskip("polars", reason="polars does not come with the program")
    before = digests(folder)
    said = run(blocks("python")[3], folder)
    trials = re.findall(r"│ (t00\d) ", said)
    assert (trials[:2], set(trials[2:4]), trials[4]) == (["t002", "t004"], {"t000", "t003"}, "t001")
    assert digests(folder) == before


def asked(address: str, until: float) -> Any:
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            assert time.monotonic() < until, "the dashboard does not answer"
            time.sleep(0.1)


def test_the_commands_are_those_that_are_run() -> None:
    assert [line for block in blocks("sh") for line in block.splitlines()] == COMMANDS


@pytest.mark.heavy
@pytest.mark.skipif(
    shutil.which("optuna-dashboard") is None,
    reason="optuna-dashboard does not come with the program",
)
def test_the_dashboard_shows_a_sweep_and_writes_nothing(folder: Path) -> None:
    journal = Path(paths.sweep_journal("tau"))
    Study("tau", folder / "runs" / journal, objectives=["source_val"])  # as a new sweep is begun
    subprocess.run(COMMANDS[1].split(), cwd=folder, check=True)
    before = (folder / "tau.journal").read_bytes()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [*COMMANDS[2].split(), "--port", str(port)], cwd=folder, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        (study,) = asked(f"http://127.0.0.1:{port}/api/studies", until)["study_summaries"]
        assert (study["study_name"], study["directions"]) == ("tau", ["maximize"])
        detail = asked(f"http://127.0.0.1:{port}/api/studies/0", until)
    finally:
        server.terminate()
        server.wait(30)
    assert detail["objective_names"] == ["source_val"]
    storage = JournalStorage(OwnBackend(str(folder / "tau.journal")))
    assert [trial["values"] for trial in detail["trials"]] == [
        trial.values for trial in storage.get_all_trials(0)
    ]
    assert (folder / "tau.journal").read_bytes() == before
