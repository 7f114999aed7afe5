"""What a sweep writes about itself besides its trials: the manifest, and the table of source batches."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.methods.pretrain.plan.source import subjects_of
from orchestrator.methods.selective.run.scoring import Scored
from orchestrator.methods.selective.run.tables import batches_table
from orchestrator.psg.feed import signal_epochs
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import manifest
from orchestrator.sweeps.objective import Judge


def write_batches(
    store: Store, scored: Scored, stages: NDArray[np.int64], held_out_stages: NDArray[np.int64]
) -> None:
    """Write distance, reward and stage mix of every source batch.

    Parameters
    ----------
    stages, held_out_stages : (n_selectable, batch_size), (n_held_out, batch_size)
        Each in the order of the batch ids.
    """
    plan = scored.plan
    every = np.empty((len(plan.source_batches), plan.sweep.batch_size), np.int64)
    chosen = np.isin(np.arange(len(every)), plan.selectable)
    every[chosen], every[~chosen] = stages, held_out_stages
    store.write_table(
        paths.sweep_batches(plan.sweep.name),
        batches_table(plan.source_batches, plan.selectable, scored.emd_S, scored.reward_S, every),
    )


def write_manifest(store: Store, scored: Scored, judge: Judge, no_adapt: pa.Table) -> None:
    """Write what the sweep runs on, and what its encoder is worth without adaptation.

    Parameters
    ----------
    judge : Judge
        Of the objective.
    no_adapt : table
        Predictions of the pretrained model.
    """
    plan, sweep, encoder = scored.plan, scored.plan.sweep, scored.encoder
    counts = encoder.metadata["train_stage_counts"]
    majority = max(sweep.stages, key=lambda stage: counts[stage.name])
    about = {
        "objective": sweep.search.objective,
        "also": list(sweep.search.also),
        "learned_stages": encoder.metadata["learned_stages"],
        "source_dataset": sweep.source.dataset,
        "target_dataset": sweep.target.dataset,
        "source_subjects": subjects_of(plan.train),
        "validation_subjects": subjects_of((*plan.early_stop, *plan.source_validation)),
        "early_stop_subject": plan.early_stop[0].subject,
        "target_subjects": subjects_of(plan.target_test),
        "target_adapt_subjects": subjects_of(plan.target_adapt),
        "target_validation_subjects": subjects_of(plan.target_validation),
        "adapt_to": sweep.adapt_to,
        "transductive": plan.transductive,
        "target_is_labelled": plan.judged,
        "batch_size": sweep.batch_size,
        "n_source_batches": len(plan.source_batches),
        "n_selectable": len(plan.selectable),
        "n_target_batches": len(plan.target_batches),
        "n_target_epochs": sum(len(signal_epochs(store, r)) for r in plan.target_adapt),
        "layer": sweep.score.layer,
        "metric": sweep.score.metric,
        "standardise": sweep.score.standardise,
        "aggregate": sweep.score.aggregate,
        "encoder_id": encoder.encoder_id,
        "score_id": scored.score_id,
        **dict([plan.data_id(scored.score_id)]),
        "default_learning_rate": sweep.search.default_learning_rate,
        "n_steps": sweep.search.n_steps,
        "pretrain": {
            f"{'target' if plan.target_validation else 'source'}_val_macro_f1": judge.evaluate(
                no_adapt
            ).macro_f1,
            "majority_macro_f1": judge.constant(majority, no_adapt),
            "majority_stage": majority.name,
            "n_steps": encoder.metadata["n_steps"],
            "n_passes": encoder.metadata["n_passes"],
            "best_pass": encoder.metadata["best_pass"],
        },
    }
    manifest.write_manifest(store, sweep, about, packages=(*manifest.PACKAGES, "pot"))


def add_target_counts(store: Store, name: str, test: Judge | None, no_adapt: pa.Table) -> None:
    """Write the stages of the target into the manifest, now that they may be known; None: it has none."""
    counts = {
        "target_stage_counts": {} if test is None else test.stage_counts,
        "target_evaluation_epochs": 0 if test is None else test.evaluate(no_adapt).n_epochs,
    }
    manifest.add_to_manifest(store, name, counts)
