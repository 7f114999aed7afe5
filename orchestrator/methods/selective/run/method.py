"""The method selective on one sweep: score source batches once, then finetune on what each tau keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.method import Done, MethodBase, Scores, Trained, Trainer
from orchestrator.methods.selective.config.arms import NO_ADAPT
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.methods.selective.results import PredictedRow
from orchestrator.methods.selective.run import kept, record
from orchestrator.methods.selective.run.batches import batch_stages
from orchestrator.methods.selective.run.inputs import (
    finetuning_stages,
    objective_judge,
    trial_inputs,
)
from orchestrator.methods.selective.run.objective_values import ObjectiveValues, objective_value
from orchestrator.methods.selective.run.scoring import Scored, run_scoring, stored_scoring
from orchestrator.methods.selective.run.tables import (
    name_of,
    predicted_of,
    subject_rows,
    trial_row,
    trials_table,
)
from orchestrator.methods.selective.trial import configuration
from orchestrator.methods.selective.trial import finetuning as trial
from orchestrator.methods.selective.trial.configuration import TEST, Trial, TrialInputs
from orchestrator.methods.selective.trial.finetuning import described
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.by_subject import by_subject_table
from orchestrator.sweeps.manifest import tell_encoders_of_other_code
from orchestrator.sweeps.objective import Judge
from orchestrator.sweeps.replicates import mean_evaluation
from orchestrator.tables.rows import table_of
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Params


class SelectiveMethod(MethodBase[SelectiveSweep]):
    """See :class:`orchestrator.method.Method`; its controls are the arms."""

    control_kind = "arm"
    trainer: Trainer[TrialInputs, Trial] = trial.TRAINER

    def __init__(self, store: Store, sweep: SelectiveSweep) -> None:
        super().__init__(store, sweep)
        self._plan = plan_sweep(sweep, store)
        self._scored: Scored | None = None
        self._inputs: TrialInputs
        self._judge: Judge
        self._values: ObjectiveValues

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the score table, which the epochs are a part of, and of those epochs that are not."""
        encoder_id = self._plan.encoder_request().encoder_id
        return self._plan.data_id(self._plan.score_request(encoder_id).score_id)

    @property
    def controls(self) -> Sequence[str]:
        """Names of the arms; ``no_adapt`` in any case: it says what the pretrained model is worth."""
        return sorted({*self.sweep.arms, NO_ADAPT})

    def prepare(self) -> None:
        """Pretrain and score, where the store lacks it."""
        self._scored = run_scoring(self._store, self.sweep, plan=self._plan)

    def begin(self, gate: LabelGate, out: Store) -> TrialInputs:
        """Read encoder, rewards, signals and stages."""
        if self._scored is None:  # in a replay, which makes nothing
            self._scored = stored_scoring(self._store, self._plan)
        stages = finetuning_stages(gate, self._plan)
        self._judge = objective_judge(gate, self._plan)
        inputs = trial_inputs(self._store, self._scored, stages)
        self._inputs = replace(inputs, store_uri=out.uri)
        return self._inputs

    def record(self, gate: LabelGate, log: EventLog) -> None:
        """Write the source batches with their rewards and stages."""
        plan, scored = self._plan, self._made()
        tell_encoders_of_other_code(self._store, self.sweep.name, log, [scored.encoder.encoder_id])
        held_out = [b for b in plan.source_batches if b.batch_id not in set(plan.selectable)]
        held_out_stages = batch_stages(
            gate,
            plan.source,
            held_out,
            self.sweep.batch_size,
            Split.SOURCE_VALIDATION,
            "stage mix of held-out batches",
        )
        record.write_batches(self._store, scored, self._inputs.batches_stages, held_out_stages)

    def record_controls(self, errors: Mapping[str, str | None]) -> None:
        """Write the manifest, with what the pretrained model is worth."""
        if errors[NO_ADAPT] is not None:
            raise SweepFailedError(f"the pretrained model cannot predict: {errors[NO_ADAPT]}")
        no_adapt = self._no_adapt()
        record.write_manifest(self._store, self._made(), self._judge, no_adapt)
        self._values = ObjectiveValues(self._store, self._inputs, self._judge, no_adapt)

    def configured(self, name: str, params: Params | None) -> Trial:
        """Return what a trial trains, or an arm by its name."""
        return configuration.configured(self._inputs, name, params)

    def objective(self, trial: Trial, predictions: Sequence[pa.Table]) -> float:
        """Return what predictions of a trial are worth to the search."""
        return objective_value(self._inputs, self._judge, trial, predictions)

    def judge(self, trial: Trial) -> Scores:
        """Return what a trained trial is worth."""
        return self._values.scores(trial)

    def judge_part(self, trial: Trial, report: Mapping[str, Any]) -> float:
        """Return the objective of the seeds that are trained, and of the one that trains."""
        return self._values.of_part(trial, report)

    def described(self, trial: Trial) -> Mapping[str, Any]:
        """Return the selection, and what a scheduler hears of the trial."""
        return described(self._inputs, trial, self._emd_S)

    def tables(
        self, done: Sequence[Done[Trial]], gate: LabelGate, log: EventLog
    ) -> Mapping[str, pa.Table]:
        """Return trials and arms, what they say of each target subject, and what that is worth where it has stages."""
        sweep, plan, values = self.sweep, self._plan, self._values
        selectable = [plan.source_batches[i] for i in plan.selectable]
        test = self._test_judge(gate)
        arms = {one.name: one for one in done if one.is_control}
        wanted = [arms[name] for name in sweep.arms]
        rows, by_subject, said = [], [], []
        for one in [*wanted, *(one for one in done if not one.is_control)]:
            tested = margin = None
            if one.signature is not None:
                predicted = list(values.predictions(one.trial))
                margin = values.transfer_margin(one.trial)
                said += predicted_of(name_of(one), plan.target_test, predicted, sweep.stages)
                if test is not None:
                    tested = mean_evaluation([test.evaluate(table) for table in predicted])
                    judged = [test.judged(table) for table in predicted]
                    by_subject += subject_rows(one, judged, plan.target_test, sweep.stages)
            row = trial_row(
                one,
                selectable,
                self._inputs.batches_stages,
                tested,
                sweep.batch_size,
                n_subjects=max(1, len(plan.adapted_alone)),
                on_line=self._is_on_line(one),
                transfer_margin=margin,
            )
            if tested is not None:
                log.emit("trial_tested", trial=row.trial, split=Split.TARGET_TEST.value)
            rows.append(row)
        record.add_target_counts(self._store, sweep.name, test, self._no_adapt())
        return {
            paths.sweep_predicted(sweep.name): table_of(PredictedRow, said),
            paths.sweep_trials_by_subject(sweep.name): by_subject_table(by_subject),
            paths.sweep_trials(sweep.name): trials_table(rows),
        }

    def trained(self, one: Done[Trial], row: Mapping[str, Any]) -> Trained:
        """Return a trial or arm as a model."""
        return kept.trained(self._plan, self._made(), self._inputs, one, row)

    def untrained(self, row: Mapping[str, Any] | None) -> str | None:
        """Name the encoder where no batch was kept; the arm that has no row is ``no_adapt``, run for the manifest."""
        if row is not None and row["n_kept"]:
            return None
        encoder_id = self._plan.encoder_request().encoder_id
        return (
            f"the pretrained model as it is, encoder {encoder_id} "
            f"({self._store.uri_of(paths.encoder_weights(encoder_id))})"
        )

    def _test_judge(self, gate: LabelGate) -> Judge | None:
        """Return who compares with the target's stages; None where it has none, which nobody reads then."""
        plan = self._plan
        if not plan.judged:
            return None
        return Judge(
            gate, plan.target_test, TEST, self.sweep.stages, Split.TARGET_TEST, "final table"
        )

    def _is_on_line(self, one: Done[Trial]) -> bool:
        """Whether a trial was enqueued with the learning rate and the steps of the arms."""
        first, inputs = one.trial.configurations[0], self._inputs
        same = (
            first.learning_rate == inputs.default_learning_rate and first.n_steps == inputs.n_steps
        )
        return one.enqueued and not one.is_control and same

    @property
    def _emd_S(self) -> NDArray[np.float64]:
        """To the target, of the selectable batches."""
        return self._made().emd_S[list(self._plan.selectable)]

    def _made(self) -> Scored:
        assert self._scored is not None, "it was begun"
        return self._scored

    def _no_adapt(self) -> pa.Table:
        (name,) = self.configured(NO_ADAPT, None).stored
        return self._store.read_table(paths.predictions(self.sweep.name, name))
