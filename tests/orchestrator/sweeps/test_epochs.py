"""Signals joined with stages: the right epochs, the right stage for each, and none for the target."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.labels import LabelGate, Split
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import SweepPlan, plan_sweep
from orchestrator.psg.feed import StoredRecording, stored_recordings
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import (
    UnlabelledEpochs,
    labelled_epochs,
    predictions_table,
    unlabelled_epochs,
)
from orchestrator.sweeps.objective import Judge
from orchestrator.telemetry.events import EventLog, read_events
from trainables.stages import Stage

MakeSweep = Callable[..., SelectiveSweep]

STEP_UV, CENTER_UV, SPREAD_UV = 0.5, 1.0, 20.0  # of the nights that conftest.py makes


@pytest.fixture
def plan(two_sites: None, make_sweep: MakeSweep, store: Store) -> SweepPlan:
    return plan_sweep(make_sweep(), store)


@pytest.fixture
def gate(store: Store) -> LabelGate:
    return LabelGate(store, EventLog(store, "events.jsonl"))


def scaled(store: Store, recording: StoredRecording) -> NDArray[np.float32]:
    """(n_epochs, 1, 3000), straight from the file."""
    column = store.read_table(recording.path)["eeg"].combine_chunks()
    counts = column.storage.flatten().to_numpy().reshape(-1, 1, 3000)
    return np.asarray((counts * STEP_UV - CENTER_UV) / SPREAD_UV, np.float32)


def test_labelled_epochs_are_the_usable_ones(
    plan: SweepPlan, gate: LabelGate, store: Store
) -> None:
    epochs = labelled_epochs(store, gate, plan.train, "eeg", Split.SOURCE_TRAIN, "test")
    assert len(epochs.x) == len(epochs.stages) == 29 + 41
    assert epochs.stages.min() >= 0
    assert epochs.recording.tolist() == [0] * 29 + [1] * 41
    assert epochs.epoch_index[:6].tolist() == [1, 2, 3, 4, 7, 8]
    assert epochs.stages[:6].tolist() == [1, 2, 3, 4, 2, 0]
    raw = scaled(store, plan.train[0])[epochs.epoch_index[:29]]
    np.testing.assert_allclose(epochs.x[:29], raw, rtol=1e-5, atol=1e-5)
    (event,) = read_events(store, "events.jsonl")
    assert event["split"] == "source_train"
    assert event["recordings"] == ["home/s1/s1-n1", "home/s2/s2-n1"]


@pytest.mark.parametrize("split", list(Split))
def test_nothing_unlabelled_comes_through_the_gate(
    plan: SweepPlan, gate: LabelGate, store: Store, add_night: Callable[..., None], split: Split
) -> None:
    """Neither to be learned from, nor to stop a training, nor to be judged by, whoever asks."""
    add_night("ward", "n1", [-1] * 6)
    add_night("ward", "n2", [0, 1, -1, 2, 3, 4])
    mixed = stored_recordings(store, "ward")
    assert [recording.labelled for recording in mixed] == [False, True]
    gate.end_search()
    epochs = labelled_epochs(store, gate, mixed, "eeg", split, "test")
    assert (epochs.recording.tolist(), epochs.stages.tolist()) == ([1] * 5, [0, 1, 2, 3, 4])

    again = LabelGate(store, EventLog(store, "again.jsonl"))
    again.end_search()
    judge = Judge(again, mixed, "test", tuple(Stage), split, "test")
    every = unlabelled_epochs(store, mixed, "eeg")
    certain = np.tile(np.eye(5, dtype=np.float32)[0], (len(every.x), 1))
    predictions = predictions_table("test", every.recording, every.epoch_index, certain)
    assert len(predictions) == 12
    assert judge.evaluate(predictions).n_epochs == 5
    assert list(judge.by_subject(predictions)) == ["n2"]
    assert sum(judge.stage_counts.values()) == 5


def test_epochs_to_predict_hold_no_stage(plan: SweepPlan, store: Store) -> None:
    assert [f.name for f in dataclasses.fields(UnlabelledEpochs)] == [
        "x",
        "recording",
        "epoch_index",
    ]
    epochs = unlabelled_epochs(store, plan.target_test, "eeg")
    assert len(epochs.x) == 19  # unscored ones too, but not the flat one
    assert 1 not in epochs.epoch_index
    raw = scaled(store, plan.target_test[0])[epochs.epoch_index]
    np.testing.assert_allclose(epochs.x, raw, rtol=1e-5, atol=1e-5)
