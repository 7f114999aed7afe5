"""Where a sweep stands as a table for a terminal, of the width that there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.sweeps.watch.status import SweepStatus
from orchestrator.sweeps.watch.status_text import (
    counts_text,
    data_wait_text,
    duration_text,
    headline,
    kept_text,
    lost_text,
    params_text,
    part_text,
)
from orchestrator.tables.shown import selection_of

_BAR_WIDTH = 24
_WIDE = 90
"""Columns of a terminal from which on what a trial keeps stands in columns of its own."""


@dataclass(frozen=True, slots=True)
class StatusTable:
    """Where a sweep stands, for rich to print; names in it are shown as they are, also with [brackets]."""

    status: SweepStatus
    title: str | None = None
    """Instead of the name and the state of the sweep."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give one part after the other."""
        status = self.status
        yield Text(self.title or headline(status), style="bold")
        if status.n_trials is not None:
            yield _bar(status)
        yield Text("; ".join(_facts(status)))
        if status.last_ended is not None:
            yield Text(f"last: {status.last_ended}", no_wrap=True, overflow="ellipsis")
        if status.stopped_because:
            yield Text(f"because: {status.stopped_because}")
        if status.best_trial is not None or status.running:
            yield _trials(status, is_wide=options.max_width >= _WIDE)


def _bar(status: SweepStatus) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    done = status.n_complete + status.n_stopped + status.n_failed
    line.add_row(
        ProgressBar(total=status.n_trials or 1, completed=done, width=_BAR_WIDTH),
        Text(counts_text(status)),
    )
    return line


def _facts(status: SweepStatus) -> list[str]:
    facts = [f"elapsed {duration_text(60 * status.minutes_run)}"]
    if status.minutes_left:
        facts.append(f"left about {_roughly(status.minutes_left)}")
    if status.data_wait is not None:
        facts.append(data_wait_text(status.data_wait))
    if status.n_fixed:
        facts.append(f"fixed configurations: {status.n_fixed} done")
    if status.n_lost:
        facts.append(lost_text(status))
    return facts


def _roughly(minutes: float) -> str:
    return f"{minutes:.0f} min" if 1 <= minutes < 60 else duration_text(60 * minutes)


def _trials(status: SweepStatus, *, is_wide: bool) -> Table:
    """Return a table of the best trial and of those that run."""
    some_kept = status.best_kept or next(filter(None, (t.kept for t in status.running)), None)
    columns = selection_of(some_kept).columns if is_wide and some_kept else {}

    def setting(params: Mapping[str, Any], kept: Mapping[str, Any] | None) -> tuple[Text, ...]:
        """Return sampled parameters and what they keep, in one column or in one for each thing."""
        if columns:
            cells = (cell(kept) if kept else "" for cell in columns.values())
            return Text(params_text(params)), *map(Text, cells)
        return (Text("; ".join([params_text(params), *([kept_text(kept)] if kept else [])])),)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("trial", no_wrap=True)
    table.add_column(Text(status.objective or "objective"), overflow="fold")
    table.add_column("parameters", overflow="fold")
    for i, title in enumerate(columns):
        table.add_column(title, overflow="fold" if i else "ellipsis", no_wrap=not i)
    table.add_column("progress", overflow="fold")
    if status.best_trial is not None:
        table.add_row(
            Text(f"{status.best_trial} best"),
            Text(f"{status.best_objective:.3f}"),
            *setting(status.best_params or {}, status.best_kept),
            "",
            style="green",
        )
    for running in status.running:
        part = f"{part_text(running)}, " if running.n_parts else ""
        table.add_row(
            Text(running.trial),
            "",
            *setting(running.params, running.kept),
            Text(f"{part}{duration_text(running.running_s)}"),
        )
    return table
