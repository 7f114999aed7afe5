"""The table of subjects, the same for every method: how each configuration stages each subject that judges it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.tables.rows import WideInt, spread
from trainables.stages import STAGE_NAMES

PAIRS: tuple[tuple[str, str], ...] = tuple((t, p) for t in STAGE_NAMES for p in STAGE_NAMES)
"""True and predicted stage of each count of a confusion matrix, row by row."""


def pair_of(true: str, predicted: str) -> str:
    """Return the column with the epochs of a true and a predicted stage.

    >>> pair_of("W", "N1")
    'W_as_N1'
    """
    return f"{true}_as_{predicted}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicate:
    """Whose predictions are judged: a trial, arm or row of the final table, with one of its seeds."""

    trial: str
    """Its name, as in ``trials.parquet``."""
    kind: str
    """``trial``, ``arm`` or ``row``, as there."""
    control: str | None
    """Name of the arm or row, what ``trials.parquet`` has under ``arm`` or ``row``; None for a trial."""
    seed: WideInt
    """That of the sweep where nothing was trained."""
    split: str
    """``test``, or ``objective`` where there are no test subjects: the same epochs have chosen the trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BySubjectRow(Replicate):
    """One row of ``trials_by_subject.parquet``: a subject as a configuration stages it with one of its seeds.

    A subject without an epoch of a declared stage has no row. Metrics are those of the subject alone, and what is
    undefined of them is None; the final table pools epochs over subjects, and takes what is undefined as 0.
    """

    fold: int | None
    """In which the subject is tested; None without a cross-validation."""
    subject: str
    n_epochs: int
    """Epochs with a declared stage, of all recordings of the subject."""
    macro_f1: float
    """Over the stages in truth or prediction: without REM in either, one of four."""
    accuracy: float
    kappa: float | None
    """Cohen's; None where truth and prediction are one and the same stage throughout."""
    f1: Mapping[str, float | None] = spread(dict.fromkeys(STAGE_NAMES, pa.float64()), prefix="f1_")
    """Of each stage; None where it is in neither truth nor prediction."""
    confusion: Mapping[str, int] = spread({pair_of(*pair): pa.int32() for pair in PAIRS})
    """Epochs of each true and predicted stage: ``W_as_N1`` is W taken for N1."""
