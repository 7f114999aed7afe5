"""When a search that was killed was last heard of: no one could say that it ends."""

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.watch.live_metrics import AT, live_metrics
from orchestrator.telemetry.events import naming_line

NEVER = datetime.min.replace(tzinfo=UTC)


def last_heard(store: Store, name: str, events: Iterable[Mapping[str, Any]]) -> datetime:
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
    searching = False
    heard: list[datetime] = []
    signatures: dict[str, str] = {}  # of the trials that run
    where = store.uri_of(paths.sweep_events(name))
    for line, event in enumerate(events, start=1):
        with naming_line(where, line, event):
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
                heard.append(datetime.fromisoformat(event["time"]).astimezone(UTC))
    for signature in signatures.values():
        if said := live_metrics(store, paths.live_metrics(name, signature), AT):
            with contextlib.suppress(
                ArithmeticError, OSError, ValueError
            ):  # no time: nothing is known
                heard.append(datetime.fromtimestamp(said["at"], UTC))
    return max(heard, default=NEVER)
