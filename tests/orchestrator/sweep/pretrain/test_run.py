"""What a sweep of pretrainings tells of the encoders that it found in the store."""

import json
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from orchestrator.config.pretrain import PretrainSweep
from orchestrator.labels import LabelGate
from orchestrator.store import paths
from orchestrator.store.provenance import this_code
from orchestrator.store.store import Store
from orchestrator.sweep.execution import Run
from orchestrator.sweep.halt import Halt
from orchestrator.sweep.pretrain import run as pretrain_run
from orchestrator.sweep.pretrain import trial
from orchestrator.sweep.tuning import Found
from orchestrator.telemetry.events import EventLog, read_events

PARAMS = ({"learning_rate": 2e-3, "batch_size": 32}, {"learning_rate": 1e-3, "batch_size": 32})


def search_here(run: Run, search: Any, *, inputs_ref: Any, **_: Any) -> Found:
    """Run two trials in this process."""
    between = {
        "learning_rate": FloatDistribution(1e-4, 1e-2),
        "batch_size": IntDistribution(16, 64),
    }
    trials = []
    for i, params in enumerate(PARAMS):
        signature = trial.run(inputs_ref[0], params)
        about = {"trial": f"t{i:03d}", "signature": signature}
        trials.append(
            optuna.trial.create_trial(
                params=dict(params), distributions=between, value=0.5, user_attrs=about
            )
        )
    return Found(trials=trials, front=set())


@pytest.mark.usefixtures("two_sites")
def test_an_encoder_that_other_code_trained_is_told_at_the_end(
    make_pretrain: Callable[..., PretrainSweep], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_run, "run_search", search_here)
    monkeypatch.setattr(pretrain_run, "ray", SimpleNamespace(put=lambda value: value))
    sweep = make_pretrain()
    with EventLog(store, paths.sweep_events("probe")) as log:
        run = Run(store=store, sweep=sweep, log=log, halt=Halt())
        table = pretrain_run.PretrainRun(store, sweep).run(LabelGate(store, log), run)
        ours, found = table["encoder_id"].to_pylist()
        assert "encoder_of_other_code" not in {event["event"] for event in log.events()}
        path = paths.encoder_json(found)
        content = json.loads(store.read_bytes(path))
        assert content["code"] == asdict(this_code())
        content["code"]["trainables_sha256"] = "b" * 64
        store.write_bytes(path, json.dumps(content).encode())
        pretrain_run.PretrainRun(store, sweep).run(LabelGate(store, log), run)
    manifest = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    assert manifest["code"] == asdict(this_code())
    (told,) = (
        event
        for event in read_events(store, paths.sweep_events("probe"))
        if event["event"] == "encoder_of_other_code"
    )
    assert told["encoders"] == [found] != [ours]
    assert told["trained_by"] == content["code"]
    assert told["began_with"] == manifest["code"]
