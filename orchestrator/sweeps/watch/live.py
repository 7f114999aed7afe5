"""What a terminal shows while a search runs: the table of ``orchestrator status --watch``, from the same events."""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType

from orchestrator.store import paths
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.watch.status import status_of
from orchestrator.sweeps.watch.status_table import StatusTable
from orchestrator.sweeps.watch.tally import tally_of
from orchestrator.telemetry.progress import Advance, live, on_terminal, progress


@contextlib.contextmanager
def trials_shown(run: Run, n_left: int) -> Iterator[Advance]:
    """Show the trials of a search: a live table on a terminal, one plain line per trial elsewhere.

    Parameters
    ----------
    run : Run
        The events of its log are what the table shows.
    n_left : int
        Trials of this attempt.

    Yields
    ------
    callable
        To be called after each trial with a few words about it.
    """
    if not on_terminal():
        with progress("trials", n_left) as advance:
            yield advance
        return
    where = run.store.uri_of(paths.sweep_events(run.sweep.name))
    tally = tally_of(run.log.events(), where)
    # Filled here and emptied by the thread that draws, without a lock: see `live`.
    events: deque[Mapping[str, Any]] = deque()

    def table() -> RenderableType:
        while events:
            tally.add(events.popleft())
        status = status_of(tally, run.sweep.name, "running", now=datetime.now(UTC))
        return StatusTable(status, title=f"sweep {run.sweep.name}")  # it is left on the screen

    with run.log.heard_by(events.append), live(table):
        yield lambda _: None  # the table has it from the log
