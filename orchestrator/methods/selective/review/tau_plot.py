"""The tau curve: target macro-F1 and objective against tau, with arms and kept batches."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from orchestrator.config.objectives import MACRO_F1
from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.methods.selective.review.tau import (
    CurveRow,
    arm_rows,
    enqueued_rows,
    sampled_rows,
)
from orchestrator.methods.selective.review.wording import domains, n_alone, runs
from orchestrator.reviews.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    VERMILLION,
    fixed_style,
    legend_below,
    plain,
    png,
    title,
)
from orchestrator.reviews.formats import counted, range_text


def tau_curve_png(
    rows: Sequence[CurveRow], manifest: Manifest, chosen: TrialRow | None, n_runs: int = 1
) -> bytes:
    """Target macro-F1 and objective against tau, with arms, sampled trials and kept batches.

    Rows without a value are not drawn. The line joins the enqueued points; the cloud holds the
    sampled trials, coloured by learning rate; bars count the kept batches. The line below the title says how many
    runs a point is the mean of.
    """
    with fixed_style():
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        axes = figure.add_subplot()
        title(axes, "Tau curve", f"{plain(domains(manifest))}; {runs(n_runs)}")
        _limit_macro_f1(axes, rows, manifest)
        _draw_kept_batches(axes, rows, manifest)
        _draw_arms(axes, rows)
        _draw_lines(axes, rows, manifest)
        _draw_cloud(figure, axes, rows, manifest)
        _ring_chosen(axes, chosen)
        axes.set_xlim(-0.05, 1.0)
        of_whom = ", of each target subject" if manifest.adapts_to_subjects else ""
        axes.set_xlabel(
            f"tau_quantile: share of the selectable source batches below the cut{of_whom}"
        )
        stages = ", ".join(manifest.declared_stages)
        of_target = manifest.target_is_labelled or manifest.about_objective.measure == MACRO_F1
        axes.set_ylabel(
            f"macro-F1 (over {stages})"
            if of_target
            else f"objective ({manifest.about_objective.measure})"
        )
        legend_below(figure, n_columns=3)
        return png(figure)


def _limit_macro_f1(axes: Axes, rows: Sequence[CurveRow], manifest: Manifest) -> None:
    """Leave the lowest quarter of the picture to the bars of kept batches."""
    values = [
        value
        for row in rows
        for value in (
            row.target_macro_f1,
            row.objective if row.kind != "arm" and manifest.about_objective.is_drawn else None,
        )
        if value is not None
    ]
    if not values:
        axes.set_ylim(0, 1)
        why = "no value of the target's stages" if rows else "no finished trial"
        axes.text(0.5, 0.6, why, transform=axes.transAxes, ha="center", color=GREY)
        return
    span = max(max(values) - min(values), 0.05)
    axes.set_ylim(min(values) - 0.42 * span, max(values) + 0.08 * span)
    # Ticks below the data would belong to the bars in the eye of a reader.
    lowest = min(values) - 0.06 * span
    ticks = [tick for tick in axes.get_yticks() if lowest <= tick <= axes.get_ylim()[1]]
    axes.set_yticks(ticks)
    axes.grid(axis="y", color=LIGHT, linewidth=0.6, zorder=0)


def _draw_kept_batches(axes: Axes, rows: Sequence[CurveRow], manifest: Manifest) -> None:
    points = enqueued_rows(rows) or sampled_rows(rows)
    if not points:
        return
    twin = axes.twinx()
    twin.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    twin.set_axis_off()
    kept = {row.tau_quantile: row.n_kept for row in points if row.tau_quantile is not None}
    n_subjects = n_alone(manifest)
    n_selectable = manifest.n_selectable * (n_subjects or 1)
    twin.set_ylim(0, 5.4 * max(n_selectable, *kept.values(), 1))
    over = "" if n_subjects is None else f", over {counted(n_subjects, 'target subject')}"
    label = f"source batches kept, of {n_selectable}{over}"
    twin.bar(list(kept), list(kept.values()), width=0.04, color=LIGHT, label=label)
    for tau, n_kept in kept.items():
        twin.annotate(
            str(n_kept),
            (tau, n_kept),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=GREY,
        )


def _draw_arms(axes: Axes, rows: Sequence[CurveRow]) -> None:
    """Horizontal lines, named at their right end; names that would touch are moved apart. Grey: no arm is a verdict."""
    arms = sorted(
        (row.target_macro_f1, row.trial.removeprefix("arm-"))
        for row in arm_rows(rows)
        if row.target_macro_f1 is not None
    )
    low, high = axes.get_ylim()
    heights = _spread([(value - low) / (high - low) for value, _ in arms], gap=0.05)
    for (value, name), height in zip(arms, heights, strict=True):
        axes.axhline(value, color=GREY, linestyle=ARMS[name].line, linewidth=1.3, zorder=1)
        axes.annotate(
            f"{plain(name)}  {value:.3f}",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved as little as a simple sweep can to be at least ``gap`` apart."""
    moved = list(heights)
    for _ in range(100):
        settled = True
        for i in range(len(moved) - 1):
            missing = gap - (moved[i + 1] - moved[i])
            if missing > 1e-9:
                moved[i] -= missing / 2
                moved[i + 1] += missing / 2
                settled = False
        if settled:
            break
    return moved


