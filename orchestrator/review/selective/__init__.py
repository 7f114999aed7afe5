"""Review of a sweep of the method ``selective``: how much tau matters, and whether adaptation helped."""

from orchestrator.review.selective.report import review_files

__all__ = ["review_files"]
