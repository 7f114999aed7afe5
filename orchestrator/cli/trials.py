"""The final table of a sweep as text."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.config.sweep import SweepFile

_SELECTIVE = (
    ("tau quantile", "tau_quantile", ".3f"),
    ("tau (R)", "tau_absolute", ".4g"),
    ("learning rate", "learning_rate", ".2e"),
    ("kept", "n_kept", "d"),
    ("of", "n_selectable", "d"),
    ("steps", "n_steps", "d"),
    ("objective", "objective", ".3f"),
    ("target F1", "target_macro_f1", ".3f"),
)
_SLEEPMG = (
    ("alpha_f", "alpha_f", ".3f"),
    ("alpha_y", "alpha_y", ".3f"),
    ("alpha_d", "alpha_d", ".3f"),
    ("lambda", "grl_weight", ".3g"),
    ("learning rate", "learning_rate", ".2e"),
    ("folds", "n_folds", "d"),
    ("steps", "n_steps", "d"),
    ("objective", "objective", ".3f"),
    ("test F1", "test_macro_f1", ".3f"),
    ("kappa", "test_kappa", ".3f"),
)
_PRETRAIN = (
    ("learning rate", "learning_rate", ".2e"),
    ("weight decay", "weight_decay", ".2e"),
    ("dropout", "dropout", ".3f"),
    ("batch size", "batch_size", "d"),
    ("best pass", "best_pass", "d"),
    ("passes", "n_passes", "d"),
    ("steps", "n_steps", "d"),
    ("objective", "objective", ".3f"),
    ("lowest", "lowest_subject_macro_f1", ".3f"),
    ("encoder".rjust(16), "encoder_id", "s"),
)
_COLUMNS = {"selective": _SELECTIVE, "sleepmg": _SLEEPMG, "pretrain": _PRETRAIN}


def print_trials(sweep: "SweepFile", table: "pa.Table") -> None:
    """Print trials, then arms or rows, each with the best objective first."""
    columns = _COLUMNS[sweep.method]
    rows = sorted(
        table.to_pylist(), key=lambda r: (r["kind"] != "trial", -(r["objective"] or -1), r["trial"])
    )
    wide = max(len("trial"), *(len(row["trial"]) for row in rows)) + 2
    widths = [max(len(title) + 2, 10) for title, _, _ in columns]
    titles = "".join(f"{t:>{w}}" for (t, _, _), w in zip(columns, widths, strict=True))
    click.echo(f"{'trial':<{wide}}{titles}")
    for row in rows:
        cells = ["-" if row[name] is None else format(row[name], spec) for _, name, spec in columns]
        line = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        notes = [
            "  failed" if row["state"] == "failed" else "",
            f"  as {row['reused_from']}" if row["reused_from"] else "",
        ]
        click.echo(f"{row['trial']:<{wide}}{line}{''.join(notes)}")
