"""How the trials of all methods are shown."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from orchestrator.reviews.formats import number
from orchestrator.tables.trials import ReplicatedOutcome


def objective_text(trial: ReplicatedOutcome) -> str:
    """Return the objective, with its interval where there are several seeds."""
    if trial.objective_low is None or trial.objective_high is None:
        return number(trial.objective)
    low, high = number(trial.objective_low), number(trial.objective_high)
    return f"{number(trial.objective)} ({low} to {high})"


def further_text(trial: ReplicatedOutcome, name: str) -> str:
    """Return a further objective by name."""
    value: float | None = getattr(trial, name)
    return f"{value:,.0f}" if name == "cost" and value is not None else number(value)


AnyTrial = TypeVar("AnyTrial", bound=ReplicatedOutcome)


def front_of(trials: Iterable[AnyTrial]) -> Sequence[AnyTrial]:
    """Return the trials that no other one is better than in every objective, highest objective first."""
    return sorted((t for t in trials if t.on_front), key=lambda t: -(t.objective or 0.0))
