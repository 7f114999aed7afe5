"""What the search varied, and how the objective went with it. Pure."""

from collections.abc import Mapping, Sequence

from orchestrator.review import parameters
from orchestrator.review.formats import number, rate, significant
from orchestrator.review.parameters import Contrast, Sensitivity
from orchestrator.review.sleepmg.records import Manifest
from orchestrator.tables.sleepmg import TrialRow

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
    switch = ACTIVE_IF.get(name)
    if switch is not None and not getattr(trial, switch):
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
