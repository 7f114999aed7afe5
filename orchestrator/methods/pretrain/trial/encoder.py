"""The source encoder of a sweep: looked up by what it depends on, or pretrained."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.errors import DataError, IntegrityError
from orchestrator.labels import LabelGate, Split
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.store import paths
from orchestrator.store.decoding import Kinds, read_json
from orchestrator.store.provenance import KEY, this_code
from orchestrator.store.store import Store, sha256
from orchestrator.sweeps.epochs import LabelledEpochs, labelled_epochs
from orchestrator.sweeps.failures import naming_checkpoint
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from trainables import inference, selective
from trainables.errors import CheckpointError, TrainableError
from trainables.stages import Stage
from trainables.surroundings import Surroundings
from trainables.training import Checkpoints, Seconds
from trainables.weights import classifier_from_bytes, classifier_to_bytes

PRETRAIN_THREADS = 2
"""Torch threads of pretraining. Fixed, because the sums inside a convolution depend on it in the last digits."""


CHECKPOINT_INTERVAL_S = 10.0
"""Seconds after which a pretraining under way is saved again, at the end of a step."""


_RECORDED: Kinds = {
    "weights_sha256": str,
    "n_train_epochs": int,
    "train_stage_counts": dict,
    "learned_stages": list,
    "n_steps": int,
    "n_passes": int,
    "best_pass": int,
    "early_stop_macro_f1": int | float,
}
"""What is read of ``encoder.json``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainEpochs:
    """What an encoder is pretrained on."""

    train: LabelledEpochs
    early_stop: LabelledEpochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """A pretrained model as stored."""

    encoder_id: str
    weights: bytes
    """Safetensors of encoder and head."""
    metadata: dict[str, Any]
    """Content of ``encoder.json``."""


def ensure_encoder(store: Store, request: EncoderRequest) -> Encoder:
    """Return an encoder, pretraining it where the store has none.

    Raises
    ------
    DataError
        It cannot be pretrained on these epochs.
    IntegrityError
        The stored weights are not those that were written.
    """
    wanted = request.encoder_id
    if not store.exists(paths.encoder_json(wanted)):
        with EventLog(store, paths.encoder_events(wanted)) as log:
            epochs = read_epochs(store, LabelGate(store, log), request)
            try:
                pretrain_encoder(store, request, epochs, log)
            except CheckpointError as error:
                raise DataError(str(error)) from error
            except TrainableError as error:
                raise DataError(
                    f"pretraining failed: {error} It learns from {', '.join(r.recording for r in request.train)} and "
                    f"stops early on {', '.join(r.recording for r in request.early_stop)}; choose other subjects, "
                    "stages or settings."
                ) from error
    return stored_encoder(store, wanted)


def stored_encoder(store: Store, encoder_id: str) -> Encoder:
    """Return an encoder that is in the store.

    Raises
    ------
    IntegrityError
        ``encoder.json`` is damaged, or the stored weights are not those that were written.
    """
    metadata = read_json(store, paths.encoder_json(encoder_id), _RECORDED)
    weights = store.read_if_there(paths.encoder_weights(encoder_id))
    if weights is None or sha256(weights) != metadata["weights_sha256"]:
        what = (
            "is missing"
            if weights is None
            else "does not have the SHA-256 that encoder.json records"
        )
        raise IntegrityError(
            f"{store.uri_of(paths.encoder_weights(encoder_id))} {what}. Remove the folder and pretrain again."
        )
    return Encoder(encoder_id=encoder_id, weights=weights, metadata=metadata)


def read_epochs(store: Store, gate: LabelGate, request: EncoderRequest) -> PretrainEpochs:
    """Read what an encoder is pretrained on."""
    return PretrainEpochs(
        train=labelled_epochs(
            store, gate, request.train, request.modality, Split.SOURCE_TRAIN, "pretraining"
        ),
        early_stop=labelled_epochs(
            store, gate, request.early_stop, request.modality, Split.SOURCE_EARLY_STOP, "early stop"
        ),
    )


def encode_with(weights: bytes, layer: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features; for Ray tasks, which get the weights by object reference. One thread."""
    torch.set_num_threads(1)
    return inference.encode(classifier_from_bytes(weights), x, layer)


def encoder_function(encoder: Encoder, layer: str) -> "partial[NDArray[np.float32]]":
    """Return a picklable function from signals to features."""
    return partial(encode_with, encoder.weights, layer)


def pretrain_encoder(
    store: Store,
    request: EncoderRequest,
    epochs: PretrainEpochs,
    log: EventLog,
    surroundings: Surroundings | None = None,
) -> Seconds:
    """Pretrain an encoder and write it to the store, going on from the last checkpoint where there is one.

    Parameters
    ----------
    store : Store
    request : EncoderRequest
    epochs : PretrainEpochs
    log : EventLog
    surroundings : Surroundings, optional
        Who is told how it goes, and who may end it.

    Returns
    -------
    Seconds
        What training took, in this process.

    Raises
    ------
    TrainableError
        It cannot be pretrained on these epochs, or not with these settings.
    """
    wanted, train, held_out = request.encoder_id, epochs.train, epochs.early_stop
    code = this_code()  # before hours in which the files may change
    checkpoint_path = paths.encoder_checkpoint(wanted)
    threads = torch.get_num_threads()
    torch.set_num_threads(PRETRAIN_THREADS)
    try:
        with (
            naming_checkpoint(store.uri_of(checkpoint_path)),
            progress("pretrain", request.pretrain.n_passes) as advance,
        ):

            def report(metrics: Any) -> None:
                log.emit("pass_done", **metrics)
                advance(f"early-stop macro-F1 {metrics['validation']:.3f}")

            outcome = selective.pretrain(
                train.x,
                train.stages,
                held_out.x,
                held_out.stages,
                declared=request.stages,
                settings=request.pretrain,
                encoder=request.encoder,
                seed=request.seed,
                report=report,
                checkpoints=Checkpoints(
                    save=lambda blob: store.write_bytes(checkpoint_path, blob),
                    every_n_steps=1,
                    min_interval_s=CHECKPOINT_INTERVAL_S,
                    resume_from=store.read_if_there(checkpoint_path),
                ),
                surroundings=surroundings,
            )
    finally:
        torch.set_num_threads(threads)
    n_channels = train.x.shape[1]
    weights = classifier_to_bytes(outcome.model, request.encoder, n_channels)
    metadata = {
        "encoder_id": wanted,
        "weights_sha256": sha256(weights),
        **request.identity,
        KEY: asdict(code),
        "train_recordings": [f"{r.dataset}/{r.subject}/{r.recording}" for r in request.train],
        "early_stop_recordings": [
            f"{r.dataset}/{r.subject}/{r.recording}" for r in request.early_stop
        ],
        "n_train_epochs": len(train.x),
        "train_stage_counts": {s.name: int((train.stages == s).sum()) for s in Stage},
        "n_early_stop_epochs": len(held_out.x),
        "learned_stages": [stage.name for stage in outcome.stages],
        "n_steps": outcome.n_steps,
        "n_passes": outcome.n_passes,
        "best_pass": outcome.best_pass,
        "early_stop_macro_f1": outcome.history[outcome.best_pass - 1]["validation"],
    }
    store.write_bytes(paths.encoder_weights(wanted), weights)
    text = json.dumps(metadata, indent=1, sort_keys=True)
    store.write_bytes(paths.encoder_json(wanted), text.encode())
    store.delete_if_there(checkpoint_path)
    return outcome.seconds
