"""Progress on standard error: a bar on a terminal, one plain line per step elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[str], None]
"""Called once per finished step with a few words about it."""

_bars: list[Progress] = []


def note(text: str) -> None:
    """Print a line on standard error, above the bar where there is one."""
    if _bars:
        _bars[-1].console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
    else:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show `total` steps of a phase; yields the function to call after each.

    Nothing is printed on standard output, and no escape codes where standard error is not a terminal.
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
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, what="")
        _bars.append(bar)
        try:
            yield lambda what: bar.update(task, advance=1, what=what)
        finally:
            _bars.pop()
