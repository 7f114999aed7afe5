"""What the search varied, and how the objective went with it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.review.formats import number, rate, significant
from orchestrator.review.sleepmg.records import Manifest, Trial
from orchestrator.review.verdicts import rank_correlation

FEW_TRIALS = 20
"""Below this many trials the page says that importance cannot be told (a convention: with 20, a rank correlation has
to reach about 0.45 before chance alone gives it less than once in twenty times)."""

TITLES: Mapping[str, str] = {"grl_weight": "lambda", "learning_rate": "learning rate"}
"""Words for parameters whose own name is not the word."""

ACTIVE_IF: Mapping[str, str] = {
    "alpha_f": "mod_f",
    "alpha_y": "mod_y",
    "alpha_d": "mod_d",
    "grl_weight": "adversary",
}
"""Switch without which a parameter does nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """One searched parameter."""

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


def sensitivities(
    manifest: Manifest, trials: Sequence[Trial], chosen: Trial | None
) -> tuple[Sensitivity, ...]:
    """Every searched parameter against the objective, in the order of the sweep file."""
    judged = [
        (trial, trial.objective)
        for trial in trials
        if not trial.is_row and trial.is_complete and trial.objective is not None
    ]
    return tuple(
        Sensitivity(
            name=name,
            low=manifest.space[name].low,
            high=manifest.space[name].high,
            log=manifest.space[name].log,
            n_trials=len(judged),
            correlation=rank_correlation(
                [getattr(trial, name) for trial, _ in judged], [value for _, value in judged]
            ),
            chosen=None if chosen is None else getattr(chosen, name),
        )
        for name in manifest.searched
    )


def value_of(name: str, trial: Trial) -> float | None:
    """Value of a parameter in a trial; None where a switch makes it do nothing."""
    switch = ACTIVE_IF.get(name)
    if switch is not None and not getattr(trial, switch):
        return None
    value: float = getattr(trial, name)
    return value


def value_text(name: str, value: float | None) -> str:
    """Value as the page writes it.

    >>> value_text("alpha_y", 0.25), value_text("grl_weight", 0.0123), value_text("learning_rate", 0.001)
    ('0.25', '0.012', '1.0e\u221203')
    """
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
