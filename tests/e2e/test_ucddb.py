"""The three commands of README on the real recordings, in a shorter sweep: what they print, keep and never do."""

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, MakeCli, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

N_TRIALS = 6
ARMS = ("arm-all_source", "arm-no_adapt", "arm-random")


@pytest.fixture(scope="module")
def sweep_folder(ucddb_done: "Done") -> Path:
    return ucddb_done.store / "sweeps" / "tau-ucddb"


@pytest.fixture(scope="module")
def review_folder(ucddb_done: "Done") -> Path:
    return ucddb_done.store / "reviews" / "tau-ucddb"


@pytest.fixture(scope="module")
def rows(sweep_folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of the final table by trial."""
    table = pq.read_table(sweep_folder / "trials.parquet").to_pylist()
    return {row["trial"]: row for row in table}


@pytest.fixture(scope="module")
def trials(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows.values() if row["kind"] == "trial"]


@pytest.fixture(scope="module")
def manifest(sweep_folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((sweep_folder / "manifest.json").read_bytes())
    return content


@pytest.fixture(scope="module")
def events(sweep_folder: Path) -> list[dict[str, Any]]:
    """Events of the sweep, oldest first."""
    return [
        json.loads(line)
        for line in (sweep_folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_commands_end_well_and_say_where_things_are(
    ucddb_done: "Done", sweep_folder: Path, review_folder: Path
) -> None:
    ingest, sweep, review = ucddb_done.results
    assert "ucddb: 13 recordings of 13 subjects in the store (13 converted" in ingest.out
    assert sweep.out.splitlines()[-2:] == [
        str(sweep_folder / "trials.parquet"),
        "next: orchestrator review tau-ucddb",
    ]
    assert review.out.splitlines()[-1] == str(review_folder / "review.html")


def test_nothing_but_progress_is_on_standard_error(ucddb_done: "Done") -> None:
    step = re.compile(
        r"(ingest ucddb|pretrain|encode afr_gap|score|arms|trials) \d+/\d+ \S.*"
        r"|warning: amplitudes of ucddb010 are implausible .*"  # so they are
    )
    lines = [line for result in ucddb_done.results for line in result.err.splitlines()]
    assert [line for line in lines if not step.fullmatch(line)] == []
    assert sum(line.startswith("trials ") for line in lines) == N_TRIALS


def test_batches_and_roles(manifest: dict[str, Any], sweep_folder: Path) -> None:
    assert (manifest["n_source_batches"], manifest["n_selectable"]) == (110, 98)
    assert manifest["n_target_batches"] == 25
    assert manifest["validation_subjects"] == ["ucddb010", "ucddb019"]
    assert manifest["target_subjects"] == ["ucddb018"]
    assert manifest["transductive"] is True
    assert manifest["declared_stages"] == ["W", "N3"]
    # The metric counts W and N3 of the target, the distance all of its epochs.
    assert manifest["n_target_epochs"] == 822
    assert manifest["target_evaluation_epochs"] == 328 + 137
    assert manifest["target_stage_counts"] == {
        "W": 328, "N1": 58, "N2": 280, "N3": 137, "REM": 19,
    }  # fmt: skip
    batches = pq.read_table(sweep_folder / "batches.parquet").to_pylist()
    assert len(batches) == 110
    held_out = {b["subject"] for b in batches if not b["selectable"]}
    assert held_out == {"ucddb010", "ucddb019"}
    assert {b["n"] for b in batches} == {32}
    assert all(b["W"] + b["N3"] == 32 for b in batches)
    assert all(b["reward"] == 1 / b["emd"] for b in batches)


def test_trials_and_three_arms(
    rows: dict[str, dict[str, Any]], trials: list[dict[str, Any]]
) -> None:
    assert sorted(rows) == [*ARMS, *(f"t{i:03d}" for i in range(N_TRIALS))]
    assert all(row["state"] == "complete" and row["error"] is None for row in rows.values())
    assert [(t["tau_quantile"], t["learning_rate"]) for t in trials if t["enqueued"]] == [
        (tau, 1e-4) for tau in (0, 0.25, 0.5, 0.75, 0.9)
    ]
    assert {row["n_steps"] for row in rows.values()} == {0, 30}
    assert [name for name, row in rows.items() if row["n_steps"] == 0] == ["arm-no_adapt"]
    assert all(0 <= row["objective"] <= 1 for row in rows.values())
    assert all(0 <= row["target_macro_f1"] <= 1 for row in rows.values())


def test_a_tau_keeps_the_batches_with_a_reward_above_it(
    trials: list[dict[str, Any]], sweep_folder: Path
) -> None:
    batches = pq.read_table(sweep_folder / "batches.parquet").to_pylist()
    rewards = [b["reward"] for b in batches if b["selectable"]]
    for row in trials:
        assert sum(reward > row["tau_absolute"] for reward in rewards) == row["n_kept"]
        assert row["n_selectable"] == 98
        assert row["kept_W"] + row["kept_N3"] == 32 * row["n_kept"]
    kept = {row["tau_quantile"]: row["n_kept"] for row in trials if row["enqueued"]}
    assert kept == {0: 98, 0.25: 74, 0.5: 49, 0.75: 25, 0.9: 10}  # ceil((1 - p) * 98)


def test_tau_quantile_0_is_the_arm_all_source(rows: dict[str, dict[str, Any]]) -> None:
    (everything,) = [r for r in rows.values() if r["enqueued"] and r["tau_quantile"] == 0]
    arm = rows["arm-all_source"]
    same = ("n_kept", "kept_W", "kept_N3", "objective", "target_macro_f1", "signature", "n_steps")
    assert {key: everything[key] for key in same} == {key: arm[key] for key in same}
    assert rows["arm-random"]["n_kept"] == 49
    assert rows["arm-no_adapt"]["n_kept"] == 0


def test_label_ledger(events: list[dict[str, Any]]) -> None:
    ledger = [e for e in events if e["event"].startswith("labels_")]
    assert all(e["event"] == "labels_read" for e in ledger), "a reading was refused"
    test = [e for e in ledger if e["split"] == "target_test"]
    assert [e["recordings"] for e in test] == [["ucddb/ucddb018/ucddb018"]]
    last_trial = max(i for i, e in enumerate(events) if e["event"] == "trial_done")
    assert events.index(test[0]) > last_trial
    assert sum(e["event"] == "trial_done" for e in events) == N_TRIALS
    tested = [e["trial"] for e in events if e["event"] == "trial_tested"]  # each once, with those
    assert len(tested) == len(set(tested)) == N_TRIALS + 3
    first_tested = next(i for i, e in enumerate(events) if e["event"] == "trial_tested")
    assert first_tested > events.index(test[0])
    others = [name for e in ledger if e not in test for name in e["recordings"]]
    assert "ucddb/ucddb018/ucddb018" not in others
    # What is learned from and what is judged on are disjoint.
    read = {
        split: {r for e in ledger if e["split"] == split for r in e["recordings"]}
        for split in ("source_train", "source_validation")
    }
    assert len(read["source_train"]) == 10
    assert not read["source_train"] & read["source_validation"]


def test_pretraining_saw_training_subjects_only(
    ucddb_done: "Done", manifest: dict[str, Any]
) -> None:
    folder = ucddb_done.store / "encoders" / manifest["encoder_id"]
    ledger = [
        e
        for e in map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
        if e["event"] == "labels_read"
    ]
    assert [e["split"] for e in ledger] == ["source_train", "source_early_stop"]
    assert not {"ucddb/ucddb018/ucddb018", "ucddb/ucddb010/ucddb010"} & set(ledger[0]["recordings"])
    assert ledger[1]["recordings"] == ["ucddb/ucddb010/ucddb010"]
    assert manifest["pretrain"]["source_val_macro_f1"] > (
        manifest["pretrain"]["majority_macro_f1"] + 0.15
    )


def test_tau_curve_csv(review_folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    with (review_folder / "tau_curve.csv").open(newline="", encoding="utf-8") as file:
        curve = list(csv.DictReader(file))
    assert sorted(row["trial"] for row in curve) == sorted(rows)
    line = [row for row in curve if row["enqueued"] == "true" and row["kind"] == "trial"]
    assert [float(row["tau_quantile"]) for row in line] == [0, 0.25, 0.5, 0.75, 0.9]
    for row in curve:
        assert float(row["target_macro_f1"]) == rows[row["trial"]]["target_macro_f1"]
        assert float(row["objective"]) == rows[row["trial"]]["objective"]
        assert int(row["n_kept"]) == rows[row["trial"]]["n_kept"]


def test_page_needs_no_other_file(review_folder: Path) -> None:
    page = (review_folder / "review.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "data:image/png;base64," in page
    references = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert all(r.startswith(("data:", "#")) for r in references), references
    assert "<script" not in page
    assert "transductive" in page.lower()
    assert "oracle_" not in page


@pytest.mark.slow  # tests/e2e/test_demo.py does it with made-up recordings
def test_the_same_commands_again_change_nothing(
    ucddb_done: "Done", make_cli: "MakeCli", test_data: Path, root: Path, tools: "type[Tools]"
) -> None:
    def written() -> dict[Path, int]:
        files = (p for p in ucddb_done.store.rglob("*") if p.is_file())
        return {p: p.stat().st_mtime_ns for p in files if "reviews" not in p.parts}

    before = written()
    run = make_cli(ucddb_done.store.parent)
    ingest = run("ingest", root / "datasets" / "ucddb.yaml", "--data", test_data / "ucddb").ok()
    assert "0 converted, 13 already done" in ingest.out
    sweep = run("sweep", ucddb_done.store.parent / "tau-ucddb.yaml").ok()
    assert sweep.out == ucddb_done.results[1].out
    pages = ucddb_done.store / "reviews"
    pictures = tools.tree(pages, ".")
    run("review", "tau-ucddb").ok()
    assert tools.tree(pages, ".") == pictures
    assert written() == before
