"""Review of a sweep of the method ``sleepmg``: which balance and lambda, and which parts matter."""

from orchestrator.methods.sleepmg.review.report import review_files

__all__ = ["review_files"]
