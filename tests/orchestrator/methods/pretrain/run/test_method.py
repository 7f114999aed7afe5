"""What a sweep of pretrainings tells of the encoders that it found in the store."""

import json
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.trial import create_trial

from orchestrator.labels import LabelGate
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.run.method import PretrainMethod
from orchestrator.store import paths
from orchestrator.store.provenance import this_code
from orchestrator.store.store import Store, sha256
from orchestrator.sweeps import loop
from orchestrator.sweeps.epochs import predictions_table
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.search.tuning import SearchResult
from orchestrator.telemetry.events import EventLog

CODES = {"e0": "b" * 64, "e1": this_code().trainables_sha256, "e2": "b" * 64}
"""Trials by their encoders, and the hash of what trained these."""


def search_here(run: Run, search: Any, *, inputs_ref: Any, **_: Any) -> SearchResult:
    """Find all encoders in the store."""
    epochs = inputs_ref[0].objective_epochs
    for encoder_id, trainables_sha256 in CODES.items():
        about = {
            "code": {"commit": None, "dirty": None, "trainables_sha256": trainables_sha256},
            "weights_sha256": sha256(b"w"),
            **{"n_passes": 5, "best_pass": 3, "n_steps": 40, "early_stop_macro_f1": 0.5},
            **{"n_train_epochs": 9, "train_stage_counts": {}, "learned_stages": []},
        }
        run.store.write_bytes(paths.encoder_json(encoder_id), json.dumps(about).encode())
        run.store.write_bytes(paths.encoder_weights(encoder_id), b"w")
        nothing = np.zeros((len(epochs.x), 5), np.float32)
        table = predictions_table("objective", epochs.recording, epochs.epoch_index, nothing)
        run.store.write_table(paths.predictions("probe", encoder_id), table)
    trials = [
        create_trial(value=0.5, user_attrs={"trial": f"t00{i}", "signature": encoder_id})
        for i, encoder_id in enumerate(CODES)
    ]
    return SearchResult(trials=trials, front=set())


@pytest.mark.usefixtures("two_sites")
def test_encoders_of_other_code_are_told_at_the_end(
    make_pretrain: Callable[..., PretrainSweep], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "run_search", search_here)
    monkeypatch.setattr(loop, "ray", SimpleNamespace(put=lambda value: value))
    sweep = make_pretrain()
    with EventLog(store, paths.sweep_events("probe")) as log:
        run = Run(store=store, sweep=sweep, log=log, halt=Halt())
        method = PretrainMethod(store, sweep)
        loop.run_method(method, LabelGate(store, log), run)
        (told,) = (e for e in log.events() if e["event"] == "encoder_of_other_code")
    manifest = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    assert manifest["code"] == told["began_with"] == asdict(this_code())
    assert told["encoders"] == ["e0", "e2"]
    assert told["trained_by"]["trainables_sha256"] == "b" * 64
