from typing import Any

import pytest

from orchestrator.review.sleepmg.parameters import sensitivities, settings_text, value_of
from orchestrator.review.sleepmg.records import Trial


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


def test_a_parameter_without_its_part_has_no_value(made: Any) -> None:
    trial = Trial(**made.trial_row(mod_y=False, adversary=False, mod_d=False))
    assert value_of("alpha_y", trial) is None
    assert value_of("grl_weight", trial) is None
    assert value_of("dropout", trial) == 0.5


def test_settings_are_named_as_on_the_page(made: Any) -> None:
    trial = Trial(**made.trial_row(alpha_y=0.25, grl_weight=0.0123))
    assert settings_text(["alpha_y", "grl_weight"], trial) == "alpha_y 0.25, lambda 0.012"
