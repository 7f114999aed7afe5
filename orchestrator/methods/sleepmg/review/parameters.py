"""What the search varied, and how the objective went with it. Pure."""

from collections.abc import Sequence

from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.methods.sleepmg.review.records import Manifest
from orchestrator.reviews import parameters
from orchestrator.reviews.formats import number, rate, significant
from orchestrator.reviews.parameters import Contrast, Sensitivity
from search_spaces.sleepmg import PARAMETERS
from search_spaces.space import titles_of

TITLES = titles_of(PARAMETERS)
"""Words for parameters whose own name is not the word."""


def sensitivities(
    manifest: Manifest, trials: Sequence[TrialRow], chosen: TrialRow | None
) -> tuple[Sensitivity | Contrast, ...]:
    """Every searched parameter against the objective, in the order of the search space."""
    return parameters.sensitivities(
        {name: manifest.space[name] for name in manifest.searched},
        [trial for trial in trials if not trial.is_row],
        chosen,
        TITLES,
    )


def value_of(name: str, trial: TrialRow) -> float | str | None:
    """Value of a parameter in a trial; None where a switch makes it do nothing."""
    switch = PARAMETERS[name].matters_if
    if switch and not getattr(trial, switch):
        return None
    return trial.params[name]


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


def settings_text(names: Sequence[str], trial: TrialRow) -> str:
    """Searched parameters of a trial in a row, as in ``alpha_y 0.20, lambda 0.010``."""
    return ", ".join(
        f"{TITLES.get(name, name)} {value_text(name, trial.params[name])}" for name in names
    )
