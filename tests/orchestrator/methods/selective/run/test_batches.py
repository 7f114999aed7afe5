"""Source batches as arrays: the right signals and stages, in the order of the batch ids."""

from collections.abc import Callable

import numpy as np

from orchestrator.labels import LabelGate, Split
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.methods.selective.run.batches import batch_signals, batch_stages
from orchestrator.psg.feed import read_signals
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog

MakeSweep = Callable[..., SelectiveSweep]


def test_batches_come_in_the_order_of_their_ids(
    two_sites: None, make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(), store)
    batches = [plan.source_batches[i] for i in plan.selectable]
    x = batch_signals(store, plan.train, batches, "eeg")
    gate = LabelGate(store, EventLog(store, "events.jsonl"))
    stages = batch_stages(gate, plan.train, batches, 8, Split.SOURCE_TRAIN, "test")
    assert x.shape == (8, 8, 1, 3000)
    assert stages.shape == (8, 8)
    by_subject = {r.subject: r for r in plan.train}
    for batch, batch_x, batch_stage in zip(batches, x, stages, strict=True):
        recording = by_subject[batch.subject]
        own = read_signals(store, recording, "eeg", batch.epochs)
        np.testing.assert_array_equal(batch_x, own)
        truth = store.read_table(recording.path)["stage"].to_numpy()[batch.epochs]
        assert batch_stage.tolist() == truth.tolist()
        assert batch_stage.min() >= 0


def test_held_out_subjects_may_give_no_batch(store: Store) -> None:
    gate = LabelGate(store, EventLog(store, "events.jsonl"))
    stages = batch_stages(gate, [], [], 8, Split.SOURCE_VALIDATION, "test")
    assert stages.shape == (0, 8)
    assert stages.dtype == np.int64
