"""The two figures of a review as PNG bytes: the same rows give the same bytes.

Colours are those of Okabe & Ito (Color Universal Design, 2008) and the map ``cividis``; every
difference shown by a colour is shown by a marker or a line style too.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from orchestrator.review.records import Batch, Manifest, Trial
from orchestrator.review.tau import CurveRow, arm_rows, enqueued_rows, sampled_rows
from orchestrator.review.wording import counted

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6B6B6B"
LIGHT, INK = "#D9DEE4", "#222222"
DPI = 200  # twice the 100 CSS pixels per inch that the page shows it at
_ARM_LINES = {"no_adapt": (0, (1, 1.5)), "all_source": (0, (6, 2)), "random": (0, (4, 1.5, 1, 1.5))}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so it is the same everywhere
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def tau_curve_png(rows: Sequence[CurveRow], manifest: Manifest, chosen: Trial | None) -> bytes:
    """Target macro-F1 and objective against tau, with arms, sampled trials and kept batches.

    Rows without a value are not drawn. The line joins the enqueued points; the cloud holds the
    sampled trials, coloured by learning rate; bars count the kept batches.
    """
    with _fixed_style():
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        axes = figure.add_subplot()
        _title(axes, "Tau curve", manifest)
        _limit_macro_f1(axes, rows)
        _draw_kept_batches(axes, rows, manifest)
        _draw_arms(axes, rows)
        _draw_lines(axes, rows, manifest)
        _draw_cloud(figure, axes, rows)
        _ring_chosen(axes, chosen)
        axes.set_xlim(-0.05, 1.0)
        axes.set_xlabel("tau_quantile: share of the selectable source batches below the cut")
        stages = ", ".join(manifest.declared_stages)
        axes.set_ylabel(f"macro-F1 (over {stages})")
        _legend_below(figure, n_columns=3)
        return _png(figure)


def rewards_png(batches: Sequence[Batch], manifest: Manifest, chosen: Trial | None) -> bytes:
    """Mean EMD of every source batch, one column per subject, in the order of the recording.

    Kept, not kept and held-out batches differ in marker and colour; the dashed line is the chosen tau.
    """
    with _fixed_style():
        subjects = sorted({batch.subject for batch in batches})
        width = min(max(9.6, 0.3 * len(subjects) + 2.2), 20.0)
        figure = Figure(figsize=(width, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _title(axes, "Distance of every source batch to the target", manifest)
        tau = chosen.tau_absolute if chosen else None
        for label, style, group in _reward_groups(batches, tau):
            points = [(x, batch.emd) for batch, x in _strip(batches, subjects) if batch in group]
            if points:
                xs, ys = zip(*points, strict=True)
                axes.scatter(xs, ys, label=f"{label} ({len(points)})", zorder=3, **style)
        if tau is not None and math.isfinite(tau) and tau > 0:
            axes.axhline(1 / tau, color=INK, linestyle=(0, (6, 2)), linewidth=1, zorder=2)
            axes.annotate(
                "chosen tau",
                (1.0, 1 / tau),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                annotation_clip=False,
            )
        for edge in np.arange(0.5, len(subjects) - 1):
            axes.axvline(edge, color=LIGHT, linewidth=0.6, zorder=1)
        _label_subjects(axes, subjects)
        axes.set_ylabel("EMD to the target batches\n(feature units; reward R = 1/EMD)")
        _legend_below(figure, n_columns=3)
        return _png(figure)


@contextmanager
def _fixed_style() -> Iterator[None]:
    """Draw with our settings alone, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without this key matplotlib writes its own version into the file.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _title(axes: Axes, what: str, manifest: Manifest) -> None:
    target = manifest.target_subjects
    subjects = target[0] if len(target) == 1 else f"{len(target)} subjects"
    n_source = len(manifest.source_subjects)
    domains = (
        f"source {_plain(manifest.source_dataset)} ({counted(n_source, 'subject')}), "
        f"target {_plain(manifest.target_dataset)} ({_plain(subjects)})"
    )
    axes.set_title(what, loc="left", fontsize=12.5, fontweight="bold", pad=27)
    axes.annotate(
        domains,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=10,
        color=GREY,
    )


def _plain(text: str) -> str:
    """Name as it is: a dollar sign would start mathematics."""
    return text.replace("$", r"\$")


