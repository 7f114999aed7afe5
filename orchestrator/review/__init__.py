"""What a finished sweep says, as one HTML page with its figures and tables; a sub-package for each method."""

from orchestrator.review.report import write_review

__all__ = ["write_review"]
