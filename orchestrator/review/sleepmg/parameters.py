"""What the search varied, and how the objective went with it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.review import known
from orchestrator.review.formats import number, rate, significant
from orchestrator.review.sleepmg.records import Manifest, Options, Trial
from orchestrator.review.verdicts import rank_correlation

FEW_TRIALS = 20
"""Below this many trials the page says that importance cannot be told (a convention: with 20, a rank correlation has
to reach about 0.45 before chance alone gives it less than once in twenty times)."""

TITLES: Mapping[str, str] = {
    "grl_weight": "lambda",
    "learning_rate": "learning rate",
    "schedule": "schedule of lambda",
    "apply_to": "applied to",
}
"""Words for parameters whose own name is not the word."""

ACTIVE_IF: Mapping[str, str] = {
    "alpha_f": "mod_f",
    "alpha_y": "mod_y",
    "alpha_d": "mod_d",
    "grl_weight": "adversary",
    "ratio": "balances",
    "schedule": "adversary",
    "apply_to": "balances",
}
"""What a trial must have, or a parameter does nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """One searched parameter with a range."""

    name: str
    low: float
    high: float
    log: bool
    n_trials: int
    """Finished trials with an objective."""
    correlation: float | None
    """Spearman, of the parameter with the objective; None with fewer than three trials or a constant side."""
    chosen: float | None
    """Value of the chosen trial."""

    @property
    def title(self) -> str:
        """Word for the parameter."""
        return TITLES.get(self.name, self.name)


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
    options: tuple[OptionMean, ...]
    """In the order of the sweep file."""
    n_trials: int
    """Finished trials with an objective."""
    chosen: str | None
    """Option of the chosen trial."""

    @property
    def title(self) -> str:
        """Word for the parameter."""
        return TITLES.get(self.name, self.name)


def sensitivities(
    manifest: Manifest, trials: Sequence[Trial], chosen: Trial | None
) -> tuple[Sensitivity | Contrast, ...]:
    """Every searched parameter against the objective, in the order of the search space."""
    judged = [
        (trial, trial.objective)
        for trial in trials
        if not trial.is_row and trial.is_complete and trial.objective is not None
    ]
    found: list[Sensitivity | Contrast] = []
    for name in manifest.searched:
        searched = manifest.space[name]
        pairs = [(getattr(trial, name), objective) for trial, objective in judged]
        best = None if chosen is None else getattr(chosen, name)
        if isinstance(searched, Options):
            means = tuple(_option_mean(option, pairs) for option in searched.options)
            found.append(Contrast(name=name, options=means, n_trials=len(pairs), chosen=best))
        else:
            found.append(
                Sensitivity(
                    name=name,
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


def value_of(name: str, trial: Trial) -> float | str | None:
    """Value of a parameter in a trial; None where a switch makes it do nothing."""
    switch = ACTIVE_IF.get(name)
    if switch is not None and not getattr(trial, switch):
        return None
    value: float | str = getattr(trial, name)
    return value


def value_text(name: str, value: float | str | None) -> str:
    """Value as the page writes it.

    >>> value_text("alpha_y", 0.25), value_text("grl_weight", 0.0123), value_text("learning_rate", 0.001)
    ('0.25', '0.012', '1.0e\u221203')
    >>> value_text("ratio", "mean_others")
    'mean_others'
    """
    if isinstance(value, str):
        return value
    if name == "learning_rate":
        return rate(value)
    if name == "grl_weight":
        return significant(value, 2)
    return number(value, 2)


def settings_text(names: Sequence[str], trial: Trial) -> str:
    """Searched parameters of a trial in a row, as in ``alpha_y 0.20, lambda 0.010``."""
    return ", ".join(
        f"{TITLES.get(name, name)} {value_text(name, getattr(trial, name))}" for name in names
    )
