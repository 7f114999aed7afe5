"""The discriminator figure: how well it tells the training subjects apart, against chance."""

from matplotlib.figure import Figure

from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.reviews.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    WIDTH,
    fixed_style,
    legend_below,
    plain,
    png,
)

LONGEST_NAME = 34


def domains_png(found: Findings) -> bytes:
    """One line for each trial and row with a discriminator, the first on top."""
    with fixed_style():
        n = len(found.domains)
        figure = Figure(figsize=(WIDTH, 1.2 + 0.26 * max(n, 2)), layout="constrained")
        axes = figure.add_subplot()
        for y, entry in enumerate(found.domains):
            accuracy, chance = entry.mean("domain_accuracy"), entry.mean("domain_chance")
            assert accuracy is not None
            if chance is not None:
                axes.plot([chance, accuracy], [y, y], color=GREY, linewidth=1, zorder=2)
                axes.plot(
                    [chance],
                    [y],
                    color=INK,
                    marker="|",
                    markersize=11,
                    markeredgewidth=1.8,
                    linestyle="",
                    zorder=3,
                    label="chance",
                )
            color, marker = (GREEN, "D") if entry.is_row else (BLUE, "o")
            axes.plot(
                [accuracy],
                [y],
                color=color,
                marker=marker,
                markersize=6.5,
                linestyle="",
                zorder=4,
                label="row, mean over seeds" if entry.is_row else "trial of the search",
            )
        axes.set_yticks(range(n), [_name(entry.name, found) for entry in found.domains])
        axes.set_ylim(n - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=LIGHT, linewidth=0.6, zorder=0)
        axes.set_xlabel("accuracy of the discriminator (training epochs, last pass)")
        legend_below(figure, n_columns=3)
        return png(figure)


def _name(name: str, found: Findings) -> str:
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"
    chosen = found.chosen is not None and name == found.chosen.name
    return plain(f"{short} (chosen)" if chosen else short)
