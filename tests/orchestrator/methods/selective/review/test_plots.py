import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.methods.selective.results import BatchRow
from orchestrator.methods.selective.review import tau_plot
from orchestrator.methods.selective.review.records import read_trials
from orchestrator.methods.selective.review.rewards_plot import rewards_png
from orchestrator.methods.selective.review.statistics import chosen_trial
from orchestrator.methods.selective.review.tau import curve_rows
from orchestrator.methods.selective.review.tau_plot import tau_curve_png
from orchestrator.reviews import drawing
from orchestrator.tables.rows import read_rows

pytestmark = pytest.mark.heavy


def has_colour(png: bytes, colour: str) -> bool:
    pixels: NDArray[np.uint8] = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((pixels == wanted).all(axis=2).any())


def test_curve_shows_line_objective_arms_and_kept_batches(made: Any) -> None:
    rows, _ = made.sweep()
    trials = read_trials(rows)
    png = tau_curve_png(curve_rows(trials), made.manifest(), chosen_trial(trials))
    assert all(has_colour(png, c) for c in (drawing.BLUE, drawing.VERMILLION, drawing.LIGHT))
    without_arms = curve_rows([t for t in trials if not t.is_arm])
    assert tau_curve_png(without_arms, made.manifest(), chosen_trial(trials)) != png


def test_arms_are_drawn_in_no_colour(made: Any) -> None:
    png = tau_curve_png(curve_rows([made.arm("no_adapt")]), made.manifest(), None)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    light = [int(drawing.LIGHT[i : i + 2], 16) for i in (1, 3, 5)]
    assert np.ptp(pixels, axis=2).max() <= np.ptp(light)  # the grid, the least grey of the greys


def test_curve_says_how_many_runs_a_point_is(made: Any) -> None:
    rows = curve_rows([made.trial("t000", tau_quantile=0.0), made.trial("t001")])
    one = tau_curve_png(rows, made.manifest(), None)
    assert tau_curve_png(rows, made.manifest(), None, n_runs=3) != one
    assert tau_curve_png(rows, made.manifest(), None, n_runs=1) == one


def test_an_objective_on_another_scale_is_not_drawn(made: Any) -> None:
    rows, _ = made.sweep()
    trials = read_trials([row | {"objective": row["objective"] - 40} for row in rows])
    curve = [row for row in curve_rows(trials) if row.enqueued and row.kind != "arm"]
    png = tau_curve_png(curve, made.manifest(objective="target_emd"), None)
    assert not has_colour(png, drawing.VERMILLION)
    assert has_colour(png, drawing.BLUE)
    without = [replace(row, objective=None) for row in curve]
    assert tau_curve_png(without, made.manifest(objective="target_emd"), None) == png


def test_kept_batches_of_several_subjects_are_counted_over_them(made: Any) -> None:
    rows = curve_rows([made.trial("t000", n_kept=150, n_selectable=196)])
    png = tau_curve_png(rows, made.manifest(), None)
    each = made.manifest(adapt_to="subject", target_subjects=["x18", "x19"])
    assert tau_curve_png(rows, each, None) != png


def test_no_batch_is_marked_as_kept_where_each_subject_has_its_own_selection(made: Any) -> None:
    batches = [made.batch(i, emd=8.0 + i) for i in range(4)]
    chosen = made.trial(tau_absolute=0.1)
    assert has_colour(rewards_png(batches, made.manifest(), chosen), drawing.BLUE)
    each = made.manifest(adapt_to="subject")
    assert not has_colour(rewards_png(batches, each, chosen), drawing.BLUE)


def test_trials_of_other_steps_have_another_marker(made: Any) -> None:
    def curve(*n_steps: int) -> bytes:
        trials = [
            made.trial(f"t{i:03d}", enqueued=False, tau_quantile=0.2 + 0.3 * i, n_steps=n)
            for i, n in enumerate(n_steps)
        ]
        return tau_curve_png(curve_rows(trials), made.manifest(), None)

    usual = curve(30, 30)
    drawn = [usual, curve(30, 60), curve(60, 60), curve(60, 90)]
    assert len(set(drawn)) == 4
    assert curve(30, 30) == usual


def test_reward_figure_marks_kept_and_held_out(made: Any) -> None:
    rows, batch_rows = made.sweep()
    chosen, batches = (
        chosen_trial(read_trials(rows)),
        read_rows(BatchRow, batch_rows, "batches.parquet"),
    )
    png = rewards_png(batches, made.manifest(), chosen)
    assert has_colour(png, drawing.BLUE)
    assert has_colour(png, drawing.VERMILLION)
    selectable = [batch for batch in batches if batch.selectable]
    png = rewards_png(selectable, made.manifest(), None)
    assert not has_colour(png, drawing.BLUE)
    assert not has_colour(png, drawing.VERMILLION)


@pytest.mark.parametrize("n_subjects", [1, 30, 150])
def test_reward_figure_takes_any_number_of_subjects(made: Any, n_subjects: int) -> None:
    batches = [made.batch(i, subject=f"subject-{i:03d}") for i in range(n_subjects)]
    size = Image.open(io.BytesIO(rewards_png(batches, made.manifest(), None))).size
    assert size[0] <= 20 * drawing.DPI


def test_rewards_at_distance_zero_and_without_value_can_be_drawn(made: Any) -> None:
    batches = [made.batch(0, emd=0.0), made.batch(1, emd=None), made.batch(2)]
    assert rewards_png(batches, made.manifest(), made.trial(tau_absolute=1e308))
    assert rewards_png([], made.manifest(), None)


def test_names_with_dollar_signs_are_not_mathematics(made: Any) -> None:
    manifest = made.manifest(source_dataset="a$b^$c", target_subjects=["$x_{$"])
    assert tau_curve_png((), manifest, None)


def test_settings_of_the_user_change_nothing(made: Any) -> None:
    import matplotlib as mpl

    rows = curve_rows([made.trial("t000", tau_quantile=0.0), made.trial("t001", tau_quantile=0.5)])
    usual = tau_curve_png(rows, made.manifest(), None)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert tau_curve_png(rows, made.manifest(), None) == usual
        assert mpl.rcParams["font.size"] == 30


def test_labels_of_arms_are_moved_apart_and_stay_in_order() -> None:
    heights = tau_plot._spread([0.5, 0.5, 0.51, 0.9], gap=0.05)
    assert np.diff(heights).min() >= 0.05 - 1e-6
    assert heights[3] == 0.9
    assert np.mean(heights[:3]) == pytest.approx(np.mean([0.5, 0.5, 0.51]))
