"""The balance figure: ratios, coefficients and each modality's own macro-F1 over the passes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.methods.sleepmg.review.balance import Quantity, TracePoint
from orchestrator.methods.sleepmg.review.findings import Findings, folds_of
from orchestrator.reviews import known
from orchestrator.reviews.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    PURPLE,
    VERMILLION,
    WIDTH,
    fixed_style,
    plain,
    png,
)

STYLES = {
    "eeg": (BLUE, "o", "-"),
    "eog": (VERMILLION, "s", (0, (6, 2))),
    "emg": (GREEN, "^", (0, (4, 1.5, 1, 1.5))),
    "ecg": (PURPLE, "D", (0, (1, 1.2))),
}
"""Colour, marker and line of each modality."""

PANELS: tuple[tuple[Quantity, str, str], ...] = (
    ("rho_y", "Classifier", "rho (1: as good as the others)"),
    ("rho_d", "Discriminator", ""),
    ("macro_f1", "By itself", "validation macro-F1"),
    ("k_y", "", "k (1: not held back)"),
    ("k_d", "", ""),
)
MOST_MARKERS = 15


def balance_png(found: Findings) -> bytes:
    """Five panels of the traced entry, with a legend in the place of a sixth."""
    present = {point.modality for point in found.traces}
    order = [m for m in (*found.sweep.manifest.modalities, "all") if m in present]
    with fixed_style():
        figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
        panels = figure.subplot_mosaic(
            [["rho_y", "rho_d", "macro_f1"], ["k_y", "k_d", "legend"]], sharex=False
        )
        for quantity, column, label in PANELS:
            axes = panels[quantity]
            points = [point for point in found.traces if point.quantity == quantity]
            axes.set_title(column, loc="left", fontsize=10.5, fontweight="bold")
            axes.set_ylabel(label)
            if not points:
                _say_nothing(axes, _why(found, quantity))
                continue
            _draw(axes, points, order)
            if quantity.startswith("rho"):
                axes.axhline(1, color=INK, linewidth=0.8, zorder=1)
            if quantity.startswith("k"):
                axes.set_ylim(0, 1.05)
        for quantity in ("k_y", "k_d", "macro_f1"):
            panels[quantity].set_xlabel("pass")
        _draw_fused(panels["macro_f1"], found)
        panels["legend"].set_axis_off()
        handles, labels = panels["macro_f1"].get_legend_handles_labels()
        if not labels:
            handles, labels = panels["rho_y"].get_legend_handles_labels()
        panels["legend"].legend(handles, labels, loc="center left", fontsize=9.5)
        return png(figure)


def _draw(axes: Axes, points: Sequence[TracePoint], order: Sequence[str]) -> None:
    for modality in order:
        mine = [point for point in points if point.modality == modality]
        if not mine:
            continue
        color, marker, dashes = STYLES.get(modality, (GREY, "o", "-"))
        passes = [point.pass_ for point in mine]
        means = np.array([point.mean for point in mine])
        sds = np.array([point.sd or 0.0 for point in mine])
        highest = 1.0 if mine[0].quantity.startswith("k") else np.inf
        axes.fill_between(
            passes,
            np.maximum(means - sds, 0),
            np.minimum(means + sds, highest),
            color=color,
            alpha=0.13,
            linewidth=0,
        )
        axes.plot(
            passes,
            means,
            color=color,
            linestyle=dashes,
            linewidth=1.6,
            marker=marker,
            markersize=4.5,
            markevery=max(1, len(mine) // MOST_MARKERS),
            label=modality.upper() if modality in STYLES else modality,
            zorder=3,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(axis="y", color=LIGHT, linewidth=0.6, zorder=0)


def _draw_fused(axes: Axes, found: Findings) -> None:
    """What all modalities reach together, at the pass that was tested."""
    if found.traced is None:
        return
    fused = known.mean(
        fold.validation_macro_f1 for fold in folds_of(found.traced, found.sweep.folds)
    )
    if fused is not None:
        axes.axhline(
            fused,
            color=INK,
            linewidth=1.2,
            linestyle=(0, (8, 3)),
            zorder=2,
            label="all together, tested pass",
        )


def _why(found: Findings, quantity: Quantity) -> str:
    """Reason for an empty panel."""
    runs = found.traced.runs if found.traced else ()
    if quantity.endswith("_d") and not any(run.adversary for run in runs):
        return "no discriminator"
    return "not balanced" if quantity.startswith("k") else "not recorded"


def _say_nothing(axes: Axes, why: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, plain(why), transform=axes.transAxes, ha="center", color=GREY)
