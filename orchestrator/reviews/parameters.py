"""What a search varied, and how its objective went with each parameter. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.reviews import known
from orchestrator.reviews.formats import counted
from orchestrator.reviews.verdicts import rank_correlation

FEW_TRIALS = 20
"""Below this many trials the page says that importance cannot be told (a convention: with 20, a rank correlation has
to reach about 0.45 before chance alone gives it less than once in twenty times)."""


class SearchedTrial(Protocol):
    """A trial of a search."""

    @property
    def trial(self) -> str:
        """Id."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Parameters of the search space, by name."""

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
class Options:
    """Among which values a choice was searched."""

    options: tuple[str, ...]
    """In the order of the sweep file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """One searched parameter with a range."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionMean:
    """One option of a choice."""

    option: str
    n_trials: int
    """Finished trials that have it, and an objective."""
    mean: float | None
    """Of their objectives; None without any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """One searched parameter that is a choice."""

    name: str
    title: str
    """Word for the parameter."""
    options: tuple[OptionMean, ...]
    """In the order of the sweep file."""
    n_trials: int
    """Finished trials with an objective."""
    chosen: str | None
    """Option of the chosen trial."""


def sensitivities(
    space: Mapping[str, Range | Options],
    trials: Sequence[SearchedTrial],
    chosen: SearchedTrial | None,
    titles: Mapping[str, str],
) -> tuple[Sensitivity | Contrast, ...]:
    """Every searched parameter against the objective, in the order of `space`.

    Parameters
    ----------
    space : mapping of str to Range or Options
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
    found: list[Sensitivity | Contrast] = []
    for name, searched in space.items():
        pairs = [(trial.params[name], objective) for trial, objective in judged]
        best = None if chosen is None else chosen.params[name]
        title = titles.get(name, name)
        if isinstance(searched, Options):
            means = tuple(_option_mean(option, pairs) for option in searched.options)
            found.append(
                Contrast(name=name, title=title, options=means, n_trials=len(pairs), chosen=best)
            )
        else:
            found.append(
                Sensitivity(
                    name=name,
                    title=title,
                    low=searched.low,
                    high=searched.high,
                    log=searched.log,
                    n_trials=len(pairs),
                    correlation=rank_correlation([x for x, _ in pairs], [y for _, y in pairs]),
                    chosen=best,
                )
            )
    return tuple(found)


def _option_mean(option: str, pairs: Sequence[tuple[str, float]]) -> OptionMean:
    own = [objective for value, objective in pairs if value == option]
    return OptionMean(option=option, n_trials=len(own), mean=known.mean(own))


def sensitivity_note(found: Sequence[Sensitivity | Contrast]) -> str:
    """Say what rank correlations and means of options can bear."""
    n = found[0].n_trials if found else 0
    kinds = {type(parameter) for parameter in found}
    said = []
    if Sensitivity in kinds:
        said.append(
            "Spearman: rank correlation of the parameter with the objective over the finished trials."
        )
    if Contrast in kinds:
        said.append("Mean objective: of the finished trials with that option.")
    said.append("The parameters vary together, and the search visits good regions more often.")
    if n < FEW_TRIALS:
        said.append(
            f"With {counted(n, 'trial')}, fewer than {FEW_TRIALS}, the importance of a parameter cannot be told: "
            "correlations and differences of this size may come about by chance."
        )
    return " ".join(said)
