"""What a finished sweep says about tau, as one HTML page with its figures and tables."""

from orchestrator.review.report import write_review

__all__ = ["write_review"]
