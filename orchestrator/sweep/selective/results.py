"""The tables that a sweep leaves: trials and arms, and its source batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch
from orchestrator.sweep.objective import Evaluation
from orchestrator.sweep.replicates import REPLICATE_FIELDS, replicate_columns, state_of
from orchestrator.sweep.selective.trial import Configuration
from orchestrator.sweep.study import in_order
from trainables.stages import Stage

TRIALS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("kind", pa.string()),
        ("arm", pa.string()),
        ("state", pa.string()),
        ("enqueued", pa.bool_()),
        ("on_line", pa.bool_()),
        ("reused_from", pa.string()),
        ("tau_quantile", pa.float64()),
        ("tau_absolute", pa.float64()),
        ("learning_rate", pa.float64()),
        ("n_kept", pa.int32()),
        ("n_selectable", pa.int32()),
        ("n_subjects_kept", pa.int32()),
        ("n_steps", pa.int32()),
        ("objective", pa.float64()),
        *REPLICATE_FIELDS,
        ("cost", pa.float64()),
        ("transfer_margin", pa.float64()),
        ("on_front", pa.bool_()),
        ("stopped_after", pa.int32()),
        ("target_macro_f1", pa.float64()),
        ("target_accuracy", pa.float64()),
        ("target_kappa", pa.float64()),
        *((f"kept_{stage.name}", pa.int32()) for stage in Stage),
        ("signature", pa.string()),
        ("error", pa.string()),
    ]
)
"""``kind`` is ``trial`` or ``arm``, ``state`` is ``complete``, ``failed`` or ``stopped`` by the scheduler; metrics are
means over the seeds of a trial. ``cost`` are the epochs that went through the network in training; the transfer margin
is the gain over no adaptation of the objective's subject who gains least. See :func:`trial_row`."""


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
) -> dict[str, Any]:
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
    return {
        "trial": entry.trial,
        "kind": "arm" if entry.arm else "trial",
        "arm": entry.arm,
        "state": state_of(entry.error, entry.stopped_after),
        "enqueued": entry.enqueued,
        "on_line": entry.on_line,
        "reused_from": entry.reused_from,
        "tau_quantile": configuration.tau_quantile,
        "tau_absolute": configuration.tau_absolute,
        "learning_rate": configuration.learning_rate,
        "n_kept": len(kept),
        "n_selectable": len(selectable),
        "n_subjects_kept": len({selectable[i].subject for i in kept}),
        "n_steps": configuration.n_steps,
        "objective": entry.objective,
        **replicate_columns(entry.replicates),
        "cost": cost(configuration, batch_size) if entry.signature else None,
        "transfer_margin": entry.transfer_margin,
        "on_front": entry.on_front,
        "stopped_after": entry.stopped_after,
        "target_macro_f1": evaluation.macro_f1 if evaluation else None,
        "target_accuracy": evaluation.accuracy if evaluation else None,
        "target_kappa": evaluation.kappa if evaluation else None,
        **{f"kept_{stage.name}": int((stages[kept] == stage).sum()) for stage in Stage},
        "signature": entry.signature,
        "error": entry.error,
    }


def cost(configuration: Configuration, batch_size: int) -> float:
    """Return how many epochs go through the network in one training."""
    return float(configuration.n_steps * batch_size if len(configuration.kept) else 0)


def trials_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the final table, sorted by trial."""
    return pa.Table.from_pylist(
        sorted(rows, key=lambda r: in_order(r["trial"])), schema=TRIALS_SCHEMA
    )


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
    return pa.table(
        {
            "batch_id": pa.array([b.batch_id for b in batches], pa.int32()),
            "subject": pa.array([b.subject for b in batches]),
            "recording": pa.array([b.recording for b in batches]),
            "first_epoch": pa.array([int(b.epochs[0]) for b in batches], pa.int32()),
            "n": pa.array([len(b.epochs) for b in batches], pa.int32()),
            "selectable": pa.array([b.batch_id in chosen for b in batches]),
            "emd": pa.array(emd_S),
            "reward": pa.array(reward_S),
            **{stage.name: pa.array((stages == stage).sum(axis=1), pa.int32()) for stage in Stage},
        }
    )
