"""The parameter figure of a sleepmg review: each searched parameter against the objective, rows as horizontal lines."""

from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.reviews import parameters_plot


def parameters_png(found: Findings) -> bytes:
    """One small panel for each searched parameter; trials without an objective are not drawn."""
    return parameters_plot.parameters_png(
        found.sensitivities,
        [trial for trial in found.sweep.trials if not trial.is_row],
        found.chosen.runs[0] if found.chosen else None,
        [(f"row {row.name}", row.mean("objective")) for row in found.rows],
        "validation macro-F1",
    )