def _draw_cloud(figure: Figure, axes: Axes, rows: Sequence[CurveRow], manifest: Manifest) -> None:
    """Points, coloured by learning rate; diamonds where a trial took other steps than line and arms."""
    cloud = [
        (row.tau_quantile, row.target_macro_f1, row.learning_rate, row.n_steps)
        for row in sampled_rows(rows)
        if row.target_macro_f1 is not None and row.learning_rate is not None
    ]
    if not cloud:
        return
    rates = [rate for _, _, rate, _ in cloud]
    low = 10.0 ** math.floor(math.log10(min(rates)))
    high = max(10.0 ** math.ceil(math.log10(max(rates))), 10 * low)
    as_arms = [point for point in cloud if point[3] == manifest.n_steps]
    others = [point for point in cloud if point[3] != manifest.n_steps]
    for mine, marker, size in ((as_arms, "o", 42), (others, "D", 34)):
        if not mine:
            continue
        taus, values, colours, steps = zip(*mine, strict=True)
        said = f", {range_text((min(steps), max(steps)))} steps" if others else ""
        points = axes.scatter(
            taus,
            values,
            c=colours,
            norm=LogNorm(low, high),
            cmap="cividis",
            marker=marker,
            s=size,
            edgecolors=INK,
            linewidths=0.6,
            zorder=3,
            label=f"target macro-F1, sampled trials{said}",
        )
    bar = figure.colorbar(points, ax=axes, shrink=0.72, pad=0.02, aspect=28)
    bar.set_label("learning rate of sampled trials")
    bar.ax.yaxis.set_major_locator(LogLocator(numticks=12))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)


def _draw_lines(axes: Axes, rows: Sequence[CurveRow], manifest: Manifest) -> None:
    points = enqueued_rows(rows)
    target = [
        (row.tau_quantile, row.target_macro_f1) for row in points if row.target_macro_f1 is not None
    ]
    objective = [(row.tau_quantile, row.objective) for row in points if row.objective is not None]
    if target:
        axes.plot(
            *zip(*target, strict=True),
            color=BLUE,
            linewidth=2.2,
            marker="o",
            markersize=8,
            markeredgecolor="white",
            zorder=5,
            label="target macro-F1, enqueued taus",
        )
    if objective and manifest.about_objective.is_drawn:
        axes.plot(
            *zip(*objective, strict=True),
            color=VERMILLION,
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            marker="s",
            markersize=5.5,
            markerfacecolor="white",
            zorder=4,
            label=f"objective {plain(manifest.objective)} ({manifest.about_objective.measure})",
        )


def _ring_chosen(axes: Axes, chosen: TrialRow | None) -> None:
    if chosen is None or chosen.target_macro_f1 is None or chosen.tau_quantile is None:
        return
    axes.scatter(
        [chosen.tau_quantile],
        [chosen.target_macro_f1],
        s=170,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.4,
        zorder=6,
        label=f"{plain(chosen.trial)}, chosen by the objective",
    )
