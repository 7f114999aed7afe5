"""One trial: pretrain an encoder unless the store has it, and predict the held-out subjects.

Encoders are stored under what they depend on, where a selective sweep looks for its own: one that a trial has made is
not made again by anyone.
"""

from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.errors import DataError
from orchestrator.labels import LabelGate
from orchestrator.method import Order, Trainer
from orchestrator.methods.pretrain.plan.encoder import EncoderRequest
from orchestrator.methods.pretrain.plan.pretraining import PretrainPlan
from orchestrator.methods.pretrain.trial.encoder import (
    PretrainEpochs,
    pretrain_encoder,
    read_epochs,
    stored_encoder,
)
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import UnlabelledEpochs, predictions_table, unlabelled_epochs
from orchestrator.sweeps.surroundings import TrainingWatch
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Params
from trainables import inference
from trainables.stages import Stage
from trainables.weights import classifier_from_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialInputs:
    """What all trials of a sweep share; put into the object store once, read there without a copy."""

    store_uri: str
    plan: PretrainPlan
    epochs: PretrainEpochs
    objective_epochs: UnlabelledEpochs
    """Of the subjects that give the objective; without stages."""

    @property
    def learned_stages(self) -> tuple[Stage, ...]:
        """Declared stages that an encoder can learn: those of the training epochs. All trials have the same."""
        there = set(np.unique(self.epochs.train.stages).tolist())
        return tuple(stage for stage in self.plan.sweep.stages if stage in there)

    def check(self) -> None:
        """Refuse epochs that no trial could learn from, before the first of them is run.

        Raises
        ------
        DataError
            No training epoch, or no epoch of the early stop, has a declared stage.
        """
        declared = self.plan.sweep.stages
        source = self.plan.source
        for role, epochs, recordings in (
            ("training", self.epochs.train, source.train),
            ("early-stop", self.epochs.early_stop, source.early_stop),
        ):
            if not np.isin(epochs.stages, declared).any():
                raise DataError(
                    f"none of the {len(epochs.stages)} {role} epochs ({', '.join(r.recording for r in recordings)}) is "
                    f"scored as {', '.join(stage.name for stage in declared)}. Choose other subjects or other `stages`."
                )


def trial_inputs(store: Store, plan: PretrainPlan, gate: LabelGate) -> TrialInputs:
    """Read the signals of all roles, and the stages of those that are trained on and stopped on."""
    return TrialInputs(
        store_uri=store.uri,
        plan=plan,
        # What is read depends on subjects, stages and modality alone, so it is the same for every trial.
        epochs=read_epochs(store, gate, plan.encoder_request({})),
        objective_epochs=unlabelled_epochs(store, plan.source.validation, plan.sweep.modality),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What one trial trains: an encoder."""

    request: EncoderRequest
    """Everything that the encoder depends on."""

    @property
    def signature(self) -> str:
        """Id of the encoder, which its predictions are stored under, too."""
        return self.request.encoder_id

    @property
    def stored(self) -> tuple[str, ...]:
        """The same: an encoder has one seed."""
        return (self.signature,)


def configured(inputs: TrialInputs, name: str, params: Params | None) -> Trial:
    """Return what a trial with these sampled parameters trains."""
    return Trial(request=inputs.plan.encoder_request(params or {}))


def train(order: Order[TrialInputs, Trial]) -> None:
    """Have the encoder in the store, and write its predictions.

    A pretraining that was killed goes on from its last checkpoint to the same weights.
    """
    inputs, request = order.inputs, order.trial.request
    name = order.trial.signature
    store = Store.open(inputs.store_uri)
    path = paths.predictions(inputs.plan.sweep.name, name)
    if store.exists(path):
        return
    if not store.exists(paths.encoder_json(name)):
        watched = TrainingWatch(store, inputs.plan.sweep.name, name)
        with (
            EventLog(store, paths.encoder_events(name)) as log,
            watched.training(request.pretrain.batch_size, "cpu") as surroundings,
        ):
            order.trained(pretrain_encoder(store, request, inputs.epochs, log, surroundings))
    encoder = stored_encoder(store, name)
    torch.set_num_threads(1)  # as where a selective sweep judges its encoder, to the last digit
    learned = [Stage[stage] for stage in encoder.metadata["learned_stages"]]
    epochs = inputs.objective_epochs
    probability = inference.predict(
        classifier_from_bytes(encoder.weights), epochs.x, declared=learned
    )
    table = predictions_table("objective", epochs.recording, epochs.epoch_index, probability)
    store.write_table(path, table)


TRAINER = Trainer(configured=configured, train=train)
"""How trials are trained in other processes, which import this module and nothing of the search."""
