"""The methods there are: each a package with the same rooms, which are imported when asked for."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

METHODS: Mapping[str, str] = {
    "selective": "orchestrator.methods.selective",
    "sleepmg": "orchestrator.methods.sleepmg",
    "pretrain": "orchestrator.methods.pretrain",
}
"""Package by what a sweep file writes after ``method:``."""


def room(method: str, name: str) -> ModuleType:
    """Return a room of a method, which has what the rest of the package asks a method for.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    name : str
        ``config``, where ``SWEEP`` is the model of its sweep files; ``results``, where ``SHOWN`` is what it shows of
        its trials; ``run``, where ``METHOD`` is its :class:`orchestrator.method.Method`; or ``review``, where
        ``review_files`` makes the files of its review.
    """
    return import_module(f"{METHODS[method]}.{name}")
