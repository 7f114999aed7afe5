"""The final table of a sweep as text."""

from typing import TYPE_CHECKING

import click

from orchestrator.config.methods import room
from search_spaces.space import Choice, shown_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.config.sweep_sections import SweepBase


def print_trials(sweep: "SweepBase", table: "pa.Table") -> None:
    """Print trials, then arms or rows, each with the best objective first."""
    columns = _columns(sweep)
    rows = sorted(
        table.to_pylist(),
        key=lambda r: (
            r["kind"] != "trial",
            r["objective"] is None,
            -(r["objective"] or 0),
            r["trial"],
        ),
    )
    wide = max(len("trial"), *(len(row["trial"]) for row in rows)) + 2
    lines = [
        ["-" if row.get(name) is None else format(row[name], spec) for _, name, spec in columns]
        for row in rows
    ]
    widths = [
        max(len(title) + 2, 10, *(len(cells[i]) + 2 for cells in lines))
        for i, (title, _, _) in enumerate(columns)
    ]
    titles = "".join(f"{t:>{w}}" for (t, _, _), w in zip(columns, widths, strict=True))
    click.echo(f"{'trial':<{wide}}{titles}")
    for row, cells in zip(rows, lines, strict=True):
        line = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        notes = [
            "  failed" if row["state"] == "failed" else "",
            f"  ended after report {row['stopped_after']}" if row["state"] == "stopped" else "",
            "  on the front" if row.get("on_front") else "",
            f"  as {row['reused_from']}" if row["reused_from"] else "",
        ]
        click.echo(f"{row['trial']:<{wide}}{line}{''.join(notes)}")


def _columns(sweep: "SweepBase") -> list[tuple[str, str, str]]:
    """Return title, name and format of each column: more where trials have choices, several seeds or objectives."""
    search = sweep.search
    shown = room(sweep.method, "results").SHOWN
    varied = search.space.declared() if search else {}
    choices = [(name, name, "") for name, of in varied.items() if isinstance(of, Choice)]
    columns = [*shown_columns(shown.parameters), *choices, *shown.outcomes]
    if search is None:
        return columns
    after = [name for _, name, _ in columns].index("objective") + 1
    further: list[tuple[str, str, str]] = [
        (name.replace("_", " "), name, search.further[name].format) for name in search.also
    ]
    if search.replicates > 1:
        further = [("low", "objective_low", ".3f"), ("high", "objective_high", ".3f"), *further]
    return [*columns[:after], *further, *columns[after:]]
