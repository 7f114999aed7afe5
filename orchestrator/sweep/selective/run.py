"""A sweep of SelectiveFinetuning: score, arms, trials, and the target's test labels at the end."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from orchestrator.config.arms import NO_ADAPT
from orchestrator.config.sweep import SelectiveSweep
from orchestrator.errors import SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep import reports, study
from orchestrator.sweep.execution import Run, run_fixed
from orchestrator.sweep.manifest import tell_encoders_of_other_code
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.replicates import mean_evaluation
from orchestrator.sweep.reports import InputsRef, Outcome
from orchestrator.sweep.samplers import check_sampler
from orchestrator.sweep.selective import record, remote, trial
from orchestrator.sweep.selective.epochs import batch_signals, batch_stages, unlabelled_epochs
from orchestrator.sweep.selective.plan import SweepPlan, plan_sweep
from orchestrator.sweep.selective.results import Entry, trial_row, trials_table
from orchestrator.sweep.selective.scoring import Scored, run_scoring
from orchestrator.sweep.selective.worth import Worth
from orchestrator.sweep.tuning import Found, run_search
from orchestrator.sweep.warm_start import check_warm_start
from trainables.stage_loss import class_weights
from trainables.stages import Stage


class SelectiveRun:
    """See :class:`orchestrator.sweep.runner.MethodRun`."""

    def __init__(self, store: Store, sweep: SelectiveSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_sweep(sweep, store)
        check_sampler(sweep.search, sweep.search.space.declared())
        check_warm_start(store, sweep, sweep.search, sweep.search.objective)
        self._scored: Scored | None = None

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the score table, which the epochs are a part of."""
        encoder_id = self._plan.encoder_request().encoder_id
        return "score_id", self._plan.score_request(encoder_id).score_id

    @property
    def n_concurrent(self) -> int:
        """Trials that run at the same time."""
        return min(self._sweep.search.max_concurrent, self._sweep.search.n_trials)

    def prepare(self) -> None:
        """Pretrain and score, where the store lacks it."""
        self._scored = run_scoring(self._store, self._sweep, plan=self._plan)

    def run(self, gate: LabelGate, run: Run) -> pa.Table:
        """Run arms and trials, and return the final table."""
        assert self._scored is not None
        store, sweep, plan, scored = self._store, self._sweep, self._plan, self._scored
        tell_encoders_of_other_code(store, sweep.name, run.log, [scored.encoder.encoder_id])
        selectable = [plan.source_batches[i] for i in plan.selectable]
        stages = finetuning_stages(gate, plan)
        held_out = [b for b in plan.source_batches if b.batch_id not in set(plan.selectable)]
        held_out_stages = batch_stages(
            gate, plan.source, held_out, Split.SOURCE_VALIDATION, "stage mix of held-out batches"
        )
        judge = objective_judge(gate, plan)

        record.write_batches(store, scored, stages, held_out_stages)
        inputs = trial_inputs(store, scored, stages)
        emd_S = scored.emd_S[list(plan.selectable)]
        inputs_ref = [ray.put(inputs)]
        arms = self._run_arms(inputs_ref, run)
        no_adapt = self._predictions(arms[NO_ADAPT][reports.SIGNATURE])
        record.write_manifest(store, scored, judge, no_adapt, len(inputs.test_epochs.x))
        worth = Worth(store, inputs, judge, no_adapt)
        found = run_search(
            run,
            sweep.search,
            space=sweep.search.space.declared(),
            first=sweep.search.first_trials(),
            trial=remote.run_trial,
            inputs_ref=inputs_ref,
            identify=lambda params: trial.signature_of_all(
                inputs, trial.trial_configurations(inputs, params)
            ),
            evaluate=lambda params: worth.scores(trial.trial_configurations(inputs, params)),
            evaluate_part=worth.of_part,
            objective_name=sweep.search.objective,
            fixed=sweep.search.fixed(),
            describe=lambda params: {
                **trial.parts(inputs),
                **trial.kept_fields(trial.trial_configuration(inputs, params), emd_S),
            },
        )
        entries = [
            *self._arm_entries(inputs, arms, worth),
            *(self._trial_entry(inputs, frozen, found, worth) for frozen in found.trials),
        ]
        gate.end_search()
        test = Judge(gate, plan.target_test, "test", sweep.stages, Split.TARGET_TEST, "final table")
        rows = []
        for entry in entries:
            tested = None
            if entry.signature:
                tested = mean_evaluation(
                    [test.evaluate(predictions) for predictions in worth.predictions(entry.seeds)]
                )
                run.log.emit("trial_tested", trial=entry.trial, split=Split.TARGET_TEST.value)
            rows.append(trial_row(entry, selectable, stages, tested, sweep.batch_size))
        record.add_target_counts(store, sweep.name, test, no_adapt)
        return trials_table(rows)

    def _run_arms(self, inputs_ref: InputsRef, run: Run) -> dict[str, Outcome]:
        """Run the arms; ``no_adapt`` in any case: it says what the pretrained model is worth."""
        names: list[str] = sorted({*self._sweep.arms, NO_ADAPT})
        arms = run_fixed(run, "arm", names, remote.run_arm, inputs_ref)
        if reports.ERROR in arms[NO_ADAPT]:
            raise SweepFailedError(
                f"the pretrained model cannot predict: {arms[NO_ADAPT][reports.ERROR]}"
            )
        return arms

    def _arm_entries(
        self, inputs: trial.TrialInputs, arms: Mapping[str, Outcome], worth: Worth
    ) -> list[Entry]:
        entries = []
        for arm in self._sweep.arms:
            seeds = trial.arm_configurations(inputs, arm)
            signature = arms[arm].get(reports.SIGNATURE)
            scores = worth.scores(seeds) if signature else None
            entries.append(
                Entry(
                    trial=f"arm-{arm}",
                    arm=arm,
                    enqueued=True,
                    on_line=False,
                    seeds=seeds,
                    signature=signature,
                    objective=scores.values[0] if scores else None,
                    replicates=scores.replicates if scores else (),
                    transfer_margin=worth.transfer_margin(seeds) if scores else None,
                    error=arms[arm].get(reports.ERROR),
                )
            )
        return entries

    def _trial_entry(
        self, inputs: trial.TrialInputs, frozen: FrozenTrial, found: Found, worth: Worth
    ) -> Entry:
        seeds = trial.trial_configurations(inputs, frozen.params)
        signature = study.signature_of(frozen)
        return Entry(
            trial=study.name_of(frozen),
            arm=None,
            enqueued=study.was_enqueued(frozen),
            on_line=study.was_enqueued(frozen)
            and seeds[0].learning_rate == inputs.default_learning_rate
            and seeds[0].n_steps == inputs.n_steps,
            seeds=seeds,
            signature=signature,
            objective=study.objective_of(frozen),
            replicates=study.replicates_of(frozen),
            transfer_margin=worth.transfer_margin(seeds) if signature else None,
            on_front=study.name_of(frozen) in found.front if self._sweep.search.also else None,
            stopped_after=study.stopped_after(frozen),
            error=study.error_of(frozen),
            reused_from=study.reused_from(frozen),
        )

    def _predictions(self, signature: str) -> pa.Table:
        return self._store.read_table(paths.predictions(self._sweep.name, signature))


