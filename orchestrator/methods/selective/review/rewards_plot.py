"""The reward figure: how far every source batch is from the target."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.methods.selective.results import BatchRow, TrialRow
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.methods.selective.review.wording import domains
from orchestrator.reviews.drawing import (
    BLUE,
    INK,
    LIGHT,
    VERMILLION,
    fixed_style,
    legend_below,
    plain,
    png,
    title,
)


def rewards_png(batches: Sequence[BatchRow], manifest: Manifest, chosen: TrialRow | None) -> bytes:
    """Mean EMD of every source batch, one column per subject, in the order of the recording.

    Kept, not kept and held-out batches differ in marker and colour; the dashed line is the chosen tau. Where each
    target subject is adapted to by itself, the distances are means over all of them, and no tau is shown: what it keeps
    for a subject goes by that subject's own.
    """
    with fixed_style():
        subjects = sorted({batch.subject for batch in batches})
        width = min(max(9.6, 0.3 * len(subjects) + 2.2), 20.0)
        figure = Figure(figsize=(width, 4.4), layout="constrained")
        axes = figure.add_subplot()
        title(axes, "Distance of every source batch to the target", plain(domains(manifest)))
        tau = chosen.tau_absolute if chosen and not manifest.adapts_to_subjects else None
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
        axes.set_ylabel(_distance(manifest))
        legend_below(figure, n_columns=3)
        return png(figure)


def _distance(manifest: Manifest) -> str:
    if manifest.adapts_to_subjects:
        return "EMD to the target batches of all subjects\n(feature units)"
    return "EMD to the target batches\n(feature units; reward R = 1/EMD)"


def _reward_groups(
    batches: Sequence[BatchRow], tau: float | None
) -> list[tuple[str, dict[str, Any], frozenset[BatchRow]]]:
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


def _strip(batches: Sequence[BatchRow], subjects: Sequence[str]) -> list[tuple[BatchRow, float]]:
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
        range(0, len(subjects), every), [plain(subject) for subject in subjects[::every]]
    )
    if sum(len(subject) + 3 for subject in subjects) > 110:  # would touch each other
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("source subject (inside a column: time of the recording)")
