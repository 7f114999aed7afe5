"""What a search of a sleepmg sweep maximises, and what it may weigh against that."""

from collections.abc import Mapping

from orchestrator.config.objectives import COST, Objective

OBJECTIVES: Mapping[str, Objective] = {
    "validation": Objective(
        what="macro-F1 of the validation subjects of all folds, pooled",
        reads="held-out labels",
    ),
}
"""What a search maximises."""

FURTHER: Mapping[str, Objective] = {
    "cost": COST,
    "worst_subject": Objective(
        what="macro-F1 of the validation subject who fares worst (more is better)",
        reads="held-out labels",
        title="macro-F1 of the worst subject",
    ),
}
"""What it may weigh against that."""
