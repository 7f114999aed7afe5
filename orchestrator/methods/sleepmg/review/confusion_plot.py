"""The figure of confusion matrices: one for the chosen trial and each row, with counts and row per cent."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from orchestrator.methods.sleepmg.review.confusion import Matrix
from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.methods.sleepmg.review.wording import confusion_caption, confusion_title
from orchestrator.reviews.drawing import GREY, WIDTH, fixed_style, plain, png
from orchestrator.reviews.formats import spread

N_COLUMNS = 3
DARK = 0.55
"""Row share from which the text in a cell is white."""


def confusion_png(found: Findings) -> bytes:
    """Matrices side by side, three in a line, each with its metrics."""
    n_lines = max(1, math.ceil(len(found.matrices) / N_COLUMNS))
    with fixed_style():
        layout = ConstrainedLayoutEngine(wspace=0.06, hspace=0.06)
        figure = Figure(figsize=(WIDTH, 0.9 + 3.8 * n_lines), layout=layout)
        figure.suptitle(
            plain(confusion_title(found.sweep.manifest)),
            x=0.01,
            ha="left",
            fontsize=12.5,
            fontweight="bold",
        )
        panels = figure.subplots(n_lines, N_COLUMNS, squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= len(found.matrices):
                axes.set_axis_off()
                continue
            chosen = found.chosen is found.matrices[i].entry
            _draw(axes, found.matrices[i], ", chosen" if chosen else "")
            if i % N_COLUMNS == 0:
                axes.set_ylabel("true stage", fontsize=8.5, color=GREY)
            if i + N_COLUMNS >= len(found.matrices):
                axes.set_xlabel("predicted stage", fontsize=8.5, color=GREY)
        # In the picture too: it travels without its page.
        caption = textwrap.fill(plain(confusion_caption(found)), 140)
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=GREY)
        return png(figure)


def _draw(axes: Axes, matrix: Matrix, remark: str) -> None:
    n = len(matrix.stages)
    shares = np.array([[matrix.share(i, j) or 0.0 for j in range(n)] for i in range(n)])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in range(n):
        for j in range(n):
            share = matrix.share(i, j)
            per_cent = "\u2013" if share is None else f"{100 * share:.0f} %"
            axes.text(
                j,
                i,
                f"{matrix.counts[i][j]}\n{per_cent}",
                ha="center",
                va="center",
                fontsize=7.5,
                linespacing=1.15,
                color="white" if shares[i, j] > DARK else "#222222",
            )
    axes.set_xticks(range(n), matrix.stages)
    axes.set_yticks(range(n), matrix.stages)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    name = textwrap.fill(matrix.entry.name + remark, 32, max_lines=2, placeholder=" \u2026")
    axes.set_title(plain(name), loc="left", fontsize=10, fontweight="bold", pad=30)
    metrics = axes.annotate(
        _metrics(matrix),
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=8,
        color=GREY,
        linespacing=1.25,
    )
    metrics.set_in_layout(False)  # long lines would make the matrices small


def _metrics(matrix: Matrix) -> str:
    entry = matrix.entry
    accuracy, macro_f1, kappa = (
        spread(entry.mean(metric), entry.sd(metric))
        for metric in ("test_accuracy", "test_macro_f1", "test_kappa")
    )
    return f"accuracy {accuracy},  kappa {kappa}\nmacro-F1 {macro_f1}"
