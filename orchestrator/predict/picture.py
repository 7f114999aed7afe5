"""The picture of one staged recording: stages over their probabilities over the spectrogram of a channel, as PNG.

Drawn as the figures of a review are (:mod:`orchestrator.reviews.drawing`): the same recording gives the same bytes, and
colours are told apart by colour-blind people. Panels are placed in inches, since matplotlib's own layout would take as
long as the rest of the picture.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from orchestrator.predict.staged import ShownChannel, StagedNight
from orchestrator.predict.statistics import IntArray, bouts
from orchestrator.psg.epoch_grid import EPOCH_S
from orchestrator.reviews.drawing import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    SKY,
    VERMILLION,
    WIDTH,
    fixed_style,
    plain,
    png,
)
from orchestrator.reviews.formats import counted, number, percent
from trainables.stages import UNSCORED, Stage

TOP_DOWN: tuple[Stage, ...] = (Stage.W, Stage.REM, Stage.N1, Stage.N2, Stage.N3)
"""Stages as a hypnogram has them, from the top; probabilities are stacked in this order."""

COLOURS: dict[Stage, str] = {
    Stage.W: "#F0E442",  # the yellow of Okabe & Ito: their orange is too near to REM for some eyes
    Stage.REM: VERMILLION,
    # The deeper, the darker.
    Stage.N1: SKY,
    Stage.N2: BLUE,
    Stage.N3: "#0B2545",
}
"""For probabilities, and for REM in the hypnogram."""

HIGHEST_HZ = 30.0
"""Of the spectrogram; what tells stages apart lies below."""

_WINDOW_S = 4.0  # of the spectrogram; gives 0.25 Hz
_SHOWN_PERCENTILES = (2.5, 97.5)  # of the power in dB; the rest takes the colours of the ends

_FAINT = "#A3ABB5"  # stages that the model cannot say

_LEFT, _RIGHT, _GAP = 0.62, 1.12, 0.34  # inches
_TITLE, _AXIS, _LINE = 0.56, 0.58, 0.16
_HYPNOGRAM, _STRIP, _DENSITY, _SPECTROGRAM = 1.35, 0.1, 1.35, 1.35
_CHARACTERS = 138  # of small print that fill the width

_TICKS_H = (1 / 60, 1 / 12, 1 / 6, 1 / 4, 1 / 2, 1, 2, 3, 6)
_MOST_TICKS = 11


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clock:
    """The time axis, in hours: of the day where the start is known, else since the start of the signal."""

    label: str
    edges_h: NDArray[np.float64]
    """(n_epochs + 1,): where epochs begin, and where the last one ends."""
    is_of_day: bool

    def text(self, hours: float) -> str:
        """Return what stands at a tick."""
        minutes = round(hours * 60)
        hour = f"{minutes // 60 % 24:02d}" if self.is_of_day else str(minutes // 60)
        return f"{hour}:{minutes % 60:02d}"

    @property
    def ends_h(self) -> NDArray[np.float64]:
        """(2 * n_epochs,): start and end of each epoch, to draw a value for each that ends at once at a gap."""
        return np.repeat(self.edges_h, 2)[1:-1]


class NightFigure(Figure):
    """A figure that a notebook shows, without the figures of pyplot."""

    def _repr_png_(self) -> bytes:
        with fixed_style():
            return png(self)


def night_png(night: StagedNight, channel: ShownChannel | None = None) -> bytes:
    """Return the picture of one staged recording as PNG, nearly 2000 pixels wide; see :func:`night_figure`."""
    with fixed_style():
        return png(night_figure(night, channel))


def night_figure(night: StagedNight, channel: ShownChannel | None = None) -> NightFigure:
    """Draw one staged recording.

    From the top: what the scorer says, if there is a reference, with marks where the model differs; what the model
    says; the probability of each stage; the spectrogram of a channel, if there is one. What is not staged is a grey
    gap in what the model says, and what the scorer left out is one in the scorer's panel. Notes stand below.

    Parameters
    ----------
    night : StagedNight
    channel : ShownChannel, optional
        A constant or missing stretch of it stays white.

    Returns
    -------
    NightFigure
        A figure of matplotlib, on no screen.
    """
    clock = _clock(night)
    small_print = _small_print(night)
    heights = _heights(night, channel)
    height = _TITLE + sum(heights) + _GAP * len(heights) + _AXIS + _LINE * len(small_print)
    with fixed_style():
        figure = NightFigure(figsize=(WIDTH, height))
        all_panels = list(_panels(figure, heights))
        panels = iter(all_panels)
        _write_title(figure, night)
        _draw_time(all_panels, clock)
        if night.reference is not None:
            axes = next(panels)
            _draw_hypnogram(axes, clock, night.reference, "scorer", tuple(Stage))
            _draw_differences(axes, clock, night, night.reference)
        _draw_hypnogram(next(panels), clock, night.stages, "model", night.can_say)
        _draw_probabilities(next(panels), clock, night)
        if channel is not None:
            _draw_spectrogram(next(panels), clock, night, channel)
        figure.text(
            _LEFT / WIDTH,
            (_LINE * len(small_print) + 0.02) / height,
            plain("\n".join(small_print)),
            fontsize=7.5,
            color=GREY,
            va="top",
            linespacing=1.3,
        )
        return figure


def epoch_spectra(channel: ShownChannel, night: StagedNight) -> tuple[Any, Any]:
    """Return the power spectrum of each epoch.

    Parameters
    ----------
    channel : ShownChannel
    night : StagedNight
        Says where epochs begin.

    Returns
    -------
    frequencies : (n_frequencies,)
        Hz, in steps of 0.25 up to `HIGHEST_HZ`, or to half of the sampling rate.
    power_db : (n_frequencies, n_epochs)
        Welch's estimate in dB re 1 uV2/Hz; NaN where the signal is constant, holds values that are no numbers, or has
        ended.
    """
    from scipy import signal  # here: takes as long to import as a picture without it to draw

    n_times = round(EPOCH_S * channel.sfreq)
    x_ET = np.full((night.n_epochs, n_times), np.nan, np.float32)
    for epoch, onset_s in enumerate(night.onsets_s):
        first = round(onset_s * channel.sfreq)
        whole = channel.signal_uv[first : first + n_times]
        if whole.size == n_times:
            x_ET[epoch] = whole
    # Windows side by side, not overlapping: half the time, and the eye sees no difference.
    n_window = round(_WINDOW_S * channel.sfreq)
    frequencies, power = signal.welch(x_ET, channel.sfreq, nperseg=n_window, noverlap=0)
    kept = frequencies <= HIGHEST_HZ
    with np.errstate(divide="ignore"):
        power_db = 10 * np.log10(power[:, kept]).T
    power_db[:, ~np.isfinite(power_db).all(axis=0) | (np.ptp(x_ET, axis=1) == 0)] = np.nan
    return frequencies[kept], power_db


def _clock(night: StagedNight) -> _Clock:
    edges_h = (night.onset_s + EPOCH_S * np.arange(night.n_epochs + 1)) / 3600
    if night.start is None:
        return _Clock(
            label="hours and minutes since the start of the recording",
            edges_h=edges_h,
            is_of_day=False,
        )
    start = night.start
    at_h = start.hour + start.minute / 60 + (start.second + start.microsecond / 1e6) / 3600
    return _Clock(label="time of day", edges_h=at_h + edges_h, is_of_day=True)


def _heights(night: StagedNight, channel: ShownChannel | None) -> list[float]:
    """Inches of each panel, from the top."""
    scorer = [] if night.reference is None else [_HYPNOGRAM]
    return [*scorer, _HYPNOGRAM, _DENSITY, *([] if channel is None else [_SPECTROGRAM])]


def _panels(figure: Figure, heights: Sequence[float]) -> Iterator[Axes]:
    width, height = figure.get_size_inches()
    top = height - _TITLE
    for panel in heights:
        top -= _GAP + panel
        yield figure.add_axes(
            (_LEFT / width, top / height, (width - _LEFT - _RIGHT) / width, panel / height)
        )


def _write_title(figure: Figure, night: StagedNight) -> None:
    height = figure.get_size_inches()[1]
    x = _LEFT / WIDTH
    name = _cut(night.recording, 70)
    figure.text(x, 1 - 0.32 / height, plain(name), fontsize=12.5, fontweight="bold", va="baseline")
    figure.text(x, 1 - 0.56 / height, plain(_subtitle(night)), fontsize=9, color=GREY)


def _subtitle(night: StagedNight) -> str:
    subject = [] if night.subject is None else [f"subject {_cut(night.subject, 14)}"]
    start = [] if night.start is None else [f"{night.start:%Y-%m-%d}"]
    n_unstaged = int((~night.is_staged).sum())
    parts = [
        *subject,
        *start,
        counted(night.n_epochs, "epoch") + (f", {n_unstaged} not staged" if n_unstaged else ""),
        f"{percent(float(night.is_uncertain.mean()))} uncertain",
    ]
    if (found := night.agreement) is not None:
        parts.append(
            f"accuracy {number(found.accuracy, 2)}, macro-F1 {number(found.macro_f1, 2)}, "
            f"kappa {number(found.kappa, 2)}"
        )
    return "  \u00b7  ".join(parts)


def _cut(name: str, longest: int) -> str:
    """Name that fits a line; not at a blank, as most names have none."""
    return name if len(name) <= longest else f"{name[: longest - 1]}\u2026"


def _small_print(night: StagedNight) -> list[str]:
    """Lines below the picture, which travels without the other files."""
    names = ", ".join(stage.name for stage in night.cannot_say)
    model = ", ".join(f"{key} {value}" for key, value in sorted(night.model.items()))
    parts = [
        *([f"The model cannot say {names}."] if names else []),
        *night.notes,
        *([f"Model: {model}."] if model else []),
    ]
    return textwrap.wrap(" ".join(parts), _CHARACTERS)


def _draw_hypnogram(
    axes: Axes, clock: _Clock, stages: IntArray, name: str, can_say: Sequence[Stage]
) -> None:
    heights = np.full(len(Stage) + 1, np.nan)  # the last one is that of -1
    heights[list(TOP_DOWN)] = range(len(TOP_DOWN))
    axes.plot(clock.ends_h, np.repeat(heights[stages], 2), color=INK, linewidth=0.9, zorder=2)
    for start, stop in bouts(stages):
        if stages[start] == Stage.REM:
            level = heights[Stage.REM]
            span = clock.edges_h[[start, stop]]
            axes.plot(
                span,
                [level, level],
                color=COLOURS[Stage.REM],
                linewidth=3.2,
                solid_capstyle="butt",
                zorder=3,
            )
    _shade(axes, clock, stages == UNSCORED)
    axes.set_ylim(len(Stage) - 0.6, -0.5)
    axes.set_yticks(range(len(Stage)), [stage.name for stage in TOP_DOWN])
    for label, stage in zip(axes.get_yticklabels(), TOP_DOWN, strict=True):
        label.set_color(INK if stage in can_say else _FAINT)
    axes.grid(color=LIGHT, linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    _name(axes, name)


def _draw_differences(
    axes: Axes, clock: _Clock, night: StagedNight, reference: NDArray[np.int8]
) -> None:
    """A strip below the scorer's hypnogram: a mark where the model says another stage."""
    differs = (reference != UNSCORED) & night.is_staged & (reference != night.stages)
    height = _STRIP / _HYPNOGRAM
    spans = _spans(clock, differs)
    transform = axes.get_xaxis_transform()
    axes.broken_barh(
        spans,
        (-1.3 * height, height),
        transform=transform,
        clip_on=False,
        color=INK,
        linewidth=0.2,
    )
    axes.annotate(
        "differs",
        (1, -0.8 * height),
        xycoords="axes fraction",
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _draw_probabilities(axes: Axes, clock: _Clock, night: StagedNight) -> None:
    bottom_up = TOP_DOWN[::-1]
    axes.stackplot(
        clock.ends_h,
        np.repeat(night.probability[:, list(bottom_up)], 2, axis=0).T,
        colors=[COLOURS[stage] for stage in bottom_up],
        linewidth=0,
    )
    _shade(axes, clock, ~night.is_staged)
    axes.set_ylim(0, 1)
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    shown = [stage for stage in TOP_DOWN if stage in night.can_say]
    patches = [Patch(color=COLOURS[stage], label=stage.name) for stage in shown]
    if UNSCORED in night.stages or (night.reference is not None and UNSCORED in night.reference):
        patches.append(Patch(color=LIGHT, label="no stage"))
    axes.legend(
        handles=patches,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        borderaxespad=0.6,
        handlelength=1.0,
        handleheight=1.0,
        labelspacing=0.35,
        fontsize=8,
    )
    _name(axes, "probability of each stage")


def _draw_spectrogram(axes: Axes, clock: _Clock, night: StagedNight, channel: ShownChannel) -> None:
    frequencies, power_db = epoch_spectra(channel, night)
    _name(axes, plain(f"{channel.label}: power in dB re 1 \u00b5V\u00b2/Hz"))
    axes.set_ylabel("Hz")
    axes.set_ylim(0, frequencies[-1])
    if np.isnan(power_db).all():
        axes.text(0.5, 0.5, "no signal", transform=axes.transAxes, ha="center", color=GREY)
        return
    low, high = np.nanpercentile(power_db, _SHOWN_PERCENTILES)
    image = axes.imshow(
        power_db,
        extent=(clock.edges_h[0], clock.edges_h[-1], 0, frequencies[-1]),
        origin="lower",
        aspect="auto",
        cmap="cividis",
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    x, y, width, height = axes.get_position().bounds
    figure = axes.figure
    bar = figure.add_axes((x + width + 0.12 / WIDTH, y + 0.08 * height, 0.1 / WIDTH, 0.84 * height))
    colours = figure.colorbar(image, cax=bar)
    colours.outline.set_visible(False)
    bar.tick_params(labelsize=8, length=2)


def _draw_time(panels: Sequence[Axes], clock: _Clock) -> None:
    """The same hours for all panels, written below the lowest one."""
    first, last = clock.edges_h[0], clock.edges_h[-1]
    step = next((h for h in _TICKS_H if (last - first) / h <= _MOST_TICKS), _TICKS_H[-1])
    ticks = step * np.arange(np.ceil(first / step - 1e-9), np.floor(last / step + 1e-9) + 1)
    texts = [clock.text(float(hours)) for hours in ticks]
    for axes in panels:
        is_lowest = axes is panels[-1]
        axes.set_xlim(first, last)
        axes.set_xticks(ticks, texts if is_lowest else [""] * len(texts))
        if not is_lowest:
            axes.tick_params(axis="x", length=0)
    panels[-1].set_xlabel(clock.label)


def _shade(axes: Axes, clock: _Clock, is_gap: NDArray[np.bool_]) -> None:
    """Grey where there is nothing to say."""
    axes.broken_barh(
        _spans(clock, is_gap),
        (0, 1),
        transform=axes.get_xaxis_transform(),
        color=LIGHT,
        linewidth=0,
        zorder=1,
    )


def _spans(clock: _Clock, is_there: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Start and length, in hours, of each stretch."""
    edges = clock.edges_h
    return [
        (edges[start], edges[stop] - edges[start])
        for start, stop in bouts(is_there)
        if is_there[start]
    ]


def _name(axes: Axes, name: str) -> None:
    axes.set_title(name, loc="left", fontsize=9, pad=4)
