"""What all trials of a selective sweep share, and who judges them, from the store and the label gate."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.labels import LabelGate, Split
from orchestrator.methods.selective.config.objectives import OBJECTIVES
from orchestrator.methods.selective.plan import SweepPlan
from orchestrator.methods.selective.run.batches import batch_signals, batch_stages
from orchestrator.methods.selective.run.scoring import Scored
from orchestrator.methods.selective.trial.configuration import TargetSubject, TrialInputs
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import unlabelled_epochs
from orchestrator.sweeps.objective import Judge
from trainables.stage_loss import class_weights
from trainables.stages import Stage


def finetuning_stages(gate: LabelGate, plan: SweepPlan) -> NDArray[np.int64]:
    """Return the stages of the source batches that trials learn from, (n_selectable, batch_size)."""
    selectable = [plan.source_batches[i] for i in plan.selectable]
    return batch_stages(
        gate,
        plan.train,
        selectable,
        plan.sweep.batch_size,
        Split.SOURCE_TRAIN,
        "finetuning on source batches",
    )


def objective_judge(gate: LabelGate, plan: SweepPlan) -> Judge:
    """Return the judge of the subjects that the objective is about."""
    split = Split.TARGET_VALIDATION if plan.target_validation else Split.SOURCE_VALIDATION
    return Judge(
        gate, plan.objective_recordings, "objective", plan.sweep.stages, split, "objective"
    )


def target_subjects(scored: Scored) -> tuple[TargetSubject, ...]:
    """Return the test subjects who are adapted to each by itself, sorted; none where all are adapted to together."""
    plan = scored.plan
    selectable = list(plan.selectable)
    return tuple(
        TargetSubject(
            subject=subject,
            recordings=tuple(i for i, r in enumerate(plan.target_test) if r.subject == subject),
            emd_S=own.emd_S[selectable],
            reward_S=own.reward_S[selectable],
        )
        for subject, own in scored.by_subject.items()
    )


def trial_inputs(store: Store, scored: Scored, stages: NDArray[np.int64]) -> TrialInputs:
    """Gather the arrays that all trials share; those of the target hold no stage."""
    plan, sweep = scored.plan, scored.plan.sweep
    learned = tuple(Stage[name] for name in scored.encoder.metadata["learned_stages"])
    selectable = [plan.source_batches[i] for i in plan.selectable]
    reads_signals = OBJECTIVES[sweep.search.objective].reads == "target signals"
    is_apart = reads_signals and plan.target_adapt != plan.target_test
    return TrialInputs(
        store_uri=store.uri,
        sweep_name=sweep.name,
        score_id=scored.score_id,
        tested_id=plan.tested_id,
        weights=scored.encoder.weights,
        reward_S=scored.reward_S[list(plan.selectable)],
        subjects=target_subjects(scored),
        batches_x=batch_signals(store, plan.train, selectable, sweep.modality),
        batches_stages=stages,
        class_weights=class_weights(stages.reshape(-1), sweep.stages),
        learned_stages=learned,
        objective_epochs=unlabelled_epochs(store, plan.objective_recordings, sweep.modality),
        test_epochs=unlabelled_epochs(store, plan.target_test, sweep.modality),
        adapt_epochs=unlabelled_epochs(store, plan.target_adapt, sweep.modality)
        if is_apart
        else None,
        default_learning_rate=sweep.search.default_learning_rate,
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
        sweep=sweep,
    )
