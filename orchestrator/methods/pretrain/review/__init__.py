"""Review of a sweep of the method ``pretrain``: how to train the source encoder."""

from orchestrator.methods.pretrain.review.report import review_files

__all__ = ["review_files"]
