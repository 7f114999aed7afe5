"""What a rank correlation over few trials can bear."""

import pytest

from orchestrator.reviews.parameters import Sensitivity, sensitivity_note


@pytest.mark.parametrize(("n", "few"), [(19, True), (20, False)])
def test_few_trials_cannot_tell_importance(n: int, few: bool) -> None:
    found = Sensitivity(
        name="dropout",
        title="dropout",
        low=0.0,
        high=0.8,
        log=False,
        n_trials=n,
        correlation=0.3,
        chosen=0.5,
    )
    assert (f"With {n} trials, fewer than 20" in sensitivity_note([found])) is few
