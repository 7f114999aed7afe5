from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.parameters import sensitivities, settings_text, value_of
from orchestrator.reviews.parameters import Contrast, OptionMean, Sensitivity


def test_correlation_over_finished_trials_by_hand(made: Any) -> None:
    sweep = made.sweep(
        made.manifest_json(),
        {
            "trials": [
                made.trial_row("t000", alpha_y=0.1, objective=0.2),
                made.trial_row("t001", alpha_y=0.2, objective=0.1),
                made.trial_row("t002", alpha_y=0.3, objective=0.4),
                made.trial_row("t003", alpha_y=0.4, objective=0.3),
                made.trial_row("t004", alpha_y=0.9, objective=None),
                made.failed(made.trial_row("t005", alpha_y=0.95)),
                made.row_row(alpha_y=0.0, objective=0.99),
            ]
        },
    )
    alpha, weight = sensitivities(sweep.manifest, sweep.trials, sweep.trials[2])
    assert isinstance(alpha, Sensitivity)
    assert isinstance(weight, Sensitivity)
    assert (alpha.name, alpha.low, alpha.high, alpha.log, alpha.n_trials) == (
        "alpha_y",
        0.0,
        1.0,
        False,
        4,
    )
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    assert alpha.correlation == pytest.approx(0.6)
    assert alpha.chosen == 0.3
    assert (weight.title, weight.log, weight.correlation) == ("lambda", True, None)


def test_options_of_a_choice_by_hand(made: Any) -> None:
    options = ["mean_others", "mean_pairwise", "third"]
    sweep = made.sweep(
        made.manifest_json(searched=["ratio"], space={"ratio": {"options": options}}),
        {
            "trials": [
                made.trial_row("t000", ratio="mean_pairwise", objective=0.25),
                made.trial_row("t001", ratio="mean_others", objective=0.1),
                made.trial_row("t002", ratio="mean_pairwise", objective=0.75),
                made.trial_row("t003", ratio="mean_others", objective=None),
                made.failed(made.trial_row("t004", ratio="mean_others")),
                made.row_row(ratio="mean_others", objective=0.99),
            ]
        },
    )
    (ratio,) = sensitivities(sweep.manifest, sweep.trials, sweep.trials[2])
    assert isinstance(ratio, Contrast)
    assert (ratio.name, ratio.n_trials, ratio.chosen) == ("ratio", 3, "mean_pairwise")
    assert ratio.options == (
        OptionMean(option="mean_others", n_trials=1, mean=0.1),
        OptionMean(option="mean_pairwise", n_trials=2, mean=0.5),
        OptionMean(option="third", n_trials=0, mean=None),
    )


def test_a_parameter_without_its_part_has_no_value(made: Any) -> None:
    trial = made.trial(mod_y=False, adversary=False, mod_d=False)
    nothing = ("alpha_y", "grl_weight", "ratio", "schedule", "apply_to")
    assert [value_of(name, trial) for name in nothing] == [None] * 5
    assert value_of("dropout", trial) == 0.5
    extractors = made.trial(mod_f=True, mod_y=False, mod_d=False)
    assert value_of("ratio", extractors) == "mean_pairwise"


def test_settings_are_named_as_on_the_page(made: Any) -> None:
    trial = made.trial(alpha_y=0.25, grl_weight=0.0123)
    assert settings_text(["alpha_y", "grl_weight"], trial) == "alpha_y 0.25, lambda 0.012"
    said = settings_text(["ratio", "schedule"], trial)
    assert said == "ratio mean_pairwise, schedule of lambda constant"
