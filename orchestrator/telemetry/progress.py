"""Progress on standard error: a bar or a live table on a terminal, one plain line per step elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[str], None]
"""Called once per finished step with a few words about it."""

_REDRAWS_PER_S = 4

_consoles: list[Console] = []
"""Where something moves now; the last one is in use."""


def note(text: str) -> None:
    """Print a line on standard error, above the bar or table where there is one."""
    if _consoles:
        _consoles[-1].print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
    else:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(title: str, total: int, *, time_left: bool = False) -> Iterator[Advance]:
    """Show `total` steps of a phase; yields the function to call after each.

    `time_left` is for steps that take about the same time. Nothing is printed on standard output, and no escape codes
    where standard error is not a terminal.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        done = 0

        def line(what: str) -> None:
            nonlocal done
            done += 1
            text = f"{title} {done}/{total} {what}"
            # As it is: a name may hold [brackets], which rich would take for markup.
            console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *((TextColumn("left"), TimeRemainingColumn()) if time_left else ()),
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, what="")
        with _notes_on(console):
            yield lambda what: bar.update(task, advance=1, what=what)


def on_terminal(*, stderr: bool = True) -> bool:
    """Whether standard error, or else standard output, is a terminal that can be drawn on."""
    console = Console(stderr=stderr)
    return console.is_terminal and not console.is_dumb_terminal


@contextlib.contextmanager
def live(render: Callable[[], RenderableType]) -> Iterator[None]:
    """Show what `render` gives, anew four times a second, on standard error, which is a terminal.

    A thread of its own draws, one drawing at a time. `render` must not wait for the thread that is inside the block:
    a signal may have stopped that anywhere, to print a note, which waits for the drawing.
    """
    console = Console(stderr=True)
    with (
        Live(console=console, get_renderable=render, refresh_per_second=_REDRAWS_PER_S),
        _notes_on(console),
    ):
        yield


@contextlib.contextmanager
def _notes_on(console: Console) -> Iterator[None]:
    _consoles.append(console)
    try:
        yield
    finally:
        _consoles.pop()
