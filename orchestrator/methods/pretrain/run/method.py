"""The method pretrain on one sweep: each trial is an encoder, and there is no target."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.labels import LabelGate, Split
from orchestrator.method import Done, MethodBase, Scores, StoredWeights, Trained, Trainer
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.plan.pretraining import PretrainPlan, plan_pretraining
from orchestrator.methods.pretrain.plan.source import subjects_of
from orchestrator.methods.pretrain.run.tables import tables_of
from orchestrator.methods.pretrain.trial import pretraining as trial
from orchestrator.methods.pretrain.trial.pretraining import Trial, TrialInputs
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import predictions_table
from orchestrator.sweeps.manifest import tell_encoders_of_other_code, write_manifest
from orchestrator.sweeps.objective import Judge
from orchestrator.sweeps.reports import so_far
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Params, as_data
from trainables.stages import Stage


class PretrainMethod(MethodBase[PretrainSweep]):
    """See :class:`orchestrator.method.Method`; there is nothing but trials."""

    trainer: Trainer[TrialInputs, Trial] = trial.TRAINER

    def __init__(self, store: Store, sweep: PretrainSweep) -> None:
        super().__init__(store, sweep)
        self._plan = plan_pretraining(sweep, store)
        self._inputs: TrialInputs
        self._judge: Judge

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    def begin(self, gate: LabelGate, out: Store) -> TrialInputs:
        """Read signals and stages; encoders are looked for in `out`, and written there."""
        inputs = trial.trial_inputs(self._store, self._plan, gate)
        inputs.check()
        self._judge = objective_judge(gate, self._plan)
        self._inputs = dataclasses.replace(inputs, store_uri=out.uri)
        return self._inputs

    def record(self, gate: LabelGate, log: EventLog) -> None:
        """Write the manifest.

        Raises
        ------
        DataError
            No epoch of the objective has a declared stage: told here, before any trial is run.
        """
        write_manifest(self._store, self.sweep, self._about())

    def configured(self, name: str, params: Params | None) -> Trial:
        """Return what a trial trains."""
        return trial.configured(self._inputs, name, params)

    def objective(self, trial: Trial, predictions: Sequence[pa.Table]) -> float:
        """Return the macro-F1 of the held-out subjects; a trial has one encoder."""
        (table,) = predictions
        return self._judge.evaluate(table).macro_f1

    def judge(self, trial: Trial) -> Scores:
        """Return what a trained trial is worth."""
        return Scores(values=(self.objective(trial, [self._predictions(trial.signature)]),))

    def judge_part(self, trial: Trial, report: Mapping[str, Any]) -> float:
        """Return what the trial itself knows: it has one part."""
        return so_far({}, report)

    def described(self, trial: Trial) -> Mapping[str, Any]:
        """Nothing to add."""
        return {}

    def tables(
        self, done: Sequence[Done[Trial]], gate: LabelGate, log: EventLog
    ) -> Mapping[str, pa.Table]:
        """Return the trials, and each held-out subject by itself; there are no test labels."""
        name = self.sweep.name
        encoders = [one.signature for one in done if one.signature is not None]
        tell_encoders_of_other_code(self._store, name, log, encoders)
        trials, subjects, by_subject = tables_of(
            self._store,
            self._plan.source.validation,
            self.sweep.stages,
            done,
            lambda signature: self._judge.judged(self._predictions(signature)),
        )
        return {
            paths.sweep_subjects(name): subjects,
            paths.sweep_trials_by_subject(name): by_subject,
            paths.sweep_trials(name): trials,
        }

    def trained(self, one: Done[Trial], row: Mapping[str, Any]) -> Trained:
        """Return the encoder with its head."""
        request, plan = one.trial.request, self._plan
        return Trained(
            network="mrcnn",
            weights=[
                StoredWeights(
                    path=paths.encoder_weights(one.trial.signature),
                    seed=request.seed,
                    record=paths.encoder_json(one.trial.signature),
                )
            ],
            modalities=(self.sweep.modality,),
            scale="recording",
            stages=self._inputs.learned_stages,
            learned_from=request.train,
            metrics=[
                {
                    "split": "objective",
                    "what": self.sweep.search.objective,
                    "subjects": subjects_of(plan.source.validation),
                    "value": one.objective,
                }
            ],
            about={
                "encoder_id": one.trial.signature,
                "encoder": dataclasses.asdict(request.encoder),
                "pretrain": dataclasses.asdict(request.pretrain),
                "early_stop_subjects": subjects_of(request.early_stop),
            },
        )

    def _predictions(self, signature: str) -> pa.Table:
        return self._store.read_table(paths.predictions(self.sweep.name, signature))

    def _about(self) -> dict[str, Any]:
        """Return what the sweep runs on, and what always answering one stage is worth."""
        sweep, plan, inputs = self.sweep, self._plan, self._inputs
        epochs = inputs.objective_epochs
        nothing = np.zeros((len(epochs.x), len(Stage)), np.float32)
        unanswered = predictions_table("objective", epochs.recording, epochs.epoch_index, nothing)
        n_judged = self._judge.evaluate(unanswered).n_epochs
        counts = {s.name: int((inputs.epochs.train.stages == s).sum()) for s in Stage}
        majority = max(sweep.stages, key=lambda stage: counts[stage.name])
        return {
            "objective": sweep.search.objective,
            "modality": sweep.modality,
            "dataset": sweep.source.dataset,
            "train_subjects": subjects_of(plan.source.train),
            "early_stop_subjects": subjects_of(plan.source.early_stop),
            "objective_subjects": subjects_of(plan.source.validation),
            "searched": list(self.space),
            "space": {name: as_data(declared) for name, declared in self.space.items()},
            "encoder": dataclasses.asdict(sweep.encoder),
            "pretrain": dataclasses.asdict(sweep.pretrain),
            "data_id": plan.data_id,
            "n_train_epochs": len(inputs.epochs.train.stages),
            "n_early_stop_epochs": len(inputs.epochs.early_stop.stages),
            "n_objective_epochs": n_judged,
            "train_stage_counts": counts,
            "majority": {
                "stage": majority.name,
                "macro_f1": self._judge.constant(majority, unanswered),
            },
        }


def objective_judge(gate: LabelGate, plan: PretrainPlan) -> Judge:
    """Return the judge of the held-out subjects that do not stop pretraining."""
    return Judge(
        gate,
        plan.source.validation,
        "objective",
        plan.sweep.stages,
        Split.SOURCE_VALIDATION,
        "objective",
    )
