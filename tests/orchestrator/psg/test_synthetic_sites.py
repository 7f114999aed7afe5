"""Places of electrodes by their names."""

import math

import pytest

from orchestrator.config.montage import load_montage
from orchestrator.psg.synthetic_sites import (
    REFERENCE,
    blink_weight,
    eye_movement_weight,
    eye_side,
    own_share,
    scalp_site,
    weight,
)

SOURCES = ("slow", "theta", "alpha", "sigma", "beta", "background", "spindles", "k_complexes")


@pytest.mark.parametrize(
    ("label", "lateral", "frontal"),
    [
        ("C3-A2", -0.5, 0.0),
        ("EEG C3-M2", -0.5, 0.0),
        ("C3A2", -0.5, 0.0),
        ("EEG Cz-LER", 0.0, 0.0),
        ("eeg fp2", 0.25, 1.0),
        ("EEG Fpz-Cz", 0.0, 1.0),
        ("F8-LER", 1.0, 0.6),
        ("EEG T3-LER", -1.0, 0.0),
        ("EEG T5-LER", -1.0, -0.6),
        ("P7", -1.0, -0.6),
        ("EEG TP10", 1.0, -0.3),
        ("Oz", 0.0, -1.0),
        ("EEG", 0.0, 0.0),
        ("Channel 3", 0.0, 0.0),
    ],
)
def test_sites(label: str, lateral: float, frontal: float) -> None:
    site = scalp_site(label)
    assert (site.lateral, site.frontal) == (lateral, frontal)


def test_all_but_one_of_the_bundled_eeg_channels_are_apart() -> None:
    for name in ("isruc-s3", "mass-ss3"):
        labels = load_montage(name).labels["eeg"]
        assert len({scalp_site(label) for label in labels}) == len(labels)


def test_c3_sees_the_sources_as_they_are() -> None:
    assert scalp_site("C3") == REFERENCE
    assert own_share(REFERENCE) == 0
    assert [weight(source, REFERENCE) for source in SOURCES] == [1.0] * len(SOURCES)
    assert blink_weight(REFERENCE) == 0
    assert eye_movement_weight(REFERENCE) == 0


def test_front_and_back() -> None:
    front, middle, back = (scalp_site(label) for label in ("Fp1", "Cz", "O1"))
    for source in ("slow", "k_complexes"):
        assert weight(source, front) > weight(source, middle) > weight(source, back)
    assert weight("alpha", front) < weight("alpha", middle) < weight("alpha", back)
    assert weight("spindles", middle) > max(weight("spindles", front), weight("spindles", back))
    assert blink_weight(front) > blink_weight(scalp_site("F3")) > blink_weight(middle) == 0


def test_eyes_move_with_opposite_signs_on_both_sides() -> None:
    left, right = (eye_movement_weight(scalp_site(label)) for label in ("F7", "F8"))
    assert left == -right > 0
    assert eye_movement_weight(scalp_site("Fz")) == 0


def test_the_share_of_its_own_grows_with_distance() -> None:
    shares = [own_share(scalp_site(label)) for label in ("C3", "Cz", "C4", "F8")]
    assert shares == sorted(shares)
    assert shares[1] == pytest.approx(1 - math.exp(-1))
    assert shares[-1] < 1


@pytest.mark.parametrize(
    ("labels", "sides"),
    [
        (["LOC-A2", "ROC-A1"], [1, -1]),
        (["EOG Right Horiz", "EOG Left Horiz"], [-1, 1]),
        (["EOG E2-M2", "EOG E1-M2"], [-1, 1]),
        (["EOG LOc", "EOG ROc"], [1, -1]),
        (["EOG horizontal", "EOG vertical"], [1, -1]),
    ],
)
def test_sides_of_the_eyes(labels: list[str], sides: list[int]) -> None:
    assert [eye_side(label, i) for i, label in enumerate(labels)] == sides
