"""A subject whose stages are noise: the fold that tests it is trained and predicts as with those of a scorer."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.store import Store
from tests.orchestrator.sweeps.in_process import run_here
from tests.orchestrator.sweeps.noise import with_noise

pytestmark = pytest.mark.heavy

SEARCH = """\
adversary: {domains: group}
keep_models: all
search:
  n_trials: 2
  max_concurrent: 1
  space:
    alpha_y: {uniform: [0, 1]}
  enqueue: [{alpha_y: 0.3}, {alpha_y: 0.9}]
"""
NAMES = ("row-naivemg-seed1", "t000", "t001")
TESTED_TOGETHER = [["a", "b"], ["c", "d"], ["e", "f"]]
"""Subjects of each fold. Subject ``a`` is tested in fold 0, learned from in 1, and stops the training of 2."""


@pytest.fixture
def stores(
    store: Store,
    add_subject: Callable[..., None],
    make_sweep: Callable[..., SleepMGSweep],
    tmp_path: Path,
) -> tuple[Store, Store]:
    """The same sweep, finished with the stages of a scorer, and with noise for subject ``a``."""
    for subject in "abcdef":
        add_subject(subject)
    noisy = with_noise(store, tmp_path / "noisy", "home", ("a",))
    sweep = make_sweep(folds="{kind: k_fold, n_folds: 3, n_validation: 1}", more=SEARCH)
    for each in (store, noisy):
        table = run_here(each, sweep)
        assert (table["trial"].to_pylist(), set(table["state"].to_pylist())) == (
            list(NAMES),
            {"complete"},
        )
    return store, noisy


def test_noise_in_the_stages_of_a_subject_changes_all_folds_but_the_one_that_tests_it(
    stores: tuple[Store, Store],
) -> None:
    for of_fold in (weights, predictions, modalities):
        for name in NAMES:
            # What stops the training need not end with the weights of another pass.
            assert {1} <= changed(stores, partial(of_fold, name=name)) <= {1, 2}
    assert changed(stores, records) == {1, 2}


def changed(stores: tuple[Store, Store], of_fold: Callable[..., Any]) -> set[int]:
    """Return the folds in which something differs between the two stores."""
    true, noise = stores
    return {fold for fold in range(3) if of_fold(true, fold=fold) != of_fold(noise, fold=fold)}


def weights(store: Store, name: str, fold: int) -> bytes:
    return store.read_bytes(f"{paths.model_folder('probe', name)}/seed-1_fold-{fold}.safetensors")


def predictions(store: Store, name: str, fold: int) -> pa.Table:
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    (signature,) = (row["signature"] for row in rows if row["trial"] == name)
    table = store.read_table(paths.predictions("probe", signature))
    return table.filter(pc.equal(table["fold"], fold))


def modalities(store: Store, name: str, fold: int) -> pa.Table:
    """Return scores, ratios and coefficients of each pass."""
    table = store.read_table(paths.sweep_modalities("probe"))
    return table.filter(pc.and_(pc.equal(table["trial"], name), pc.equal(table["fold"], fold)))


def records(store: Store, fold: int) -> list[str]:
    """Return what is known of the trained folds with the same test subjects, but for the id of the epochs."""
    found = [read_json(store, path) for path in store.files("folds") if path.endswith(".json")]
    mine = [one for one in found if one["test"] == TESTED_TOGETHER[fold]]
    assert len(mine) == len(NAMES)
    assert all(one.pop("data_id") for one in mine)
    return sorted(json.dumps(one) for one in mine)
