"""`orchestrator replay` of a real sweep: trials that Ray ran come again in one process, byte for byte."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done

pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(900)]


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
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8")
    section = page[page.index("## The same again") :]
    block = section[section.index("```console\n") + 11 :].partition("```")[0]
    return [line.partition("#")[0].split()[1:] for line in block.splitlines()]


def test_a_sweep_gives_the_same_again(cli: "Cli", root: Path, tiny_done: "Done") -> None:
    store = cli.cwd / "runs"
    shutil.copytree(tiny_done.store, store)
    before = everything(store)
    tried = rows(store, "small")
    # Five of the trials are enqueued; what the sampler proposes then depends on what it was told.
    assert [row["enqueued"] for row in tried if row["kind"] == "trial"] == [True] * 5 + [False] * 3

    whole, one = (
        [word.replace("tau", "small") for word in command] for command in commands_of_the_page(root)
    )
    printed = cli(*whole).ok().out
    for row in tried:
        if row["reused_from"] is None:
            assert re.search(rf"^{row['trial']} +same$", printed, re.M), printed
    assert printed.endswith(
        "proposals: same\nsweep small: 11 of 11 configurations gave the same again\n"
    )

    after = everything(store)
    ledger = "replays/small/events.jsonl"
    assert after.keys() - before.keys() == {ledger}
    assert {path: after[path] for path in before} == before
    assert b"target_test" not in after[ledger]

    changed = next(row for row in tried if row["trial"] == one[-1])
    path = store / "sweeps" / "small" / "predictions" / f"{changed['signature']}.parquet"
    table = pq.read_table(path)
    p_W = table["p_W"].to_numpy().copy()
    p_W[0] = np.nextafter(p_W[0], np.float32(2))
    at = table.schema.get_field_index("p_W")
    pq.write_table(table.set_column(at, "p_W", pa.array(p_W)), path)
    told = f"1 of 1 configurations gave something else than recorded: {one[-1]} (predictions, by up"
    cli(*one).fails(4, told)
