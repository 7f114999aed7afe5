"""Runs between gaps against MNE called on the run itself; scale and quantisation against their definitions."""

from collections.abc import Callable
from itertools import pairwise

import mne
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.errors import RecordingError
from orchestrator.psg.preprocess import (
    clean_epochs,
    cut_epochs,
    quantise,
    robust_scale,
    runs,
)

Noise = Callable[..., NDArray[np.float64]]

N_PAD = {128: 128, 200: 100, 256: 128, 512: 128}
"""The first whole number of values at both rates from 100 on."""
N_PAD_UPWARDS = {50: 100, 64: 112}


def mask(text: str) -> NDArray[np.bool_]:
    """One letter per epoch, ``x`` is flat."""
    return np.array([letter == "x" for letter in text], bool)


def test_runs_are_the_stretches_of_true() -> None:
    assert runs(~mask("")) == []
    assert runs(~mask("xx")) == []
    assert runs(~mask("..")) == [(0, 2)]
    assert runs(~mask("x.xx..x.")) == [(1, 2), (4, 6), (7, 8)]


@pytest.mark.heavy
@pytest.mark.parametrize("sfreq", [*N_PAD_UPWARDS, 100, *N_PAD])
@pytest.mark.parametrize("band", [(0.3, 35.0), (10.0, 45.0)])
def test_each_run_is_what_mne_makes_of_it_alone(
    noise: Noise, sfreq: int, band: tuple[float, float]
) -> None:
    flat = mask("..x.x")
    raw = noise(5, 0, sfreq).reshape(5, -1).copy()
    raw[flat] = 7.0
    n_pad = N_PAD_UPWARDS | N_PAD
    clean = clean_epochs(raw, flat, sfreq, band)
    assert clean.shape == (5, 3000)
    assert (clean[flat] == 0).all()
    for start, stop in [(0, 2), (3, 4)]:
        upper = band[1] if band[1] < 0.45 * sfreq else None
        run = mne.filter.filter_data(
            raw[start:stop].ravel(), sfreq, band[0], upper, pad="reflect", verbose="error"
        )
        if sfreq != 100:
            run = mne.filter.resample(
                run, up=100, down=sfreq, npad=n_pad[sfreq], pad="reflect", verbose="error"
            )
        np.testing.assert_array_equal(clean[start:stop].ravel(), run)


def test_a_signal_is_overwritten_only_where_that_is_allowed(noise: Noise) -> None:
    flat = mask("..x")
    raw = noise(3).reshape(3, -1)
    kept, lost = raw.copy(), raw.copy()
    clean = clean_epochs(kept, flat, 128, (0.3, 35.0))
    np.testing.assert_array_equal(kept, raw)
    np.testing.assert_array_equal(clean_epochs(lost, flat, 128, (0.3, 35.0), overwrite=True), clean)
    assert (lost[:2] != raw[:2]).any()  # else nothing is saved
    np.testing.assert_array_equal(lost[2], raw[2])


@pytest.mark.heavy
@pytest.mark.parametrize("sfreq", [100, *N_PAD])
def test_the_band_passes_in_time_and_the_rest_goes(sfreq: int) -> None:
    """Waves in and outside 0.3-35 Hz; the answer must not depend on MNE's own code.

    At 20 Hz an error of 1 in 100 is a shift of 0.08 ms.
    """
    times = np.arange(2 * 30 * sfreq) / sfreq
    at = np.arange(6000) / 100
    middle = slice(500, 5500)
    for frequency, is_kept in [(0, False), (2, True), (20, True), (47, False)]:
        raw = (100 * np.cos(2 * np.pi * frequency * times)).reshape(2, -1)
        clean = clean_epochs(raw, mask(".."), sfreq, (0.3, 35.0)).ravel()
        expected = 100 * np.cos(2 * np.pi * frequency * at) if is_kept else np.zeros(6000)
        assert np.abs(clean - expected)[middle].max() < 1, frequency


