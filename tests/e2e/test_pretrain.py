"""A search over pretraining from the shell, and a selective sweep that uses the encoder it found."""

import json
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
import yaml

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.full]

SWEEP = """\
name: recipes
method: pretrain
stages: [W, N2]
source:
  dataset: tiny
  exclude: [s06]
  validation: [s03, s04, s05]
pretrain: {n_passes: 1}
search:
  n_trials: 2
  max_concurrent: 1
  space:
    learning_rate: {log_uniform: [1e-4, 1e-2]}
    batch_size: {integer: [16, 32]}
  enqueue: [{batch_size: 16}]
"""


def test_a_selective_sweep_takes_the_best_encoder_from_the_store(
    cli: "Cli", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store = cli.cwd / "runs"
    shutil.copytree(tiny_done.store / "epochs", store / "epochs")
    path = cli.cwd / "recipes.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    printed = cli("sweep", path).ok().out
    assert "next: orchestrator review recipes" in printed
    trials = pq.read_table(store / "sweeps" / "recipes" / "trials.parquet").to_pylist()
    assert [row["trial"] for row in trials] == ["t000", "t001"]
    assert all(row["encoder_id"] in printed for row in trials)
    assert trials[0]["batch_size"] == 16
    assert {row["n_subjects"] for row in trials} == {2}  # s04 and s05; s03 stops early
    events = (
        (store / "sweeps" / "recipes" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    )
    splits = [e["split"] for e in map(json.loads, events) if e["event"] == "labels_read"]
    assert splits == ["source_train", "source_early_stop", "source_validation"]
    best = max(trials, key=lambda row: row["objective"])
    page = cli("review", "recipes").ok().out.strip()
    sections = (store / "reviews" / "recipes" / "encoder.yaml").read_text(encoding="utf-8")
    assert best["encoder_id"] in (store / page).read_text(encoding="utf-8")

    replayed = cli("replay", "recipes").ok().out
    assert "sweep recipes: 2 of 2 configurations gave the same again" in replayed

    pasted = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8")) | yaml.safe_load(sections)
    pasted["source"]["validation"] = ["s03", "s04", "s05"]
    selective = cli.cwd / "small.yaml"
    selective.write_text(yaml.safe_dump(pasted), encoding="utf-8")
    before = tools.tree(store, "encoders")
    assert f"encoder {best['encoder_id']}:" in cli("pretrain", selective).ok().out
    assert tools.tree(store, "encoders") == before
