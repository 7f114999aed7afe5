"""`orchestrator replay` of a real sweep: trials that Ray ran come again in one process, byte for byte."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny

pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(900)]

N_TRIALS, N_RANDOM = 7, 3
"""After so many, what the sampler proposes depends on what it was told."""


def everything(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def rows(store: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(
        store / "sweeps" / name / "trials.parquet"
    ).to_pylist()
    return found


def commands_of_the_page(root: Path) -> list[list[str]]:
    page = (root / "docs" / "sweeps.md").read_text()
    section = page[page.index("## The same again") :]
    block = section[section.index("```console\n") + 11 :].partition("```")[0]
    return [line.partition("#")[0].split()[1:] for line in block.splitlines()]


def test_a_sweep_gives_the_same_again(
    cli: "Cli", root: Path, tiny: "Tiny", tiny_done: "Done"
) -> None:
    store = cli.cwd / "runs"
    shutil.copytree(tiny_done.store, store)
    content = yaml.safe_load(tiny.sweep.read_text())
    content["name"] = "alone"
    sampler = {"name": "tpe", "options": {"n_startup_trials": N_RANDOM}}
    content["search"] |= {"n_trials": N_TRIALS, "max_concurrent": 1, "sampler": sampler}
    content["search"]["enqueue_taus"] = [0.5]
    (cli.cwd / "alone.yaml").write_text(yaml.safe_dump(content))
    cli("sweep", "alone.yaml").ok()
    before = everything(store)

    whole, one = (
        [word.replace("tau", "alone") for word in command] for command in commands_of_the_page(root)
    )
    printed = cli(*whole).ok().out
    trained = [row for row in rows(store, "alone") if row["reused_from"] is None]
    for row in trained:
        assert re.search(rf"^{row['trial']} +same$", printed, re.M), printed
    n = len(rows(store, "alone"))
    assert n == N_TRIALS + 3
    assert printed.endswith(
        f"proposals: same\nsweep alone: {n} of {n} configurations gave the same again\n"
    )
    side_by_side = cli("replay", "small", "--trial", "arm-random").ok().out
    assert "proposals: not compared: trials ran side by side" in side_by_side

    after = everything(store)
    ledgers = {f"replays/{name}/events.jsonl" for name in ("alone", "small")}
    assert after.keys() - before.keys() == ledgers
    assert {path: after[path] for path in before} == before
    assert not any(b"target_test" in after[ledger] for ledger in ledgers)

    changed = next(row for row in rows(store, "alone") if row["trial"] == one[-1])
    path = store / "sweeps" / "alone" / "predictions" / f"{changed['signature']}.parquet"
    table = pq.read_table(path)
    p_W = table["p_W"].to_numpy().copy()
    p_W[0] = np.nextafter(p_W[0], np.float32(2))
    at = table.schema.get_field_index("p_W")
    pq.write_table(table.set_column(at, "p_W", pa.array(p_W)), path)
    told = f"1 of 1 configurations gave something else than recorded: {one[-1]} (predictions, by up"
    cli(*one).fails(4, told)
