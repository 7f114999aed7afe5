"""The parameter figure: each searched parameter against the objective, what to compare with as horizontal lines.

A parameter with a range has an axis, a choice has a column for each option.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from orchestrator.reviews.drawing import (
    BLUE,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    fixed_style,
    legend_below,
    plain,
    png,
)
from orchestrator.reviews.parameters import Contrast, SearchedTrial, Sensitivity

LINES = [
    (color, dashes)
    for dashes in ((0, (6, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))
    for color in (GREEN, VERMILLION, PURPLE, ORANGE, SKY)
]
"""Colour and dashes of the first 15 lines; further ones begin again."""

_SPREAD = 0.2  # of the distance of two columns, to either side


def parameters_png(
    parameters: Sequence[Sensitivity | Contrast],
    trials: Sequence[SearchedTrial],
    chosen: SearchedTrial | None,
    lines: Sequence[tuple[str, float | None]],
    measure: str,
) -> bytes:
    """One small panel for each searched parameter; trials without an objective are not drawn.

    Parameters
    ----------
    parameters : sequence of Sensitivity or Contrast
        At least one.
    trials, chosen
        Of the search.
    lines : sequence of (str, float or None)
        Name and objective of each thing to compare with; one without a value is not drawn.
    measure : str
        What the objective is, in two or three words.
    """
    judged = [trial for trial in trials if trial.is_complete and trial.objective is not None]
    n_panels = len(parameters)
    n_columns = 3 if n_panels in (3, 5, 6) or n_panels > 6 else 2
    n_lines = math.ceil(n_panels / n_columns)
    with fixed_style():
        figure = Figure(figsize=(WIDTH, 0.9 + 2.9 * n_lines), layout="constrained")
        panels = figure.subplots(n_lines, n_columns, sharey=True, squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= n_panels:
                axes.set_axis_off()
                continue
            _draw_lines(axes, lines)
            parameter = parameters[i]
            if isinstance(parameter, Contrast):
                _draw_options(axes, parameter, judged, chosen)
            else:
                _draw_range(axes, parameter, judged, chosen)
            axes.set_xlabel(plain(parameter.title))
            axes.grid(axis="y", color=LIGHT, linewidth=0.6, zorder=0)
            if i % n_columns == 0:
                axes.set_ylabel(f"objective\n({measure})")
        legend_below(figure, n_columns=3)
        return png(figure)


def _draw_lines(axes: Axes, lines: Sequence[tuple[str, float | None]]) -> None:
    for i, (name, value) in enumerate(lines):
        if value is not None:
            color, dashes = LINES[i % len(LINES)]
            axes.axhline(
                value,
                color=color,
                linestyle=dashes,
                linewidth=1.3,
                zorder=1,
                label=plain(name),
            )


def _draw_range(
    axes: Axes,
    parameter: Sensitivity,
    trials: Sequence[SearchedTrial],
    chosen: SearchedTrial | None,
) -> None:
    def place(trial: SearchedTrial) -> float:
        value: float = trial.params[parameter.name]
        return max(value, zero) if parameter.log else value

    zero = parameter.low / 4  # where a logarithmic axis shows 0
    _draw_trials(axes, place, trials, chosen)
    _set_scale(axes, parameter, trials, zero)


def _draw_options(
    axes: Axes, parameter: Contrast, trials: Sequence[SearchedTrial], chosen: SearchedTrial | None
) -> None:
    names = [mean.option for mean in parameter.options]
    places = {
        trial.trial: column + shift
        for column, name in enumerate(names)
        for trial, shift in _shifts([t for t in trials if t.params[parameter.name] == name])
    }
    _draw_trials(axes, lambda trial: places[trial.trial], trials, chosen)
    for column, mean in enumerate(parameter.options):
        if mean.mean is not None:
            ends = (column - _SPREAD - 0.08, column + _SPREAD + 0.08)
            axes.plot(
                ends,
                [mean.mean] * 2,
                color=INK,
                linewidth=2.2,
                solid_capstyle="butt",
                zorder=2,
                label="mean of an option",
            )
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), [plain(name) for name in names])
    axes.tick_params(axis="x", length=0)


def _shifts(trials: Sequence[SearchedTrial]) -> list[tuple[SearchedTrial, float]]:
    """Give each trial of a column its shift: neighbours in objective go far apart."""
    by_objective = sorted(trials, key=lambda t: (t.objective or 0.0, t.trial))
    golden = (math.sqrt(5) - 1) / 2  # its multiples fill the column evenly, whatever their number
    return [
        (trial, _SPREAD * (2 * (golden * (i + 0.5) % 1) - 1))
        for i, trial in enumerate(by_objective)
    ]


def _draw_trials(
    axes: Axes,
    place: Callable[[SearchedTrial], float],
    trials: Sequence[SearchedTrial],
    chosen: SearchedTrial | None,
) -> None:
    styles: list[tuple[str, bool, dict[str, Any]]] = [
        ("sampled trials", False, {"c": BLUE, "marker": "o", "s": 36, "linewidths": 0}),
        (
            "enqueued trials",
            True,
            {"facecolors": "white", "edgecolors": BLUE, "marker": "s", "s": 36, "linewidths": 1.5},
        ),
    ]
    for label, enqueued, style in styles:
        mine = [trial for trial in trials if trial.enqueued is enqueued]
        if mine:
            xs, ys = [place(trial) for trial in mine], [trial.objective or 0.0 for trial in mine]
            axes.scatter(xs, ys, label=label, zorder=3, **style)
    if chosen is not None:
        axes.scatter(
            [place(chosen)],
            [chosen.objective or 0.0],
            s=150,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.4,
            zorder=4,
            label=f"{plain(chosen.trial)}, chosen by the objective",
        )


def _set_scale(
    axes: Axes, parameter: Sensitivity, trials: Sequence[SearchedTrial], zero: float
) -> None:
    values = [trial.params[parameter.name] for trial in trials]
    low, high = min([parameter.low, *values]), max([parameter.high, *values])
    if not parameter.log:
        margin = 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        return
    axes.set_xscale("log")
    axes.set_xlim((zero if low <= 0 else low) / 1.3, high * 1.3)
    lowest = parameter.low if low <= 0 else low
    decades = range(math.ceil(math.log10(lowest) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    ticks = {zero: "0"} if low <= 0 else {}
    ticks |= {10.0**decade: f"$10^{{{decade}}}$" for decade in decades}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