def _legend_below(figure: Figure, n_columns: int) -> None:
    handles = [
        (handle, label)
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    if handles:
        figure.legend(
            [handle for handle, _ in handles],
            [label for _, label in handles],
            loc="outside lower center",
            ncols=n_columns,
            columnspacing=2.0,
            handletextpad=0.7,
        )


def _limit_macro_f1(axes: Axes, rows: Sequence[CurveRow]) -> None:
    """Leave the lowest quarter of the picture to the bars of kept batches."""
    values = [
        value
        for row in rows
        for value in (row.target_macro_f1, None if row.kind == "arm" else row.objective)
        if value is not None
    ]
    if not values:
        axes.set_ylim(0, 1)
        axes.text(0.5, 0.6, "no finished trial", transform=axes.transAxes, ha="center", color=GREY)
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
    twin.set_ylim(0, 5.4 * max(manifest.n_selectable, *kept.values(), 1))
    label = f"source batches kept, of {manifest.n_selectable}"
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
    """Horizontal lines, named at their right end; names that would touch are moved apart."""
    arms = sorted(
        (row.target_macro_f1, row.trial.removeprefix("arm-"))
        for row in arm_rows(rows)
        if row.target_macro_f1 is not None
    )
    low, high = axes.get_ylim()
    heights = _spread([(value - low) / (high - low) for value, _ in arms], gap=0.05)
    for (value, name), height in zip(arms, heights, strict=True):
        axes.axhline(
            value, color=GREEN, linestyle=_ARM_LINES.get(name, "-"), linewidth=1.3, zorder=1
        )
        axes.annotate(
            f"{_plain(name)}  {value:.3f}",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color="#00654A",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": GREEN,
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


def _draw_cloud(figure: Figure, axes: Axes, rows: Sequence[CurveRow]) -> None:
    cloud = [
        (row.tau_quantile, row.target_macro_f1, row.learning_rate)
        for row in sampled_rows(rows)
        if row.target_macro_f1 is not None and row.learning_rate is not None
    ]
    if not cloud:
        return
    taus, values, rates = zip(*cloud, strict=True)
    low = 10.0 ** math.floor(math.log10(min(rates)))
    high = max(10.0 ** math.ceil(math.log10(max(rates))), 10 * low)
    points = axes.scatter(
        taus,
        values,
        c=rates,
        norm=LogNorm(low, high),
        cmap="cividis",
        s=42,
        edgecolors=INK,
        linewidths=0.6,
        zorder=3,
        label="target macro-F1, sampled trials",
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
    if objective:
        axes.plot(
            *zip(*objective, strict=True),
            color=VERMILLION,
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            marker="s",
            markersize=5.5,
            markerfacecolor="white",
            zorder=4,
            label=f"objective {_plain(manifest.objective)} (macro-F1)",
        )


def _ring_chosen(axes: Axes, chosen: Trial | None) -> None:
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
        label=f"{_plain(chosen.trial)}, chosen by the objective",
    )


def _reward_groups(
    batches: Sequence[Batch], tau: float | None
) -> list[tuple[str, dict[str, Any], frozenset[Batch]]]:
    """Label, marker style and members of the groups in the reward figure, each batch in one."""
    scored = [batch for batch in batches if batch.emd is not None]
    selectable = [batch for batch in scored if batch.selectable]
    kept = frozenset(
        b for b in selectable if tau is not None and b.reward is not None and b.reward > tau
    )
    left = "selectable, not kept" if tau is not None else "selectable"
    return [
        ("kept by the chosen tau", {"c": BLUE, "marker": "o", "s": 30, "linewidths": 0}, kept),
        (
            left,
            {"facecolors": "#A9B4BE", "marker": "D", "s": 20, "linewidths": 0},
            frozenset(selectable) - kept,
        ),
        (
            "held out, never trained on",
            {
                "facecolors": "white",
                "edgecolors": VERMILLION,
                "marker": "s",
                "s": 24,
                "linewidths": 1.2,
            },
            frozenset(batch for batch in scored if not batch.selectable),
        ),
    ]


def _strip(batches: Sequence[Batch], subjects: Sequence[str]) -> list[tuple[Batch, float]]:
    """Batches with their place on the x axis: inside the column of a subject, time goes right."""
    placed = []
    for column, subject in enumerate(subjects):
        own = sorted(
            (batch for batch in batches if batch.subject == subject),
            key=lambda batch: (batch.recording, batch.first_epoch, batch.batch_id),
        )
        offsets = np.linspace(-0.3, 0.3, len(own)) if len(own) > 1 else np.zeros(len(own))
        placed += [(batch, column + float(x)) for batch, x in zip(own, offsets, strict=True)]
    return placed


def _label_subjects(axes: Axes, subjects: Sequence[str]) -> None:
    axes.set_xlim(-0.6, max(len(subjects), 1) - 0.4)
    every = math.ceil(len(subjects) / 60) or 1  # more names than this cannot be read
    axes.set_xticks(
        range(0, len(subjects), every), [_plain(subject) for subject in subjects[::every]]
    )
    if sum(len(subject) + 3 for subject in subjects) > 110:  # would touch each other
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("source subject (inside a column: time of the recording)")
