import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.methods.sleepmg.review.records import read_manifest, read_sweep
from orchestrator.reviews.parameters import Range
from orchestrator.store import paths
from orchestrator.store.store import Store


@pytest.mark.heavy
def test_tables_come_back_as_written(made: Any, save_sweep: Callable[[Any], Store]) -> None:
    manifest, lab = made.search()
    sweep = read_sweep(save_sweep((manifest, lab)), "balance")
    assert sweep == made.sweep(manifest, lab.tables)
    assert sweep.manifest.space["grl_weight"] == Range(low=0.001, high=1.0, log=True)
    assert sweep.folds[0].test_subjects == ("s01", "s04", "s07", "s10")


def test_nan_is_no_value(made: Any, save_sweep: Callable[[Any], Store]) -> None:
    tables = {
        "trials": [made.trial_row(test_kappa=math.nan, domain_accuracy=None)],
        "modalities": [made.modality_row(score_d=math.nan, rho_d=None)],
    }
    sweep = read_sweep(save_sweep((made.manifest_json(), tables)), "balance")
    assert (sweep.trials[0].test_kappa, sweep.trials[0].domain_accuracy) == (None, None)
    assert (sweep.modalities[0].score_d, sweep.modalities[0].rho_d) == (None, None)


def test_a_sweep_of_another_version_is_named(made: Any, save_sweep: Callable[[Any], Store]) -> None:
    store = save_sweep(made.search())
    store.write_table(
        paths.sweep_modalities("balance"),
        store.read_table(paths.sweep_modalities("balance")).drop_columns(["pass", "k_d"]),
    )
    with pytest.raises(DataError, match=r"modalities\.parquet .* lacks 'pass', 'k_d'"):
        read_sweep(store, "balance")
    stored = made.manifest_json()
    del stored["majority"]["macro_f1"]
    with pytest.raises(DataError, match=r"manifest\.json .* lacks 'macro_f1'"):
        read_manifest(json.dumps(stored).encode())
