"""Decides what runs where, and what came of it: stores, sweeps, reviews, staged nights, and the command line.

What is in ``__all__`` is meant to be used, as in ``import orchestrator as so``; everything else may change. Importing
it takes no time: what a name needs is imported when the name is used first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api.data import Ingested, ingest, synth
    from orchestrator.api.hypnogram import Hypnogram
    from orchestrator.api.model import Model, load_model
    from orchestrator.api.search import Results, Review, results, review, sweep
    from orchestrator.errors import OrchestratorError

_HOMES = {
    "Hypnogram": "api.hypnogram",
    "Ingested": "api.data",
    "Model": "api.model",
    "OrchestratorError": "errors",
    "Results": "api.search",
    "Review": "api.search",
    "ingest": "api.data",
    "load_model": "api.model",
    "results": "api.search",
    "review": "api.search",
    "sweep": "api.search",
    "synth": "api.data",
}
"""Module of each public name."""

__all__ = [
    "Hypnogram",
    "Ingested",
    "Model",
    "OrchestratorError",
    "Results",
    "Review",
    "ingest",
    "load_model",
    "results",
    "review",
    "sweep",
    "synth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
