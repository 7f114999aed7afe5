"""What an encoder depends on; that a pretraining goes on; and that what keeps it from that is a named error."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.errors import DataError, IntegrityError
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.trial import encoder as encoder_module
from orchestrator.methods.pretrain.trial.encoder import ensure_encoder, stored_encoder
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.provenance import this_code
from orchestrator.store.store import Store, sha256
from orchestrator.telemetry.events import read_events
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage

MakeSweep = Callable[..., SelectiveSweep]
pytestmark = pytest.mark.usefixtures("two_sites")


def test_early_stop_subject_without_a_declared_stage_is_named(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(more_search="stages: [W, N3]"), store)
    with pytest.raises(DataError, match=r"pretraining failed: .*stops early on v1-n1") as caught:
        ensure_encoder(store, plan.encoder_request())
    assert caught.value.exit_code == 3
    assert not store.exists(paths.encoder_json(plan.encoder_request().encoder_id))


def test_id_depends_on_training_epochs_seed_and_settings(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(), store)
    changed = replace(plan.train[0], epochs_sha256="0" * 64)
    others = [
        replace(plan, train=(changed, *plan.train[1:])),
        plan_sweep(make_sweep(more_search="seed: 2"), store),
        plan_sweep(make_sweep(more_search="pretrain: {n_passes: 3}"), store),
    ]
    ids = [p.encoder_request().encoder_id for p in (plan, *others)]
    assert len(set(ids)) == len(ids)
    assert plan_sweep(make_sweep(), store).encoder_request().encoder_id == ids[0]


def test_the_ids_of_stored_encoders_stay_what_they_are() -> None:
    train, other, stop = (
        StoredRecording(dataset="d", subject=c, recording=c, epochs_sha256=c * 64) for c in "abc"
    )
    request = EncoderRequest(
        encoder=EncoderSettings(),
        pretrain=PretrainSettings(),
        stages=(Stage.W, Stage.N3),
        modality="eeg",
        seed=1,
        train=(train, other),
        early_stop=(stop,),
    )
    assert request.encoder_id == "4d2d50aad698040e"


class Killed(BaseException):
    pass


@pytest.mark.heavy
def test_a_pretraining_that_was_killed_goes_on_to_the_same_weights(
    make_sweep: MakeSweep, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "CHECKPOINT_INTERVAL_S", 0.0)
    pretrain = "pretrain: {n_passes: 3, batch_size: 8, patience: 3}"
    request = plan_sweep(make_sweep(more_search=pretrain), store).encoder_request()
    request = replace(request, train=request.train[:1])
    name, other = request.encoder_id, Store.open(str(tmp_path / "other"))
    for path in store.files("epochs"):
        other.write_bytes(path, store.read_bytes(path))
    write, n_saved = Store.write_bytes, 0

    def write_five(self: Store, path: str, data: bytes) -> None:
        nonlocal n_saved
        if path == paths.encoder_checkpoint(name):
            n_saved += 1
            if n_saved == 6:  # in the second pass of four steps
                raise Killed
        write(self, path, data)

    monkeypatch.setattr(Store, "write_bytes", write_five)
    with pytest.raises(Killed):
        ensure_encoder(other, request)
    monkeypatch.setattr(Store, "write_bytes", write)
    assert other.exists(paths.encoder_checkpoint(name))
    assert not other.exists(paths.encoder_json(name))
    whole, resumed = ensure_encoder(store, request), ensure_encoder(other, request)
    assert resumed.weights == whole.weights
    assert resumed.metadata == whole.metadata
    assert whole.metadata["code"] == asdict(this_code())
    assert not other.exists(paths.encoder_checkpoint(name))
    passes = [
        event["n_passes"]
        for event in read_events(other, paths.encoder_events(name))
        if event["event"] == "pass_done"
    ]
    assert passes == [1, 2, 3]


@pytest.mark.heavy
def test_a_checkpoint_that_cannot_be_read_is_named(make_sweep: MakeSweep, store: Store) -> None:
    request = plan_sweep(make_sweep(), store).encoder_request()
    path = paths.encoder_checkpoint(request.encoder_id)
    store.write_bytes(path, b"damaged")
    with pytest.raises(DataError, match="Remove it, and the training starts again") as caught:
        ensure_encoder(store, request)
    assert str(caught.value).startswith(store.uri_of(path))


@pytest.mark.parametrize("weights", [None, b"", b"other ones"])
def test_weights_that_are_missing_or_others_are_named(store: Store, weights: bytes | None) -> None:
    about = {
        "weights_sha256": sha256(b"weights"),
        **dict.fromkeys(("n_train_epochs", "n_steps", "n_passes", "best_pass"), 1),
        "train_stage_counts": {},
        "learned_stages": [],
        "early_stop_macro_f1": 0.5,
    }
    store.write_bytes(paths.encoder_json("e"), json.dumps(about).encode())
    store.write_bytes(paths.encoder_weights("e"), b"weights")
    assert stored_encoder(store, "e").weights == b"weights"
    store.delete(paths.encoder_weights("e"))
    if weights is not None:
        store.write_bytes(paths.encoder_weights("e"), weights)
    with pytest.raises(IntegrityError, match=r"weights\.safetensors (is missing|does not)"):
        stored_encoder(store, "e")
