"""What the rows of trials of all methods have in common."""

from collections.abc import Iterable, Mapping
from typing import Any


class Outcome:
    """How a trial ended: a part of the rows, which hold the fields."""

    __slots__ = ()

    trial: str
    """Its name, such as ``t000``."""
    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    objective: float | None
    error: str | None

    @property
    def is_complete(self) -> bool:
        """Whether the trial ran to its end; its metrics may still be undefined."""
        return self.state == "complete"

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error."""
        return self.state == "failed"


class ReplicatedOutcome(Outcome):
    """That of a trial with one seed or several, which a scheduler may end."""

    __slots__ = ()

    n_replicates: int
    """Seeds that it was trained with; its metrics are means over them."""
    objective_low: float | None
    """95 % confidence interval of the mean objective over seeds; None for one seed."""
    objective_high: float | None
    on_front: bool | None
    """Whether no other trial is better in every objective; None for a single objective."""
    stopped_after: int | None
    """Reports after which the scheduler ended it."""

    @property
    def why_incomplete(self) -> str:
        """Why there are no metrics, in a few words."""
        if self.stopped_after is not None:
            return f"ended by the scheduler after report {self.stopped_after}"
        return f"failed: {self.error or 'no message was stored'}"


def state_of(error: str | None, stopped_after: int | None = None) -> str:
    """Return the state of a trial in a final table."""
    if error is not None:
        return "failed"
    return "complete" if stopped_after is None else "stopped"


def chosen_row(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the row of the trial with the highest objective, the one that a review calls chosen; None without any.

    Of equals the first, but with several objectives one that no other is better than in all: that one is kept.

    Parameters
    ----------
    rows : iterable of mapping
        Of a final table, column -> value.
    """
    finished = [
        row
        for row in rows
        if row["kind"] == "trial" and row["state"] == "complete" and row["objective"] is not None
    ]
    return min(
        finished,
        key=lambda row: (
            -row["objective"],
            row.get("on_front") is False,
            len(row["trial"]),  # t999 is before t1000
            row["trial"],
        ),
        default=None,
    )
