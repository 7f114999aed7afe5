"""What a finished sweep says, as one HTML page with figures and tables; what one method shows is in its own folder."""

from orchestrator.reviews.report import write_review

__all__ = ["write_review"]
