"""What the records of trials of all methods have in common."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from orchestrator.review.formats import number

FURTHER = {
    "cost": "epochs through the network",
    "transfer_margin": "gain of the subject who gains least",
    "worst_subject": "macro-F1 of the worst subject",
}
"""Further objective -> its title; less of ``cost`` is better, more of the others."""


class Outcome:
    """How a trial ended: a part of the records, which hold the fields."""

    __slots__ = ()

    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    objective: float | None
    n_replicates: int
    """Seeds that it was trained with; its metrics are means over them."""
    objective_low: float | None
    """95 % confidence interval of the mean objective over seeds; None for one seed."""
    objective_high: float | None
    on_front: bool | None
    """Whether no other trial is better in every objective; None for a single objective."""
    stopped_after: int | None
    """Reports after which the scheduler ended it."""
    error: str | None

    @property
    def is_complete(self) -> bool:
        """Whether the trial ran to its end; its metrics may still be undefined."""
        return self.state == "complete"

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error."""
        return self.state == "failed"

    @property
    def why_incomplete(self) -> str:
        """Why there are no metrics, in a few words."""
        if self.stopped_after is not None:
            return f"ended by the scheduler after report {self.stopped_after}"
        return f"failed: {self.error or 'no message was stored'}"

    @property
    def objective_text(self) -> str:
        """The objective, with its interval where there are several seeds."""
        if self.objective_low is None or self.objective_high is None:
            return number(self.objective)
        low, high = number(self.objective_low), number(self.objective_high)
        return f"{number(self.objective)} ({low} to {high})"

    def further_text(self, name: str) -> str:
        """Return a further objective by name."""
        value: float | None = getattr(self, name)
        return f"{value:,.0f}" if name == "cost" and value is not None else number(value)


AnyTrial = TypeVar("AnyTrial", bound=Outcome)


def front_of(trials: Iterable[AnyTrial]) -> Sequence[AnyTrial]:
    """Return the trials that no other one is better than in every objective, highest objective first."""
    return sorted((t for t in trials if t.on_front), key=lambda t: -(t.objective or 0.0))
