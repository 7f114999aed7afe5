"""What a search varied, and how its objective went with each parameter. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.review.formats import counted
from orchestrator.review.verdicts import rank_correlation

FEW_TRIALS = 20
"""Below this many trials the page says that importance cannot be told (a convention: with 20, a rank correlation has
to reach about 0.45 before chance alone gives it less than once in twenty times)."""


class SearchedTrial(Protocol):
    """A trial of a search; its parameters are attributes, too."""

    @property
    def trial(self) -> str:
        """Id."""

    @property
    def enqueued(self) -> bool:
        """Fixed before the search began; the others were sampled."""

    @property
    def objective(self) -> float | None:
        """What the search maximised."""

    @property
    def is_complete(self) -> bool:
        """Whether the trial ran to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Where a parameter was searched."""

    low: float
    high: float
    log: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """One searched parameter."""

    name: str
    title: str
    """Word for the parameter."""
    low: float
    high: float
    log: bool
    n_trials: int
    """Finished trials with an objective."""
    correlation: float | None
    """Spearman, of the parameter with the objective; None with fewer than three trials or a constant side."""
    chosen: float | None
    """Value of the chosen trial."""


def sensitivities(
    space: Mapping[str, Range],
    trials: Sequence[SearchedTrial],
    chosen: SearchedTrial | None,
    titles: Mapping[str, str],
) -> tuple[Sensitivity, ...]:
    """Every searched parameter against the objective, in the order of `space`.

    Parameters
    ----------
    space : mapping of str to Range
    trials : sequence of SearchedTrial
        Those without an objective are left out.
    chosen : SearchedTrial, optional
    titles : mapping of str to str
        Words for parameters whose own name is not the word.
    """
    judged = [
        (trial, trial.objective)
        for trial in trials
        if trial.is_complete and trial.objective is not None
    ]
    return tuple(
        Sensitivity(
            name=name,
            title=titles.get(name, name),
            low=range_.low,
            high=range_.high,
            log=range_.log,
            n_trials=len(judged),
            correlation=rank_correlation(
                [getattr(trial, name) for trial, _ in judged], [value for _, value in judged]
            ),
            chosen=None if chosen is None else getattr(chosen, name),
        )
        for name, range_ in space.items()
    )


def sensitivity_note(found: Sequence[Sensitivity]) -> str:
    """Say what the rank correlations can bear."""
    n = found[0].n_trials if found else 0
    said = (
        "Spearman: rank correlation of the parameter with the objective over the finished trials; the parameters "
        "vary together, and the search visits good regions more often."
    )
    if n >= FEW_TRIALS:
        return said
    return (
        f"{said} With {counted(n, 'trial')}, fewer than {FEW_TRIALS}, the importance of a parameter cannot be told: "
        "correlations of this size may come about by chance."
    )
