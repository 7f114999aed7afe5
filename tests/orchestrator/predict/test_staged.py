"""A staged recording: what is derived of it, and what does not fit together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import entropy

from orchestrator.errors import RecordingError
from orchestrator.predict.staged import UNCERTAIN_BELOW, StagedNight
from trainables.stages import Stage

MakeNight = Callable[..., StagedNight]


def with_probabilities(make_night: MakeNight, *rows: list[float], **more: Any) -> StagedNight:
    probability = np.array(rows, np.float32)
    return make_night(probability.argmax(axis=1), probability=probability, **more)


def test_entropy_is_that_of_scipy_in_units_of_the_stages_that_can_be_said(
    night: StagedNight, make_night: MakeNight
) -> None:
    expected = entropy(night.probability.astype(float), axis=1, base=5)
    np.testing.assert_allclose(night.entropy, expected, rtol=1e-6)  # NaN where not staged
    assert np.isnan(night.entropy).sum() == 12
    two = with_probabilities(make_night, [0.5, 0, 0, 0.5, 0], can_say=(Stage.W, Stage.N3))
    assert two.entropy.tolist() == [1.0]


def test_a_model_of_one_stage_is_never_undecided(make_night: MakeNight) -> None:
    assert with_probabilities(make_night, [0, 0, 1, 0, 0], can_say=(Stage.N2,)).entropy == [0.0]


def test_an_epoch_is_uncertain_below_the_threshold_and_not_at_it(make_night: MakeNight) -> None:
    at, below = [UNCERTAIN_BELOW, 0.5, 0, 0, 0], [0.49, 0.31, 0.2, 0, 0]
    assert with_probabilities(make_night, at, below).is_uncertain.tolist() == [False, True]


def test_epochs_that_are_not_staged_are_not_uncertain(night: StagedNight) -> None:
    assert not night.is_uncertain[~night.is_staged].any()


def test_agreement_needs_a_reference(night: StagedNight, make_night: MakeNight) -> None:
    assert night.agreement is not None
    # 230 scored, of which 11 are not staged: 10 flat ones and another.
    assert night.agreement.n_epochs == 219
    assert make_night([0, 1]).agreement is None
    assert make_night([0, 1], reference=np.array([-1, -1], np.int8)).agreement is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"flat": np.zeros(2, np.bool_)}, r"flat has shape \(2,\); allowed: \(3,\)"),
        ({"reference": np.zeros(4, np.int8)}, "reference has shape"),
        ({"reference": np.array([0, 1, 7], np.int8)}, "reference holds a value"),
        ({"probability": np.ones((3, 4), np.float32)}, "probability has shape"),
        ({"probability": np.ones((3, 5), np.float32)}, "has a probability; allowed: NaN"),
        ({"flat": np.array([True, False, False])}, "epoch 0 is flat and has a stage"),
        ({"can_say": (Stage.W,)}, r"epoch has stage 2; .* \(W\)"),
        ({"stages": np.array([0, 2, 2], np.int8)}, "no numbers"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    make_night: MakeNight, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordingError, match=f"'SC4001E0': .*{message}") as caught:
        make_night([0, 2, -1], **more) if "stages" not in more else _restaged(make_night, more)
    assert caught.value.reason == "inconsistent"


def _restaged(make_night: MakeNight, more: dict[str, Any]) -> StagedNight:
    """Stages that are not those of the probabilities."""
    return make_night(more["stages"], probability=make_night([0, 2, -1]).probability)


@pytest.mark.parametrize(
    "row",
    [[0.5, 0.4, 0, 0, 0], [1.5, -0.5, 0, 0, 0], [0.9, 0.1, 0, 0, np.nan]],
)
def test_what_is_no_distribution_is_refused(make_night: MakeNight, row: list[float]) -> None:
    with pytest.raises(RecordingError, match="do not add up to 1"):
        make_night([0], probability=np.array([row], np.float32))


def test_a_stage_that_cannot_be_said_has_no_probability(make_night: MakeNight) -> None:
    with pytest.raises(RecordingError, match="cannot say has a probability; it can say W, N3"):
        with_probabilities(make_night, [0.9, 0.1, 0, 0, 0], can_say=(Stage.W, Stage.N3))


def test_a_recording_without_an_epoch_is_too_short(make_night: MakeNight) -> None:
    with pytest.raises(RecordingError, match=r"no whole 30-s epoch, but 12 s") as caught:
        make_night([], remainder_s=12.0)
    assert caught.value.reason == "too_short"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0b"])
def test_a_name_that_would_leave_the_folder_is_refused(make_night: MakeNight, name: str) -> None:
    with pytest.raises(RecordingError, match="no slash") as caught:
        make_night([0], recording=name)
    assert caught.value.reason == "file_name"
