"""The tables that a sweep leaves: trials and arms, their test subjects, and its source batches."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.alignment.batches import Batch
from orchestrator.method import Done
from orchestrator.methods.selective.results import BatchRow, PredictedRow, TrialRow
from orchestrator.methods.selective.trial.configuration import TEST, Configuration, Trial
from orchestrator.psg.feed import StoredRecording
from orchestrator.sweeps.by_subject import rows_by_subject
from orchestrator.sweeps.objective import (
    Evaluation,
    Judged,
    certainty,
    information,
    positions_of,
    probabilities_of,
)
from orchestrator.sweeps.replicates import replicate_columns
from orchestrator.sweeps.search.study import in_order
from orchestrator.tables.by_subject import BySubjectRow, Replicate
from orchestrator.tables.rows import table_of
from orchestrator.tables.trials import state_of
from trainables.stages import Stage


def trial_row(
    one: Done[Trial],
    selectable: Sequence[Batch],
    stages: NDArray[np.int64],
    evaluation: Evaluation | None,
    batch_size: int,
    *,
    n_subjects: int = 1,
    on_line: bool = False,
    transfer_margin: float | None = None,
) -> TrialRow:
    """Return the row of one trial or arm.

    Parameters
    ----------
    one : Done
    selectable : sequence of Batch
        Source batches that a tau chooses from.
    stages : (n_selectable, batch_size)
        Their stages.
    evaluation : Evaluation or None
        On the target's test subjects, mean over the seeds; None for a trial without predictions.
    batch_size : int
        Epochs of a step.
    n_subjects : int
        Target subjects who are adapted to each by itself; 1 where all are adapted to together.
    on_line : bool
        Whether it is enqueued with the learning rate and the steps of the arms.
    transfer_margin : float, optional
        Gain over no adaptation of the objective's subject who gains least.
    """
    first = one.trial.of_first_seed
    kept = np.concatenate([each.kept for each in first])
    tau_quantile, tau_absolute = taus_of(first)
    return TrialRow(
        trial=name_of(one),
        kind=_kind_of(one),
        arm=one.name if one.is_control else None,
        state=state_of(one.error, one.stopped_after),
        enqueued=one.enqueued,
        on_line=on_line,
        reused_from=one.reused_from,
        tau_quantile=tau_quantile,
        tau_absolute=tau_absolute,
        learning_rate=first[0].learning_rate,
        n_kept=len(kept),
        n_selectable=len(selectable) * n_subjects,
        n_subjects_kept=len({selectable[i].subject for i in kept}),
        n_steps=first[0].n_steps,
        objective=one.objective,
        **replicate_columns(one.replicates),
        cost=cost(one.trial, batch_size) if one.signature else None,
        transfer_margin=transfer_margin,
        on_front=one.on_front,
        stopped_after=one.stopped_after,
        target_macro_f1=evaluation.macro_f1 if evaluation else None,
        target_accuracy=evaluation.accuracy if evaluation else None,
        target_kappa=evaluation.kappa if evaluation else None,
        kept={stage.name: int((stages[kept] == stage).sum()) for stage in Stage},
        signature=one.signature,
        error=one.error,
    )


def taus_of(configurations: Sequence[Configuration]) -> tuple[float | None, float | None]:
    """Return tau as a quantile and on the reward, of what is trained with one seed.

    A quantile that is not the same for all subjects is their mean, the share of the batches that all of them together
    drop. Of cuts on the reward that differ there is no one value: None.
    """
    quantiles = {each.tau_quantile for each in configurations} - {None}
    cuts = {each.tau_absolute for each in configurations}
    if len(quantiles) > 1:
        quantiles = {float(np.mean([each.tau_quantile for each in configurations]))}
    return next(iter(quantiles), None), cuts.pop() if len(cuts) == 1 else None


def name_of(one: Done[Trial]) -> str:
    """Return what a trial or arm is called in tables."""
    return f"arm-{one.name}" if one.is_control else one.name


def predicted_of(
    trial: str,
    recordings: Sequence[StoredRecording],
    predictions: Sequence[pa.Table],
    declared: Sequence[Stage],
) -> list[PredictedRow]:
    """Return what a trial or arm says of all target subjects and of each, by its mean probabilities over the seeds.

    Parameters
    ----------
    trial : str
        Its name.
    recordings : sequence of StoredRecording
        Those to test on, in the order of the predictions.
    predictions : sequence of table
        With each seed.
    declared : sequence of Stage
        Those that may be predicted.
    """
    mean_ES = np.mean([probabilities_of(table, TEST, declared) for table in predictions], axis=0)
    subjects = np.array([recording.subject for recording in recordings])
    subject_E = subjects[positions_of(predictions[0], TEST)]
    return [
        _predicted(trial, None, mean_ES, declared),
        *(
            _predicted(trial, str(subject), mean_ES[subject_E == subject], declared)
            for subject in np.unique(subject_E)
        ),
    ]


def _predicted(
    trial: str,
    subject: str | None,
    probability_ES: NDArray[np.float32],
    declared: Sequence[Stage],
) -> PredictedRow:
    said = Counter(declared[i] for i in probability_ES.argmax(axis=1))
    return PredictedRow(
        trial=trial,
        subject=subject,
        n_epochs=len(probability_ES),
        certainty=certainty(probability_ES),
        information=information(probability_ES),
        epochs={stage.name: said[stage] for stage in Stage},
    )


def subject_rows(
    one: Done[Trial],
    judged: Sequence[Judged],
    target: Sequence[StoredRecording],
    declared: Sequence[Stage],
) -> list[BySubjectRow]:
    """Return how one trial or arm stages each test subject, with each seed.

    Parameters
    ----------
    one : Done
    judged : sequence of Judged
        Test predictions with each seed.
    target : sequence of StoredRecording
        Of the test subjects, in the order of the predictions.
    declared : sequence of Stage
    """
    rows = []
    for seed, of_seed in zip(one.trial.seeds, judged, strict=True):
        of = Replicate(
            trial=name_of(one),
            kind=_kind_of(one),
            control=one.name if one.is_control else None,
            seed=seed,
            split="test",
        )
        rows += rows_by_subject(of, of_seed, target, declared)
    return rows


def _kind_of(one: Done[Trial]) -> str:
    return "arm" if one.is_control else "trial"


def cost(trial: Trial, batch_size: int) -> float:
    """Return how many epochs go through the network in training with one seed.

    Where each subject is adapted to by itself it is the sum over the subjects, and a training that serves several of
    them, as that on all source batches does, counts once.
    """
    trained = {
        tuple(each.kept.tolist()): each.n_steps for each in trial.of_first_seed if each.is_trained
    }
    return float(sum(trained.values()) * batch_size)


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
