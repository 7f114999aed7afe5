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
from orchestrator.psg.feed import CLIP_SPREADS
from orchestrator.store import paths
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store, sha256
from orchestrator.sweep.selective.epochs import labelled_epochs
from orchestrator.sweep.selective.plan import SweepPlan
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from trainables import checkpoint, selective
from trainables.errors import TrainableError
from trainables.models.mrcnn import StageClassifier
from trainables.settings import EncoderSettings
from trainables.stages import Stage

PRETRAIN_THREADS = 2
"""Torch threads of pretraining. Fixed, because the sums inside a convolution depend on it in the last digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """A pretrained model as stored."""

    encoder_id: str
    weights: bytes
    """Safetensors of encoder and head."""
    metadata: dict[str, Any]
    """Content of ``encoder.json``."""


def encoder_id(plan: SweepPlan) -> str:
    """Return the content id of the encoder that a sweep needs, before it exists."""
    return content_id(_identity(plan))


def ensure_encoder(store: Store, plan: SweepPlan) -> Encoder:
    """Return the encoder of a sweep, pretraining it where the store has none.

    Raises
    ------
    IntegrityError
        The stored weights are not those that were written.
    """
    wanted = encoder_id(plan)
    if not store.exists(paths.encoder_json(wanted)):
        with EventLog(store, paths.encoder_events(wanted)) as log:
            _pretrain(store, plan, wanted, log)
    return stored_encoder(store, wanted)


def stored_encoder(store: Store, wanted: str) -> Encoder:
    """Return an encoder that the store has.

    Raises
    ------
    IntegrityError
        The stored weights are not those that were written.
    """
    metadata = json.loads(store.read_bytes(paths.encoder_json(wanted)))
    weights = store.read_bytes(paths.encoder_weights(wanted))
    if sha256(weights) != metadata["weights_sha256"]:
        raise IntegrityError(
            f"{store.uri_of(paths.encoder_weights(wanted))} does not have the SHA-256 that encoder.json records. "
            "Remove the folder and pretrain again."
        )
    return Encoder(encoder_id=wanted, weights=weights, metadata=metadata)


def build(weights: bytes) -> StageClassifier:
    """Build a model from its stored weights, in evaluation mode."""
    state, metadata = checkpoint.from_bytes(weights)
    model = selective.build_model(
        EncoderSettings(**json.loads(metadata["encoder"])), n_channels=int(metadata["n_channels"])
    )
    model.load_state_dict(state)
    return model.eval()


def encode_with(weights: bytes, layer: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features; for Ray tasks, which get the weights by object reference. One thread."""
    torch.set_num_threads(1)
    return selective.encode(build(weights), x, layer)


def encoder_function(encoder: Encoder, layer: str) -> "partial[NDArray[np.float32]]":
    """Return a picklable function from signals to features."""
    return partial(encode_with, encoder.weights, layer)


def _identity(plan: SweepPlan) -> dict[str, Any]:
    sweep = plan.sweep
    return {
        "encoder": asdict(sweep.encoder),
        "pretrain": asdict(sweep.pretrain),
        "stages": [stage.name for stage in sweep.stages],
        "modality": sweep.modality,
        "clip_spreads": CLIP_SPREADS,
        "seed": sweep.seed,
        "train": [r.epochs_sha256 for r in plan.train],
        "early_stop": [r.epochs_sha256 for r in plan.early_stop],
    }


def _pretrain(store: Store, plan: SweepPlan, wanted: str, log: EventLog) -> None:
    sweep = plan.sweep
    gate = LabelGate(store, log)
    train = labelled_epochs(
        store, gate, plan.train, sweep.modality, Split.SOURCE_TRAIN, "pretraining"
    )
    held_out = labelled_epochs(
        store, gate, plan.early_stop, sweep.modality, Split.SOURCE_EARLY_STOP, "early stop"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(PRETRAIN_THREADS)
    try:
        with progress("pretrain", sweep.pretrain.n_passes) as advance:

            def report(metrics: Any) -> None:
                log.emit("pass_done", **metrics)
                advance(f"early-stop macro-F1 {metrics['validation']:.3f}")

            outcome = selective.pretrain(
                train.x,
                train.stages,
                held_out.x,
                held_out.stages,
                declared=sweep.stages,
                settings=sweep.pretrain,
                encoder=sweep.encoder,
                seed=sweep.seed,
                report=report,
            )
    except TrainableError as error:
        raise DataError(
            f"pretraining failed: {error} It learns from {', '.join(r.recording for r in plan.train)} and stops early "
            f"on {', '.join(r.recording for r in plan.early_stop)}; choose other subjects, stages or settings."
        ) from error
    finally:
        torch.set_num_threads(threads)
    n_channels = train.x.shape[1]
    weights = checkpoint.to_bytes(
        outcome.model.state_dict(),
        {"encoder": json.dumps(asdict(sweep.encoder)), "n_channels": str(n_channels)},
    )
    metadata = {
        "encoder_id": wanted,
        "weights_sha256": sha256(weights),
        **_identity(plan),
        "train_recordings": [f"{r.dataset}/{r.subject}/{r.recording}" for r in plan.train],
        "early_stop_recordings": [
            f"{r.dataset}/{r.subject}/{r.recording}" for r in plan.early_stop
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
