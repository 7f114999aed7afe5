"""What trials and arms say of a target that nobody scored: all that can be told of them there. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.methods.selective.results import PredictedRow, TrialRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What one trial or arm says of one subject, or of all."""

    trial: TrialRow
    subject: str | None
    """None for all together."""
    n_epochs: int
    shares: Mapping[str, float]
    """Of the epochs, by predicted stage."""
    certainty: float
    information: float


def said_of_all(
    predicted: Iterable[PredictedRow], trials: Sequence[TrialRow], chosen: TrialRow | None
) -> tuple[Said, ...]:
    """Return what the chosen trial and then each arm says of all target subjects together."""
    shown = [*([chosen] if chosen else []), *(trial for trial in trials if trial.is_arm)]
    pooled = {row.trial: row for row in predicted if row.subject is None}
    return tuple(_said(trial, pooled[trial.trial]) for trial in shown if trial.trial in pooled)


def said_of_subjects(
    predicted: Iterable[PredictedRow], trials: Sequence[TrialRow], chosen: TrialRow | None
) -> tuple[Said, ...]:
    """Return what the chosen trial says of each target subject."""
    if chosen is None:
        return ()
    mine = [row for row in predicted if row.trial == chosen.trial and row.subject is not None]
    return tuple(_said(chosen, row) for row in mine)


def _said(trial: TrialRow, row: PredictedRow) -> Said:
    return Said(
        trial=trial,
        subject=row.subject,
        n_epochs=row.n_epochs,
        shares={stage: count / row.n_epochs for stage, count in row.epochs.items()},
        certainty=row.certainty,
        information=row.information,
    )