def test_an_upper_edge_that_the_recording_does_not_reach_is_left_out() -> None:
    # At 64 Hz an edge of 35 Hz lies above half the rate: a filter would refuse it.
    times = np.arange(30 * 64) / 64
    raw = (100 * np.sin(2 * np.pi * 25 * times))[None]
    clean = clean_epochs(raw, mask("."), 64, (0.3, 35.0))[0]
    assert clean[500:2500].std() == pytest.approx(100 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("gap", ["level", "two levels", "noise"])
def test_a_run_does_not_depend_on_what_the_gap_holds(noise: Noise, gap: str) -> None:
    flat = mask("..xx.x...")
    raw = noise(9).reshape(9, -1).copy()
    raw[flat] = 0
    other = raw.copy()
    other[flat] = {
        "level": np.full((3, 3840), 450.0),
        "two levels": np.array([[-490.0], [490.0], [3.0]]) * np.ones(3840),
        "noise": noise(3, seed=9).reshape(3, -1),
    }[gap]
    one, two = (clean_epochs(x, flat, 128, (0.3, 35.0)) for x in (raw, other))
    assert one.tobytes() == two.tobytes()
    assert robust_scale(one, flat, "EEG") == robust_scale(two, flat, "EEG")


def test_runs_do_not_depend_on_each_other(noise: Noise) -> None:
    flat = mask("..x..")
    raw = noise(5).reshape(5, -1).copy()
    other = raw.copy()
    other[3:] = noise(2, seed=5).reshape(2, -1) * 3
    one, two = (clean_epochs(x, flat, 128, (0.3, 35.0)) for x in (raw, other))
    assert one[:2].tobytes() == two[:2].tobytes()
    assert one[3:].tobytes() != two[3:].tobytes()


def test_scale_is_of_the_epochs_that_are_not_flat() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(5, 20, (6, 3000))
    flat = mask(".xx.x.")
    clean[flat] = 0
    scale = robust_scale(clean, flat, "EEG")
    kept = np.sort(clean[[0, 3, 5]].ravel())
    assert scale.center_uv == pytest.approx((kept[4499] + kept[4500]) / 2)
    # For normal noise the robust spread is the standard deviation.
    assert scale.spread_uv == pytest.approx(20, rel=0.03)
    assert scale == robust_scale(clean[~flat], mask("..."), "EEG")


def test_a_channel_without_signal_is_refused() -> None:
    for clean, flat in [
        (np.zeros((2, 3000)), mask("xx")),
        (np.zeros((2, 3000)), mask("..")),  # not flat as recorded, nothing left in the band
    ]:
        with pytest.raises(RecordingError, match="'EEG left' is flat") as caught:
            robust_scale(clean, flat, "EEG left")
        assert caught.value.reason == "flat_channel"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e4])
def test_quantising_costs_at_most_half_a_step_and_clips_nothing(noise: Noise, scale: float) -> None:
    clean = noise(2).reshape(2, -1) * scale
    counts, step = quantise(clean)
    assert counts.dtype == np.int16
    assert step == pytest.approx(np.abs(clean).max() / 32767)
    assert np.abs(counts * step - clean).max() <= step / 2 * (1 + 1e-9)
    assert np.abs(counts.astype(int)).max() == 32767


def test_quantising_silence() -> None:
    counts, step = quantise(np.zeros((2, 10)))
    assert not counts.any()
    assert step == 1.0


def test_epochs_are_cut_from_the_first_onset(noise: Noise) -> None:
    signal = noise(3)
    for onset_s, start in [(0.0, 0), (0.5, 64), (7.25, 928)]:
        cut = cut_epochs(signal, 128, onset_s, 2)
        assert cut.shape == (2, 3840)
        for (_, epoch), (begin, end) in zip(
            enumerate(cut), pairwise(range(start, start + 7681, 3840)), strict=True
        ):
            np.testing.assert_array_equal(epoch, signal[begin:end])
    assert cut_epochs(signal, 128, 0, 3).base is not None  # no copy of a whole night


@pytest.mark.parametrize("sfreq", [1.0, 49.9, 100.01])
def test_rates_that_cannot_be_used(sfreq: float) -> None:
    with pytest.raises(RecordingError, match=f"{sfreq:g} Hz") as caught:
        cut_epochs(np.zeros(10_000), sfreq, 0, 1)
    assert caught.value.reason == "sampling_rate"
