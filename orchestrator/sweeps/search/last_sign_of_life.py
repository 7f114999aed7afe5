"""Last sign of life of a search that was killed and so left no event of its end."""

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.watch.live_metrics import AT, live_metrics
from orchestrator.sweeps.watch.tally import tally_of


def last_sign_of_life(store: Store, name: str, events: Iterable[Mapping[str, Any]]) -> datetime:
    """Return when the latest search of a sweep was last heard of; `NEVER` where none has begun.

    By its events, and by what the trials that it left said of their training: a part of a trial may take hours.

    Parameters
    ----------
    store : Store
    name : str
        Of the sweep.
    events : iterable of mapping
        Of the sweep, oldest first.

    Returns
    -------
    datetime
        In UTC.

    Raises
    ------
    IntegrityError
        An event lacks something.
    """
    tally = tally_of(events, store.uri_of(paths.sweep_events(name)))
    heard = tally.heard
    for signature in tally.signatures.values():
        if said := live_metrics(store, paths.live_metrics(name, signature), AT):
            with contextlib.suppress(
                ArithmeticError, OSError, ValueError
            ):  # no time: nothing is known
                heard = max(heard, datetime.fromtimestamp(said["at"], UTC))
    return heard