def finetuning_stages(gate: LabelGate, plan: SweepPlan) -> NDArray[np.int64]:
    """Return the stages of the source batches that trials learn from, (n_selectable, batch_size)."""
    selectable = [plan.source_batches[i] for i in plan.selectable]
    return batch_stages(
        gate, plan.train, selectable, Split.SOURCE_TRAIN, "finetuning on source batches"
    )


def objective_judge(gate: LabelGate, plan: SweepPlan) -> Judge:
    """Return the judge of the subjects that the objective is about."""
    split = Split.TARGET_VALIDATION if plan.target_validation else Split.SOURCE_VALIDATION
    return Judge(
        gate, plan.objective_recordings, "objective", plan.sweep.stages, split, "objective"
    )


def trial_inputs(store: Store, scored: Scored, stages: NDArray[np.int64]) -> trial.TrialInputs:
    """Gather the arrays that all trials share; those of the target hold no stage."""
    plan, sweep = scored.plan, scored.plan.sweep
    learned = tuple(Stage[name] for name in scored.encoder.metadata["learned_stages"])
    selectable = [plan.source_batches[i] for i in plan.selectable]
    return trial.TrialInputs(
        store_uri=store.uri,
        sweep_name=sweep.name,
        score_id=scored.score_id,
        weights=scored.encoder.weights,
        reward_S=scored.reward_S[list(plan.selectable)],
        batches_x=batch_signals(store, plan.train, selectable, sweep.modality),
        batches_stages=stages,
        class_weights=class_weights(stages.reshape(-1), sweep.stages),
        learned_stages=learned,
        objective_epochs=unlabelled_epochs(store, plan.objective_recordings, sweep.modality),
        test_epochs=unlabelled_epochs(store, plan.target_test, sweep.modality),
        default_learning_rate=sweep.search.default_learning_rate,
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
        sweep=sweep,
    )
