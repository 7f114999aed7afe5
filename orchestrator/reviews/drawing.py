"""How the figures of a review look, as PNG bytes: the same numbers give the same bytes.

Colours are those of Okabe & Ito (Color Universal Design, 2008) and the maps ``cividis`` and ``Blues``; every
difference shown by a colour is shown by a marker, a line style or a number too.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6B6B6B"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
LIGHT, INK = "#D9DEE4", "#222222"
DPI = 200  # twice the 100 CSS pixels per inch that the page shows it at
WIDTH = 9.6  # inches that fill the page
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


@contextmanager
def fixed_style() -> Iterator[None]:
    """Draw with our settings alone, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def png(figure: Figure) -> bytes:
    """Bytes of the figure; nothing in them depends on the time or on matplotlib's version text."""
    buffer = io.BytesIO()
    # Without this key matplotlib writes its own version into the file.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def title(axes: Axes, what: str, subtitle: str) -> None:
    """Bold title at the left, and a grey line below it."""
    axes.set_title(what, loc="left", fontsize=12.5, fontweight="bold", pad=27)
    axes.annotate(
        subtitle,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=10,
        color=GREY,
    )


def plain(text: str) -> str:
    """Name as it is: a dollar sign would start mathematics."""
    return text.replace("$", r"\$")


def legend_below(figure: Figure, n_columns: int) -> None:
    """One legend for all axes, each label once."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=n_columns,
            columnspacing=2.0,
            handletextpad=0.7,
        )
