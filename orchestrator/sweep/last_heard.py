"""When a search that was killed was last heard of: no one could say that it ends."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.live_metrics import AT, live_metrics


def last_heard(store: Store, name: str, events: Iterable[Mapping[str, Any]]) -> datetime:
    """Return when the latest search of a sweep was last heard of; ``datetime.min`` where none has begun.

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
        In local time without a zone, as Optuna notes it.
    """
    searching = False
    heard: list[datetime] = []
    signatures: dict[str, str] = {}  # of the trials that run
    for event in events:
        match event["event"]:
            case "search_started":
                searching, heard, signatures = True, [], {}
            case "sweep_started":  # an attempt that may have ended before its search
                searching = False
            case "trial_started" if "signature" in event:  # older versions did not tell it
                signatures[event["trial"]] = event["signature"]
            case "trial_done" | "trial_failed" | "trial_stopped":
                signatures.pop(event["trial"], None)
        if searching:
            heard.append(_local(datetime.fromisoformat(event["time"])))
    for signature in signatures.values():
        if said := live_metrics(store, paths.live_metrics(name, signature), AT):
            heard.append(datetime.fromtimestamp(said["at"]))
    return max(heard, default=datetime.min)


def _local(time: datetime) -> datetime:
    return time.astimezone().replace(tzinfo=None)
