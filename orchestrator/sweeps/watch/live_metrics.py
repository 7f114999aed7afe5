"""What trainings say of themselves in the store while they run, read back; `surroundings` writes it."""

from typing import Any

from orchestrator.store.decoding import Kinds, json_object
from orchestrator.store.store import Store

_NUMBER = int | float

AT: Kinds = {"at": _NUMBER}
"""When it was said, in seconds since 1970."""
ALL: Kinds = {
    **AT,
    "n_steps": int,
    "loss": _NUMBER,
    "epochs_per_s": _NUMBER,
    "data_wait": _NUMBER,
    "device": str,
    "memory_bytes": int,
    "modalities": dict,
}
"""What the exporter shows."""


def live_metrics(store: Store, path: str, kinds: Kinds = ALL) -> dict[str, Any] | None:
    """Return what a training says; None where it says nothing, or where that is just replaced on some S3 servers.

    Parameters
    ----------
    store : Store
    path : str
    kinds : mapping
        What is needed of it.

    Raises
    ------
    IntegrityError
        The file is damaged.
    """
    content = store.read_if_there(path)
    return json_object(content, store.uri_of(path), kinds) if content else None
