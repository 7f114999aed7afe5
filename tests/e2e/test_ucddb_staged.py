"""The winner of the sweep on the real nights stages its target as the sweep did, and a nap of another laboratory."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, MakeCli

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROBABILITIES = ["p_W", "p_N1", "p_N2", "p_N3", "p_REM"]


@pytest.fixture(scope="module")
def run(ucddb_done: "Done", make_cli: "MakeCli") -> "Cli":
    return make_cli(ucddb_done.store.parent)


@pytest.fixture(scope="module")
def best(ucddb_done: "Done") -> dict[str, Any]:
    table = pq.read_table(ucddb_done.store / "sweeps/tau-ucddb/trials.parquet").to_pylist()
    rows = [row for row in table if row["kind"] == "trial"]
    chosen: dict[str, Any] = max(rows, key=lambda row: row["objective"])
    return chosen


@pytest.mark.parametrize("control", [None, "no_adapt", "all_source"])
def test_the_target_is_staged_as_the_trial_staged_it(
    ucddb_done: "Done",
    run: "Cli",
    root: Path,
    test_data: Path,
    tmp_path: Path,
    best: dict[str, Any],
    control: str | None,
) -> None:
    """Bit for bit."""
    sweep = ucddb_done.store / "sweeps/tau-ucddb"
    night = test_data / "ucddb/ucddb018.edf"
    model = "tau-ucddb" if control is None else f"tau-ucddb:{control}"
    dataset = root / "datasets/ucddb.yaml"
    done = run("predict", model, night, "--dataset-file", dataset, "--out", tmp_path).ok()
    assert "against the scorer" in done.out
    table = pq.read_table(sweep / "trials.parquet").to_pylist()
    row = best if control is None else next(r for r in table if r["arm"] == control)
    stored = pq.read_table(sweep / f"predictions/{row['signature']}.parquet").to_pandas()
    test = stored[stored["role"] == "test"]
    staged = pd.read_csv(tmp_path / "ucddb018.csv").loc[test["epoch_index"]]
    assert len(test) > 100
    for name in PROBABILITIES:
        np.testing.assert_array_equal(staged[name].to_numpy(np.float32), test[name], name)


def test_what_such_a_model_cannot_say_is_said(
    run: "Cli", root: Path, test_data: Path, tmp_path: Path, best: dict[str, Any]
) -> None:
    night = test_data / "ucddb/ucddb018.edf"
    dataset = root / "datasets/ucddb.yaml"
    done = run("predict", "tau-ucddb", night, "--dataset-file", dataset, "--out", tmp_path).ok()
    assert "The model cannot say N1, N2, REM" in done.err
    assert "was adapted to the signals, not the stages, of subject ucddb018" in done.err
    summary = json.loads((tmp_path / "ucddb018_summary.json").read_bytes())
    assert summary["model"]["name"] == f"tau-ucddb:{best['trial']}"
    assert summary["stages_the_model_cannot_say"] == ["N1", "N2", "REM"]
    assert summary["sleep"]["n2_min"] is None
    assert set(pd.read_csv(tmp_path / "ucddb018.csv")["stage"].dropna()) <= {"W", "N3", "UNS"}


def test_a_nap_of_another_laboratory(run: "Cli", test_data: Path, tmp_path: Path) -> None:
    (nap,) = (test_data / "nap").glob("*.edf")
    run("predict", "tau-ucddb", nap, "--out", tmp_path).fails(
        3, "The model wants eeg: EEG or C3A2; the recording has 'EEG F3'"
    )
    channel = ("--channel", "eeg=EEG C3")
    done = run("predict", "tau-ucddb", nap, *channel, "--out", tmp_path).ok()
    assert "The model cannot say N1, N2, REM" in done.err
    summary = json.loads((tmp_path / f"{nap.stem}_summary.json").read_bytes())
    assert summary["scorer"]["agreement"]["n_epochs"] > 50
    assert summary["subject"] is None
    assert (tmp_path / f"{nap.stem}.png").read_bytes().startswith(b"\x89PNG")
