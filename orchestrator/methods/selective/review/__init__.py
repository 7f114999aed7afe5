"""Review of a sweep of the method ``selective``: what came of each tau, beside the control arms."""

from orchestrator.methods.selective.review.report import review_files

__all__ = ["review_files"]
