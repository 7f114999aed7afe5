import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from orchestrator.methods.sleepmg.review.balance_plot import balance_png
from orchestrator.methods.sleepmg.review.confusion_plot import confusion_png
from orchestrator.methods.sleepmg.review.domains_plot import domains_png
from orchestrator.methods.sleepmg.review.findings import Findings, find
from orchestrator.methods.sleepmg.review.parameters_plot import parameters_png
from orchestrator.reviews import drawing

pytestmark = pytest.mark.heavy


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_colour(png: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((pixels(png) == wanted).all(axis=2).any())


@pytest.fixture(scope="module")
def cache() -> dict[str, Findings]:
    return {}


@pytest.fixture
def search(made: Any, cache: dict[str, Findings]) -> Findings:
    if "search" not in cache:
        manifest, lab = made.search()
        cache["search"] = find(made.sweep(manifest, lab.tables))
    return cache["search"]


def test_parameters_show_trials_and_rows(made: Any, search: Findings) -> None:
    png = parameters_png(search)
    assert has_colour(png, drawing.BLUE)
    assert has_colour(png, drawing.GREEN)
    without = find(made.sweep(made.manifest_json(rows=[]), {"trials": [made.trial_row()]}))
    assert not has_colour(parameters_png(without), drawing.GREEN)


def test_lambda_zero_has_a_place_on_a_logarithmic_axis(made: Any) -> None:
    trials = [made.trial_row("t000", grl_weight=0.0), made.trial_row("t001", grl_weight=0.1)]
    with_zero = parameters_png(find(made.sweep(made.manifest_json(), {"trials": trials})))
    only = parameters_png(find(made.sweep(made.manifest_json(), {"trials": trials[1:]})))
    assert with_zero != only


@pytest.mark.parametrize("n", [1, 4, 6, 9])
def test_any_number_of_parameters_fits(made: Any, n: int) -> None:
    names = ["alpha_f", "alpha_y", "alpha_d", "dropout", "grl_weight", "learning_rate"]
    names = [*names, "ratio", "schedule", "apply_to"][:n]
    space: dict[str, Any] = {
        name: {"low": 1e-3, "high": 1.0, "log": name.endswith("e")} for name in names
    }
    space |= {name: {"options": [made.trial_row()[name], "other"]} for name in names[6:]}
    manifest = made.manifest_json(searched=names, space=space)
    png = parameters_png(find(made.sweep(manifest, {"trials": [made.trial_row()]})))
    assert pixels(png).shape[1] == pytest.approx(drawing.WIDTH * drawing.DPI)


def choice(made: Any, trials: list[Any], options: list[str]) -> Findings:
    manifest = made.manifest_json(
        searched=["ratio"], space={"ratio": {"options": options}}, rows=[]
    )
    return find(made.sweep(manifest, {"trials": trials}))


def points(png: bytes) -> list[tuple[int, int]]:
    """Row and column of the middle of every blue point, from left to right."""
    blue = (pixels(png) == (0, 0x72, 0xB2)).all(axis=2)
    labels, n = ndimage.label(blue)
    middles = ndimage.center_of_mass(blue, labels, range(1, n + 1))
    return sorted(((round(y), round(x)) for y, x in middles), key=lambda at: at[1])


def test_options_have_columns_and_equal_trials_stay_apart(made: Any) -> None:
    options = ["mean_pairwise", "mean_others"]
    trials = [
        made.trial_row(f"t{i:03d}", ratio=options[i % 2], objective=(0.6, 0.5)[i % 2])
        for i in range(7)
    ]
    png = parameters_png(choice(made, trials, options))
    *drawn, _ = sorted(points(png))  # the lowest is in the legend
    left, right = (sorted(x for y, x in drawn if y == height) for height in {y for y, _ in drawn})
    assert (len(left), len(right)) == (4, 3)
    assert max(left) < min(right)  # columns, in the order of the file
    for column in (left, right):
        assert min(np.diff(column)) > 10  # of a point that is about 14 wide
    assert parameters_png(choice(made, trials, options)) == png
    assert parameters_png(choice(made, trials, options[::-1])) != png


def test_an_option_without_trials_can_be_drawn(made: Any) -> None:
    options = ["a$b", "mean_pairwise", "c_{$"]
    with_mean = parameters_png(choice(made, [made.trial_row()], options))
    assert has_colour(with_mean, drawing.INK)
    assert parameters_png(choice(made, [], options))


def test_balance_has_a_colour_for_each_modality(search: Findings) -> None:
    png = balance_png(search)
    colours = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, drawing.PURPLE)
    assert all(has_colour(png, colour) for colour in colours)


def test_balance_without_discriminator_or_balance_can_be_drawn(made: Any) -> None:
    off = {"mod_y": False, "mod_d": False, "adversary": False}
    nothing = dict.fromkeys(("score_d", "rho_d", "k_d"))
    found = find(
        made.sweep(
            made.ablation_json(),
            {
                "trials": [made.row_row(**off)],
                "modalities": [made.modality_row("row-naivemg-seed1", **nothing)],
            },
        )
    )
    assert found.traced is not None
    assert balance_png(found)


def test_discriminator_marks_trials_rows_and_chance(made: Any, search: Findings) -> None:
    png = domains_png(search)
    assert has_colour(png, drawing.BLUE)
    assert has_colour(png, drawing.GREEN)
    trials = [made.trial_row(domain_chance=None)]
    assert domains_png(find(made.sweep(made.manifest_json(), {"trials": trials})))


@pytest.mark.parametrize(("n_rows", "n_lines"), [(1, 1), (3, 1), (8, 3)])
def test_matrices_stand_three_in_a_line(made: Any, n_rows: int, n_lines: int) -> None:
    names = [f"row {i}" for i in range(n_rows)]
    rows = [{"name": name, "ours": None} for name in names]
    found = find(
        made.sweep(
            made.ablation_json(rows=rows, figure="$x_{$ and a long title " + "a " * 40),
            {"trials": [made.row_row(name) for name in names]},
        )
    )
    height = pixels(confusion_png(found)).shape[0]
    assert height == pytest.approx((0.9 + 3.8 * n_lines) * drawing.DPI, abs=2)


def test_names_with_dollar_signs_are_not_mathematics(made: Any) -> None:
    rows = [{"name": "a$b^$c_{$", "ours": None}]
    tables = {"trials": [made.row_row("a$b^$c_{$"), made.trial_row()]}
    found = find(made.sweep(made.manifest_json(rows=rows), tables))
    for draw in (parameters_png, domains_png, confusion_png):
        assert draw(found)


def test_settings_of_the_user_change_nothing(search: Findings) -> None:
    import matplotlib as mpl

    usual = domains_png(search)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert domains_png(search) == usual
