"""What predictions are worth for each subject by itself: the rows of ``trials_by_subject.parquet``, for any method."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.psg.feed import StoredRecording
from orchestrator.sweeps.objective import Judged
from orchestrator.sweeps.search.study import in_order
from orchestrator.tables.by_subject import BySubjectRow, Replicate, pair_of
from orchestrator.tables.rows import table_of
from trainables import metrics
from trainables.stages import Stage


def rows_by_subject(
    of: Replicate,
    judged: Judged,
    recordings: Sequence[StoredRecording],
    declared: Sequence[Stage],
    fold_of: Mapping[str, int] | None = None,
) -> list[BySubjectRow]:
    """Return a row for each subject with an epoch of a declared stage, sorted by subject.

    Parameters
    ----------
    of : Replicate
        Whose predictions they are.
    judged : Judged
        With one seed, next to what a scorer said.
    recordings : sequence of StoredRecording
        Those that the predictions count from 0.
    declared : sequence of Stage
    fold_of : mapping of str to int, optional
        Subject to the fold in which it is tested, of a cross-validation.
    """
    # Numbers, because a whole night of names takes several times as long to compare.
    names = sorted({recording.subject for recording in recordings})
    number_of = np.array([names.index(recording.subject) for recording in recordings], np.int64)
    subject = number_of[judged.rows["recording"].to_numpy()]
    found = metrics_by_subject(judged.true, judged.predicted, subject, declared)
    return [
        BySubjectRow(
            **asdict(of),
            fold=None if fold_of is None else fold_of[names[number]],
            subject=names[number],
            **columns,
        )
        for number, columns in found.items()
    ]


def metrics_by_subject(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    subject: NDArray[Any],
    declared: Sequence[Stage],
) -> dict[Any, dict[str, Any]]:
    """Return what is judged of each subject, as fields of a row, sorted by subject; without epochs, nothing.

    Parameters
    ----------
    true, predicted, subject : (n_epochs,), (n_epochs,), (n_epochs,)
        A declared stage; the stage that was answered; whose epoch it is, a name or a number.
    declared : sequence of Stage
    """
    found = {}
    for one in np.unique(subject):
        mine = subject == one
        found[one.item()] = _judged_alone(true[mine], predicted[mine], declared)
    return found


def by_subject_table(rows: Iterable[BySubjectRow]) -> pa.Table:
    """Return the table, sorted by trial as the final table is; rows of a trial stay as they come."""
    return table_of(BySubjectRow, sorted(rows, key=lambda row: in_order(row.trial)))


def _judged_alone(
    true: NDArray[np.int64], predicted: NDArray[np.int64], declared: Sequence[Stage]
) -> dict[str, Any]:
    counts = metrics.confusion_matrix(true, predicted)
    f1 = metrics.stage_f1(true, predicted, declared)
    return {
        "n_epochs": len(true),
        "macro_f1": metrics.macro_f1_of_used(true, predicted, declared),
        "accuracy": metrics.accuracy(true, predicted, declared),
        "kappa": _defined(metrics.kappa(true, predicted, declared, undefined=math.nan)),
        "f1": {stage.name: _defined(f1[stage]) for stage in Stage},
        "confusion": {pair_of(t.name, p.name): int(counts[t, p]) for t in Stage for p in Stage},
    }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
