"""One configuration: select source batches, finetune on them, predict. The only adapter to ``trainables``.

A trial gets arrays without any stage of the target, and gives predictions; what those are worth is computed
elsewhere, by code that may read labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from orchestrator.alignment.selection import Selection, select_quantile, select_random
from orchestrator.store import paths
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.sweep.encoder import build
from orchestrator.sweep.epochs import UnlabelledEpochs
from trainables import selective
from trainables.settings import FinetuneSettings
from trainables.stages import STAGE_NAMES, Stage

RANDOM_ARM_QUANTILE = 0.5
"""The random arm keeps as many batches as this tau quantile does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialInputs:
    """What all trials of a sweep share; put into the object store once, read there without a copy."""

    store_uri: str
    sweep_name: str
    score_id: str
    """Stands for encoder, rewards and all epochs of source and target."""
    weights: bytes
    """Of the pretrained model."""
    reward_S: NDArray[np.float64]
    """(n_selectable,)."""
    batches_x: NDArray[np.float32]
    """(n_selectable, batch_size, n_channels, 3000): source batches that may be trained on."""
    batches_stages: NDArray[np.int64]
    """(n_selectable, batch_size)."""
    class_weights: NDArray[np.float32]
    """(5,), from the stages of all selectable batches: the same in every trial."""
    learned_stages: tuple[Stage, ...]
    """Stages that the model can predict."""
    objective_epochs: UnlabelledEpochs
    test_epochs: UnlabelledEpochs
    default_learning_rate: float
    n_steps: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """A selection and how to train on it."""

    kept: NDArray[np.intp]
    """Positions among the selectable batches; empty: no finetuning."""
    tau_quantile: float | None
    tau_absolute: float | None
    learning_rate: float | None
    n_steps: int


def trial_configuration(inputs: TrialInputs, params: Mapping[str, float]) -> Configuration:
    """Return what a trial with these sampled parameters trains on."""
    selection: Selection = select_quantile(inputs.reward_S, params["tau_quantile"])
    return Configuration(
        kept=selection.kept,
        tau_quantile=params["tau_quantile"],
        tau_absolute=selection.tau_absolute,
        learning_rate=params["learning_rate"],
        n_steps=inputs.n_steps,
    )


def arm_configuration(inputs: TrialInputs, arm: str) -> Configuration:
    """Return what a control arm trains on, at the default learning rate and with as many steps as a trial."""
    n = len(inputs.reward_S)
    if arm == "random":
        like = select_quantile(inputs.reward_S, RANDOM_ARM_QUANTILE)
        kept = select_random(n, like.n_kept, inputs.seed)
    else:
        kept = np.arange(n if arm == "all_source" else 0)
    trained = arm != "no_adapt"
    return Configuration(
        kept=kept,
        tau_quantile=None,
        tau_absolute=None,
        learning_rate=inputs.default_learning_rate if trained else None,
        n_steps=inputs.n_steps if trained else 0,
    )


def signature(inputs: TrialInputs, configuration: Configuration) -> str:
    """Return the id of everything that the predictions depend on.

    Two taus that keep the same batches are the same training, and find the same predictions.
    """
    return content_id(
        {
            "score_id": inputs.score_id,
            "kept": configuration.kept.tolist(),
            "learning_rate": configuration.learning_rate,
            "n_steps": configuration.n_steps,
            "seed": inputs.seed,
        }
    )


def run(inputs: TrialInputs, configuration: Configuration) -> str:
    """Train, predict, write the predictions to the store, and return their signature.

    Predictions that are in the store already are not made again.
    """
    name = signature(inputs, configuration)
    store = Store.open(inputs.store_uri)
    path = paths.predictions(inputs.sweep_name, name)
    if not store.exists(path):
        torch.set_num_threads(1)  # trials share the machine; and the last digits depend on it
        model = build(inputs.weights)
        if len(configuration.kept):
            selective.finetune(
                model,
                inputs.batches_x[configuration.kept],
                inputs.batches_stages[configuration.kept],
                declared=inputs.learned_stages,
                class_weights=inputs.class_weights,
                settings=FinetuneSettings(
                    n_steps=configuration.n_steps,
                    learning_rate=configuration.learning_rate or inputs.default_learning_rate,
                ),
                seed=inputs.seed,
            )
        parts = [
            _predictions(
                role, epochs, selective.predict(model, epochs.x, declared=inputs.learned_stages)
            )
            for role, epochs in (
                ("objective", inputs.objective_epochs),
                ("test", inputs.test_epochs),
            )
        ]
        store.write_table(path, pa.concat_tables(parts))
    return name


def _predictions(role: str, epochs: UnlabelledEpochs, probability: NDArray[np.float32]) -> pa.Table:
    columns: dict[str, Any] = {
        "role": pa.array([role] * len(probability)).dictionary_encode(),
        "recording": pa.array(epochs.recording),
        "epoch_index": pa.array(epochs.epoch_index),
    }
    columns |= {f"p_{name}": pa.array(probability[:, i]) for i, name in enumerate(STAGE_NAMES)}
    return pa.table(columns)
