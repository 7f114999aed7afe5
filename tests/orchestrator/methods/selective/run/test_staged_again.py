"""A kept model stages the target's recordings, one by one, as its trial predicted them together."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from orchestrator.labels import LabelGate
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.methods.selective.run.method import SelectiveMethod
from orchestrator.methods.selective.run.predictions import joined
from orchestrator.predict.many import stage_stored
from orchestrator.predict.model import load_model
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from tests.orchestrator.methods.selective.scored import score_here
from tests.orchestrator.sweeps.in_process import run_here
from trainables.stages import STAGE_NAMES

pytestmark = pytest.mark.heavy

MORE = """\
  max_concurrent: 1
  enqueue_taus: [0.5]
pretrain: {n_passes: 1, batch_size: 8, min_passes: 1, n_full_rate_passes: 1}
arms: [no_adapt, all_source]
keep_models: all
"""
BATCH = 64
"""Epochs that a trial and a kept model predict at a time."""
FEWEST = 16
"""With fewer in the last batch of a trial, its last bits are others than those of the same epochs in a larger one."""
ROUNDING = 2.0**-22
"""Most that a probability may then differ."""


@pytest.mark.parametrize("adapt_to", ["target", "subject"])
def test_stored_recordings_are_staged_bit_for_bit_as_in_the_trial(
    adapt_to: str,
    store: Store,
    two_sites: None,
    add_night: Callable[..., None],
    make_sweep: Callable[..., SelectiveSweep],
) -> None:
    add_night("clinic", "t1", [2] * 5, recording="t1-n2")
    add_night("clinic", "t2", [0, 2] * 35)
    sweep = make_sweep(more_target=f"adapt_to: {adapt_to}", more_search=MORE)
    plan = plan_sweep(sweep, store)
    assert [len(store.read_table(r.path)) for r in plan.target_test] == [20, 5, 70]
    score_here(store, plan)
    run_here(store, sweep)
    for trial in ("arm-no_adapt", "arm-all_source", "t000", "t002"):
        said, is_exact = predicted(store, sweep, trial)
        found = staged(store, trial, plan.target_test)
        assert found.shape == said.shape == (94, 5)
        np.testing.assert_array_equal(found[is_exact], said[is_exact])
        np.testing.assert_allclose(found, said, rtol=0, atol=ROUNDING)
        assert is_exact.sum() == (94 if adapt_to == "target" or trial == "arm-no_adapt" else 88)


def staged(
    store: Store, trial: str, recordings: tuple[StoredRecording, ...]
) -> NDArray[np.float32]:
    """Return the probabilities of a kept model for all epochs that are not flat, (n, 5)."""
    model = load_model(store, f"probe:{trial}")
    nights = [stage_stored(store, recording, model).night for recording in recordings]
    return np.concatenate([night.probability[night.is_staged] for night in nights])


def predicted(
    store: Store, sweep: SelectiveSweep, trial: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the probabilities of a trial in the sweep, (n, 5), and whether an epoch was not in too small a batch."""
    method = SelectiveMethod(store, sweep)
    method.begin(LabelGate(store, EventLog(store, "elsewhere.jsonl")), store)
    rows = {row["trial"]: row for row in store.read_table(paths.sweep_trials("probe")).to_pylist()}
    params = {name: rows[trial][name] for name in ("tau_quantile", "learning_rate")}
    stored = method.configured(trial, None if trial.startswith("arm-") else params).stored
    tables = [of_target(store.read_table(paths.predictions("probe", name))) for name in stored]
    is_exact = [
        np.arange(len(table)) < len(table) - (len(table) % BATCH) * (len(table) % BATCH < FEWEST)
        for table in tables
    ]
    table = joined(tables) if len(tables) > 1 else tables[0]
    p_ES = np.stack([table[f"p_{name}"].to_numpy() for name in STAGE_NAMES], axis=1)
    return p_ES, np.concatenate(is_exact)


def of_target(predictions: pa.Table) -> pa.Table:
    return predictions.filter(pc.equal(pc.cast(predictions["role"], pa.string()), "test"))
