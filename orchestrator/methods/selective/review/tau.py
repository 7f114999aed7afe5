"""The tau curve as rows: what each tau kept and what came of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from orchestrator.methods.selective.results import TrialRow


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRow:
    """One point of the curve, or one arm; the fields are the columns of ``tau_curve.csv``."""

    trial: str
    kind: str
    """``trial`` or ``arm``."""
    enqueued: bool
    """On the joined line; a trial that is not enqueued belongs to the cloud."""
    tau_quantile: float | None
    tau_absolute: float | None
    learning_rate: float | None
    n_kept: int
    kept_fraction: float | None
    n_steps: int
    objective: float | None
    target_macro_f1: float | None


CURVE_COLUMNS = tuple(field.name for field in fields(CurveRow))


def curve_rows(trials: Iterable[TrialRow]) -> tuple[CurveRow, ...]:
    """Rows of the tau curve: enqueued points, then sampled trials, then arms.

    Failed trials have no place on a curve and are left out; a finished one whose metric is undefined
    stays, with None. Points and sampled trials ascend in tau; where several have the same tau all
    are kept, in the order of their ids.
    """
    finished = [trial for trial in trials if trial.is_complete]
    searched = [trial for trial in finished if not trial.is_arm and trial.tau_quantile is not None]
    arms = [trial for trial in finished if trial.is_arm]
    return tuple(
        _row(trial)
        for trial in (
            *sorted(searched, key=lambda t: (not t.on_line, t.tau_quantile, t.trial)),
            *sorted(arms, key=lambda t: t.trial),
        )
    )


def enqueued_rows(rows: Sequence[CurveRow]) -> tuple[CurveRow, ...]:
    """Points of the joined line, ascending in tau."""
    return tuple(row for row in rows if row.kind != "arm" and row.enqueued)


def sampled_rows(rows: Sequence[CurveRow]) -> tuple[CurveRow, ...]:
    """Trials that the search placed itself, ascending in tau."""
    return tuple(row for row in rows if row.kind != "arm" and not row.enqueued)


def arm_rows(rows: Sequence[CurveRow]) -> tuple[CurveRow, ...]:
    """The control arms."""
    return tuple(row for row in rows if row.kind == "arm")


def _row(trial: TrialRow) -> CurveRow:
    values = {column: getattr(trial, column) for column in CURVE_COLUMNS}
    on_line = trial.enqueued if trial.is_arm else trial.on_line
    return CurveRow(**values | {"enqueued": on_line})
