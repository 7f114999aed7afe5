import json
import math
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.methods.selective.results import BatchRow
from orchestrator.methods.selective.review.records import read_manifest, read_trials
from orchestrator.tables.rows import read_rows


def test_null_and_nan_become_none_and_an_infinite_reward_stays(made: Any) -> None:
    (trial,) = read_trials([made.trial_row(objective=math.nan, target_kappa=None)])
    (batch,) = read_rows(BatchRow, [made.batch_row(emd=0.0)], "batches.parquet")
    assert (trial.objective, trial.target_kappa) == (None, None)
    assert batch.reward == math.inf


def test_missing_column_is_named(made: Any) -> None:
    row = made.trial_row()
    del row["target_macro_f1"]
    with pytest.raises(DataError, match=r"trials\.parquet .* lacks 'target_macro_f1'"):
        read_trials([row])


def test_an_arm_of_another_version_is_named(made: Any) -> None:
    with pytest.raises(
        DataError, match=r"trials\.parquet .* the arm 'tent', so another version .* lowest\."
    ):
        read_trials([made.trial_row("arm-tent", kind="arm", arm="tent")])


def test_missing_manifest_key_is_named() -> None:
    with pytest.raises(DataError, match=r"manifest\.json .* lacks 'name', 'method'"):
        read_manifest(json.dumps({}).encode())
