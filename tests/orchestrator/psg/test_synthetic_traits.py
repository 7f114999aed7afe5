"""Traits of made-up subjects: a shift moves all of them, subjects are spread, extremes stay within reason."""

import numpy as np
import pytest

from orchestrator.psg import synthetic
from orchestrator.psg.synthetic_traits import draw_traits


class TestTraits:
    def test_a_shift_moves_all_of_them(self) -> None:
        here, there = (
            [draw_traits(1, number, shift) for number in range(1, 9)] for shift in (0.0, 1.0)
        )
        for a, b in zip(here, there, strict=True):
            assert b.position == pytest.approx(a.position + 1)
            assert b.gain == pytest.approx(a.gain * np.exp(-0.4))
            assert b.slope == pytest.approx(a.slope - 0.6)
            assert b.alpha_hz == pytest.approx(a.alpha_hz - 1.6)
            assert b.noise_uv == pytest.approx(a.noise_uv * np.exp(0.7))
            assert b.contrast == pytest.approx(a.contrast * np.exp(-0.22))

    @pytest.mark.parametrize("seed", range(1, 9))
    def test_six_subjects_already_cover_the_axis(self, seed: int) -> None:
        positions = [draw_traits(seed, number, 0.0).position for number in range(1, 7)]
        assert max(positions) > 0.3
        assert min(positions) < -0.3

    def test_extreme_domains_stay_within_reason(self) -> None:
        for number in range(1, 60):
            traits = draw_traits(4, number, synthetic.LARGEST_SHIFT)
            assert traits.slope > 0
            assert traits.alpha_hz > 5
            assert traits.noise_uv < 20

    def test_spread_scales_every_deviation(self) -> None:
        none = draw_traits(1, 3, 0.5, spread=0.0)
        assert none.position == 0.5
        assert none.slope == pytest.approx(1.8 - 0.6 * 0.5)
        assert none.gain == pytest.approx(np.exp(-0.4 * 0.5))
        one, two = (draw_traits(1, 3, 0.5, spread=spread) for spread in (1.0, 2.0))
        assert two.position - 0.5 == pytest.approx(2 * (one.position - 0.5))
        assert two.alpha_hz - none.alpha_hz == pytest.approx(2 * (one.alpha_hz - none.alpha_hz))
        for name in ("gain", "noise_uv", "contrast"):
            once, twice = (
                np.log(getattr(traits, name) / getattr(none, name)) for traits in (one, two)
            )
            assert twice == pytest.approx(2 * once)

    def test_without_spread_all_subjects_are_the_same(self) -> None:
        assert draw_traits(1, 1, 0.0, spread=0.0) == draw_traits(5, 7, 0.0, spread=0.0)
