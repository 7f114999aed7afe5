"""The picture of a staged recording: it is drawn whatever there is, and shows where there is nothing."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from orchestrator.predict.picture import COLOURS, epoch_spectra, night_png
from orchestrator.predict.staged import ShownChannel, StagedNight
from orchestrator.reviews.drawing import LIGHT
from trainables.stages import Stage

MakeNight = Callable[..., StagedNight]

SFREQ = 100.0


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def share(png: bytes, colour: str) -> float:
    """Of the picture that has a colour."""
    wanted = np.round(255 * np.array(mpl.colors.to_rgb(colour)))
    return float((pixels(png) == wanted).all(axis=2).mean())


def sine(n_epochs: int, hz: float, before_s: float = 0.0) -> ShownChannel:
    """A sine, after zeros."""
    n_before = round(before_s * SFREQ)
    times_s = np.arange(round(n_epochs * 30 * SFREQ)) / SFREQ
    signal_uv = np.concatenate((np.zeros(n_before), 20 * np.sin(2 * np.pi * hz * times_s)))
    return ShownChannel(label="EEG $C3", sfreq=SFREQ, signal_uv=signal_uv)


@pytest.mark.heavy
def test_the_same_recording_gives_the_same_bytes_and_nobody_signs_them(night: StagedNight) -> None:
    channel = sine(240, 11.0, before_s=night.onset_s)
    drawn = night_png(night, channel)
    assert drawn == night_png(night, channel)
    assert Image.open(io.BytesIO(drawn)).info.keys() == {"dpi"}


@pytest.mark.heavy
def test_each_panel_makes_the_picture_higher(night: StagedNight) -> None:
    def height(drawn: StagedNight, channel: ShownChannel | None) -> int:
        return len(pixels(night_png(drawn, channel)))

    alone = replace(night, reference=None)
    heights = [height(alone, None), height(night, None), height(night, sine(240, 11.0))]
    assert heights == sorted(set(heights))


@pytest.mark.heavy
def test_what_is_not_staged_is_a_grey_gap(make_night: MakeNight) -> None:
    stages = [2] * 60
    whole = night_png(make_night(stages))
    stages[10:30] = [-1] * 20
    gap = night_png(make_night(stages))
    assert share(whole, LIGHT) < 0.01
    assert share(gap, LIGHT) > 0.1
    # A third of the epochs has gone from the stacked probabilities, and from the hypnogram.
    n2 = COLOURS[Stage.N2]
    assert share(gap, n2) == pytest.approx(share(whole, n2) * 2 / 3, rel=0.1)


@pytest.mark.heavy
def test_an_epoch_between_two_gaps_is_drawn(make_night: MakeNight) -> None:
    assert share(night_png(make_night([-1, 3, -1])), COLOURS[Stage.N3]) > 0.02


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("stages", "can_say", "more"),
    [
        ([0], tuple(Stage), {}),
        ([-1, -1], tuple(Stage), {}),
        ([0, 3, 0], (Stage.W, Stage.N3), {"notes": ("It costs $5 and $6.",) * 40}),
        ([0, 4], tuple(Stage), {"recording": "a_$name$_" * 30, "subject": "$x$" * 30}),
        ([1] * 3000, tuple(Stage), {}),
    ],
    ids=["one epoch", "nothing", "two stages", "names", "25 hours"],
)
def test_what_is_unusual_is_drawn(
    make_night: MakeNight, stages: list[int], can_say: tuple[Stage, ...], more: dict[str, Any]
) -> None:
    night = make_night(stages, can_say=can_say, **more)
    assert pixels(night_png(night)).shape[1] == 1920


@pytest.mark.heavy
def test_a_channel_without_a_signal_is_drawn(make_night: MakeNight) -> None:
    silent = ShownChannel(label="EEG", sfreq=SFREQ, signal_uv=np.zeros(6000))
    assert night_png(make_night([0, 1]), silent)


def test_the_spectrum_of_an_epoch_has_its_peak_where_the_signal_has(make_night: MakeNight) -> None:
    night = make_night([0, 1, 2], onset_s=45.0)
    frequencies, power_db = epoch_spectra(sine(3, 11.0, before_s=45.0), night)
    assert power_db.shape == (len(frequencies), 3)
    assert frequencies[power_db.argmax(axis=0)].tolist() == [11.0] * 3
    # Power of a sine of 20 uV is 200 uV2; the sum over bins of 0.25 Hz gives it back.
    assert (10 ** (power_db[:, 1] / 10)).sum() * 0.25 == pytest.approx(200, rel=0.01)


def test_constant_missing_and_broken_stretches_have_no_spectrum(make_night: MakeNight) -> None:
    channel = sine(4, 11.0)
    signal_uv = channel.signal_uv.copy()
    signal_uv[:3000] = 7.0
    signal_uv[3100] = np.nan
    cut = replace(channel, signal_uv=signal_uv[:-1])  # by one value, so the last epoch has ended
    _, power_db = epoch_spectra(cut, make_night([0, 1, 2, 3]))
    assert np.isnan(power_db).all(axis=0).tolist() == [True, True, False, True]
    assert not np.isnan(power_db[:, 2]).any()


def test_a_slow_channel_is_shown_up_to_half_its_rate(make_night: MakeNight) -> None:
    slow = ShownChannel(
        label="EOG", sfreq=16.0, signal_uv=np.random.default_rng(0).normal(size=960)
    )
    frequencies, _ = epoch_spectra(slow, make_night([0, 1]))
    assert frequencies[-1] == 8.0
