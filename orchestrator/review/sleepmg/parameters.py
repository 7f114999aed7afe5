"""What the search varied, and how the objective went with it. Pure."""

from collections.abc import Mapping, Sequence

from orchestrator.review import parameters
from orchestrator.review.formats import number, rate, significant
from orchestrator.review.parameters import Sensitivity
from orchestrator.review.sleepmg.records import Manifest, Trial

TITLES: Mapping[str, str] = {"grl_weight": "lambda", "learning_rate": "learning rate"}
"""Words for parameters whose own name is not the word."""

ACTIVE_IF: Mapping[str, str] = {
    "alpha_f": "mod_f",
    "alpha_y": "mod_y",
    "alpha_d": "mod_d",
    "grl_weight": "adversary",
}
"""Switch without which a parameter does nothing."""


def sensitivities(
    manifest: Manifest, trials: Sequence[Trial], chosen: Trial | None
) -> tuple[Sensitivity, ...]:
    """Every searched parameter against the objective, in the order of the sweep file."""
    return parameters.sensitivities(
        {name: manifest.space[name] for name in manifest.searched},
        [trial for trial in trials if not trial.is_row],
        chosen,
        TITLES,
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
