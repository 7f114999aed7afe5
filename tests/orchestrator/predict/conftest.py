"""Made-up recordings as a model could have staged them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from orchestrator.predict.staged import StagedNight
from orchestrator.psg.synthetic_hypnogram import draw_stages
from trainables.stages import UNSCORED, Stage

MakeNight = Callable[..., StagedNight]


@pytest.fixture(scope="session")
def make_night() -> MakeNight:
    """A recording with given stages, by keyword; -1 is not staged. What a test says nothing of is usual."""

    def make(stages: list[int] | np.ndarray[Any, Any], **more: Any) -> StagedNight:
        given = np.asarray(stages, np.int8)
        can_say = more.get("can_say", tuple(Stage))
        rng = np.random.default_rng(3)
        probability = rng.dirichlet(np.ones(5), given.size)
        probability[np.arange(given.size), given] += 1
        probability[:, [stage for stage in Stage if stage not in can_say]] = 0
        probability /= probability.sum(axis=1, keepdims=True)
        probability[given == UNSCORED] = np.nan
        usual = {
            "recording": "SC4001E0",
            "probability": probability.astype(np.float32),
            "stages": given,
            "flat": np.zeros(given.size, np.bool_),
            "model": {"trial": "3f2a", "sweep": "tau"},
        }
        return StagedNight(**{**usual, **more})

    return make


@pytest.fixture(scope="session")
def night(make_night: MakeNight) -> StagedNight:
    """Two hours with everything: a start, an offset, flat and other gaps, a scorer, notes."""
    stages = draw_stages(np.random.default_rng(5), 240)
    reference = np.where(np.arange(240) % 9 == 0, 2, stages).astype(np.int8)
    reference[230:] = UNSCORED
    flat = np.zeros(240, np.bool_)
    flat[20:30] = True
    stages[flat] = UNSCORED
    stages[[100, 239]] = UNSCORED
    return make_night(
        stages,
        subject="SC 4Ö",
        start=datetime(2024, 3, 5, 22, 47, 30, 250_000),
        onset_s=12.5,
        flat=flat,
        remainder_s=7.5,
        reference=reference,
        notes=("The model was trained on this subject.",),
    )
