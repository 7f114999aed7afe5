"""A trial leaves an encoder where a selective sweep finds it, and predictions without having seen a stage of theirs."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import DataError
from orchestrator.labels import LabelGate
from orchestrator.method import Order
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.plan.pretraining import plan_pretraining
from orchestrator.methods.pretrain.trial import pretraining as trial
from orchestrator.methods.pretrain.trial.encoder import ensure_encoder, stored_encoder
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import UnlabelledEpochs
from orchestrator.telemetry.events import EventLog, read_events
from trainables import inference, selective
from trainables.stages import Stage
from trainables.weights import classifier_from_bytes

MakePretrain = Callable[..., PretrainSweep]
pytestmark = pytest.mark.usefixtures("two_sites")

PARAMS = {"learning_rate": 2e-3, "batch_size": 16}


def run(inputs: trial.TrialInputs) -> str:
    """Train the trial with ``PARAMS`` and return its signature."""
    configured = trial.configured(inputs, "t000", PARAMS)
    trial.train(Order(inputs=inputs, trial=configured))
    return configured.signature


def inputs_of(store: Store, sweep: PretrainSweep) -> trial.TrialInputs:
    with EventLog(store, "events.jsonl") as log:
        return trial.trial_inputs(store, plan_pretraining(sweep, store), LabelGate(store, log))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what the first test trains is kept for the others."""
    return tmp_path_factory.mktemp("trained") / "store"


@pytest.fixture
def trained(kept: Path, store: Store, make_pretrain: MakePretrain) -> tuple[trial.TrialInputs, str]:
    """Inputs and name of a trial that has run in the store."""
    inputs = inputs_of(store, make_pretrain())
    if kept.exists():
        shutil.copytree(kept, store.uri, dirs_exist_ok=True)
    else:
        run(inputs)
        for folder in ("encoders", "sweeps"):
            shutil.copytree(Path(store.uri, folder), kept / folder)
    return inputs, trial.configured(inputs, "t000", PARAMS).signature


@pytest.fixture
def n_pretrained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each pretraining."""
    done: list[int] = []
    pretrain = selective.pretrain

    def spy(*arguments: Any, **options: Any) -> Any:
        done.append(1)
        return pretrain(*arguments, **options)

    monkeypatch.setattr(selective, "pretrain", spy)
    return done


@pytest.mark.heavy
def test_a_selective_sweep_finds_the_encoder_and_does_not_pretrain(
    trained: tuple[trial.TrialInputs, str],
    make_sweep: Callable[..., SelectiveSweep],
    store: Store,
    tmp_path: Path,
    n_pretrained: list[int],
) -> None:
    _, name = trained
    n_before = len(n_pretrained)
    assert not store.exists(paths.encoder_checkpoint(name))
    pasted = "pretrain: {n_passes: 2, batch_size: 16, learning_rate: 0.002}"
    sweep = make_sweep(more_search=pasted)
    encoder = ensure_encoder(store, plan_sweep(sweep, store).encoder_request())
    assert encoder.encoder_id == name
    assert len(n_pretrained) == n_before
    # Pretrained by a selective sweep, it has the same bytes.
    other = Store.open(str(tmp_path / "other"))
    for path in store.files("epochs"):
        other.write_bytes(path, store.read_bytes(path))
    again = ensure_encoder(other, plan_sweep(sweep, other).encoder_request())
    assert len(n_pretrained) == n_before + 1
    assert again.weights == encoder.weights


@pytest.mark.heavy
def test_nothing_is_trained_or_predicted_twice(
    trained: tuple[trial.TrialInputs, str], store: Store, n_pretrained: list[int]
) -> None:
    inputs, name = trained
    n_before = len(n_pretrained)
    whole = trial.configured(inputs, "t001", {"learning_rate": 2e-3, "batch_size": 16.0})
    assert (whole.signature, whole.stored) == (name, (name,))
    path = paths.predictions("probe", name)
    first = store.read_bytes(path)
    store.delete(path)
    assert run(inputs) == name  # the encoder is there, the predictions are not
    assert store.read_bytes(path) == first
    store.delete(paths.encoder_json(name))
    assert run(inputs) == name  # the predictions are there
    assert len(n_pretrained) == n_before


@pytest.mark.heavy
def test_predictions_are_of_the_held_out_subjects_that_do_not_stop_training(
    trained: tuple[trial.TrialInputs, str], store: Store
) -> None:
    inputs, name = trained
    table = store.read_table(paths.predictions("probe", name))
    assert table["role"].to_pylist() == ["objective"] * 16
    assert table["epoch_index"].to_pylist() == list(range(16))  # of v2; v1 has 8
    # What the arm without adaptation of a selective sweep predicts, to the last bit.
    torch.set_num_threads(1)
    model = classifier_from_bytes(stored_encoder(store, name).weights)
    expected = inference.predict(model, inputs.objective_epochs.x, declared=tuple(Stage))
    found = np.stack([table[f"p_{stage.name}"].to_numpy() for stage in Stage], axis=1)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.heavy
def test_stages_are_read_of_training_and_early_stop_alone(
    trained: tuple[trial.TrialInputs, str], store: Store
) -> None:
    inputs, name = trained
    read = [(e["split"], e["recordings"]) for e in read_events(store, "events.jsonl")]
    assert read == [
        ("source_train", ["home/s1/s1-n1", "home/s2/s2-n1"]),
        ("source_early_stop", ["home/v1/v1-n1"]),
    ]
    assert type(inputs.objective_epochs) is UnlabelledEpochs
    assert "stage" not in " ".join(f.name for f in dataclasses.fields(UnlabelledEpochs))
    store.delete(paths.predictions("probe", name))
    run(inputs)
    assert read_events(store, "events.jsonl")[2:] == []
    events = read_events(store, paths.encoder_events(name))
    assert {event["event"] for event in events} == {"pass_done"}


def test_epochs_without_a_declared_stage_are_told_before_any_trial(
    make_pretrain: MakePretrain, store: Store
) -> None:
    inputs_of(store, make_pretrain()).check()
    stopping = inputs_of(store, make_pretrain(more="stages: [W, N3]"))
    with pytest.raises(DataError, match=r"none of the 8 early-stop epochs \(v1-n1\) is scored as"):
        stopping.check()
    training = inputs_of(store, make_pretrain(more="stages: [N1, REM]", exclude="[s1]"))
    with pytest.raises(DataError, match=r"none of the 41 training epochs \(s2-n1\) is scored as"):
        training.check()
