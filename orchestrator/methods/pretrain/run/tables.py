"""The tables that a sweep of pretrainings leaves: trials, and the subjects that the objective is measured on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.method import Done
from orchestrator.methods.pretrain.config import parameters
from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.methods.pretrain.trial.encoder import stored_encoder
from orchestrator.methods.pretrain.trial.pretraining import Trial
from orchestrator.psg.feed import StoredRecording
from orchestrator.store.store import Store
from orchestrator.sweeps.by_subject import by_subject_table, rows_by_subject
from orchestrator.sweeps.objective import Evaluation, Judged, evaluation
from orchestrator.sweeps.search.study import in_order
from orchestrator.tables.by_subject import Replicate
from orchestrator.tables.rows import table_of
from orchestrator.tables.trials import state_of
from trainables.stages import Stage


def tables_of(
    store: Store,
    recordings: Sequence[StoredRecording],
    declared: Sequence[Stage],
    done: Sequence[Done[Trial]],
    judged: Callable[[str], Judged],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return the final table and two of the held-out subjects, sorted by trial.

    The second has their metrics over the declared stages; the third is that of every method, over the stages of each.

    Parameters
    ----------
    store : Store
        Where the encoders are.
    recordings : sequence of StoredRecording
        Of the held-out subjects, in the order of the predictions.
    declared : sequence of Stage
    done : sequence of Done
        All trials.
    judged : callable
        Signature of a trial to its predictions, next to what a scorer said.
    """
    trials, subjects, by_subject = [], [], []
    for one in sorted(done, key=lambda one: in_order(one.name)):
        of_trial: list[SubjectRow] = []
        reached: dict[str, Any] = {}
        if one.signature is not None:
            found = judged(one.signature)
            of_trial = _of_subjects(one.name, found, recordings, declared)
            by_subject += rows_by_subject(_replicate(one), found, recordings, declared)
            reached = _reached(
                store, one.signature, evaluation(found.true, found.predicted, declared), of_trial
            )
        subjects += of_trial
        trials.append(
            TrialRow(
                trial=one.name,
                state=state_of(one.error),
                enqueued=one.enqueued,
                reused_from=one.reused_from,
                params=parameters(one.trial.request.encoder, one.trial.request.pretrain),
                objective=one.objective,
                encoder_id=one.signature,
                signature=one.signature,
                error=one.error,
                **reached,
            )
        )
    return table_of(TrialRow, trials), table_of(SubjectRow, subjects), by_subject_table(by_subject)


def _replicate(one: Done[Trial]) -> Replicate:
    """Return under what its subjects are noted: there is no test split, and they have chosen the trial."""
    seed = one.trial.request.seed
    return Replicate(trial=one.name, kind="trial", control=None, seed=seed, split="objective")


def _reached(
    store: Store, encoder_id: str, pooled: Evaluation, subjects: Sequence[SubjectRow]
) -> dict[str, Any]:
    """Return what a finished trial has reached, as columns."""
    about = stored_encoder(store, encoder_id).metadata
    of_each = [subject.macro_f1 for subject in subjects]
    return {
        **{name: about[name] for name in ("n_passes", "best_pass", "n_steps")},
        "early_stop_macro_f1": about["early_stop_macro_f1"],
        "accuracy": pooled.accuracy,
        "kappa": pooled.kappa,
        "n_subjects": len(subjects),
        "lowest_subject_macro_f1": min(of_each),
        "mean_subject_macro_f1": float(np.mean(of_each)),
    }


def _of_subjects(
    trial: str,
    judged: Judged,
    recordings: Sequence[StoredRecording],
    declared: Sequence[Stage],
) -> list[SubjectRow]:
    """Return a row for each subject with an epoch of a declared stage; at least one has."""
    subjects = np.array([recording.subject for recording in recordings])
    of_row = subjects[judged.rows["recording"].to_numpy()]
    rows = []
    for subject in np.unique(of_row):
        mine = of_row == subject
        found = evaluation(judged.true[mine], judged.predicted[mine], declared)
        rows.append(
            SubjectRow(
                trial=trial,
                subject=str(subject),
                n_epochs=found.n_epochs,
                macro_f1=found.macro_f1,
                accuracy=found.accuracy,
                kappa=found.kappa,
            )
        )
    return rows
