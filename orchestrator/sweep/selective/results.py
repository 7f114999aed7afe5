"""The tables that a sweep leaves: trials and arms, and its source batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch
from orchestrator.sweep.objective import Evaluation
from orchestrator.sweep.replicates import replicate_columns
from orchestrator.sweep.selective.trial import Configuration
from orchestrator.sweep.study import in_order
from orchestrator.tables.rows import table_of
from orchestrator.tables.selective import BatchRow, TrialRow
from orchestrator.tables.trials import state_of
from trainables.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A trial or arm, before its metrics on the target are known."""

    trial: str
    """``t000``, ``t001`` ... in the order of proposal, or ``arm-`` and the name."""
    arm: str | None
    enqueued: bool
    on_line: bool
    """Enqueued with the learning rate and the steps of the arms: these trials differ in tau alone."""
    seeds: tuple[Configuration, ...]
    """What is trained, once for each seed."""
    signature: str | None
    objective: float | None
    error: str | None
    reused_from: str | None = None
    """The trial that trained what this one would have trained again."""
    replicates: tuple[float, ...] = ()
    """Objective with each seed, where there are several."""
    transfer_margin: float | None = None
    on_front: bool | None = None
    """Whether no other trial is better in every objective; None where there is one."""
    stopped_after: int | None = None
    """Reports after which the scheduler ended it."""


def trial_row(
    entry: Entry,
    selectable: Sequence[Batch],
    stages: NDArray[np.int64],
    evaluation: Evaluation | None,
    batch_size: int,
) -> TrialRow:
    """Return the row of one trial or arm.

    Parameters
    ----------
    entry : Entry
    selectable : sequence of Batch
        Source batches that a tau chooses from.
    stages : (n_selectable, batch_size)
        Their stages.
    evaluation : Evaluation or None
        On the target's test subjects, mean over the seeds; None for a trial without predictions.
    batch_size : int
        Epochs of a step.
    """
    configuration = entry.seeds[0]
    kept = configuration.kept
    return TrialRow(
        trial=entry.trial,
        kind="arm" if entry.arm else "trial",
        arm=entry.arm,
        state=state_of(entry.error, entry.stopped_after),
        enqueued=entry.enqueued,
        on_line=entry.on_line,
        reused_from=entry.reused_from,
        tau_quantile=configuration.tau_quantile,
        tau_absolute=configuration.tau_absolute,
        learning_rate=configuration.learning_rate,
        n_kept=len(kept),
        n_selectable=len(selectable),
        n_subjects_kept=len({selectable[i].subject for i in kept}),
        n_steps=configuration.n_steps,
        objective=entry.objective,
        **replicate_columns(entry.replicates),
        cost=cost(configuration, batch_size) if entry.signature else None,
        transfer_margin=entry.transfer_margin,
        on_front=entry.on_front,
        stopped_after=entry.stopped_after,
        target_macro_f1=evaluation.macro_f1 if evaluation else None,
        target_accuracy=evaluation.accuracy if evaluation else None,
        target_kappa=evaluation.kappa if evaluation else None,
        kept={stage.name: int((stages[kept] == stage).sum()) for stage in Stage},
        signature=entry.signature,
        error=entry.error,
    )


def cost(configuration: Configuration, batch_size: int) -> float:
    """Return how many epochs go through the network in one training."""
    return float(configuration.n_steps * batch_size if len(configuration.kept) else 0)


def trials_table(rows: Sequence[TrialRow]) -> pa.Table:
    """Return the final table, sorted by trial."""
    return table_of(TrialRow, sorted(rows, key=lambda row: in_order(row.trial)))


def batches_table(
    batches: Sequence[Batch],
    selectable: Sequence[int],
    emd_S: NDArray[np.float64],
    reward_S: NDArray[np.float64],
    stages: NDArray[np.int64],
) -> pa.Table:
    """Return one row per source batch: where it is from, its distance, reward and stage mix.

    Parameters
    ----------
    batches : sequence of Batch
        All source batches.
    selectable : sequence of int
        Ids of those that a tau chooses from.
    emd_S, reward_S : (n_batches,), (n_batches,)
    stages : (n_batches, batch_size)
    """
    chosen = set(selectable)
    return table_of(
        BatchRow,
        (
            BatchRow(
                batch_id=batch.batch_id,
                subject=batch.subject,
                recording=batch.recording,
                first_epoch=int(batch.epochs[0]),
                n=len(batch.epochs),
                selectable=batch.batch_id in chosen,
                emd=float(emd),
                reward=float(reward),
                epochs={stage.name: int((of_batch == stage).sum()) for stage in Stage},
            )
            for batch, emd, reward, of_batch in zip(batches, emd_S, reward_S, stages, strict=True)
        ),
    )
