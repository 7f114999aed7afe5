"""Events of a sweep in words."""

from collections.abc import Mapping
from typing import Any


def event_text(event: Mapping[str, Any]) -> str:
    """Return an event as a line for people."""
    shown = {
        key: value
        for key, value in event.items()
        if key not in ("time", "event", "host", "pid") and value is not None
    }
    fields = " ".join(f"{key}={_short(value)}" for key, value in shown.items())
    return f"{event['time']} {event['event']} {fields}".rstrip()


def ended_text(event: Mapping[str, Any]) -> str:
    """Return what came of a trial in a few words."""
    if event["event"] == "trial_failed":
        return f"{event['trial']} failed: {_short(event['error'])}"
    if event["event"] == "trial_stopped":
        return f"{event['trial']} ended by the scheduler after report {event['n_parts']}"
    reused = f" (as {event['reused_from']})" if event["reused_from"] else ""
    return f"{event['trial']}, objective {event['objective']:.3f}{reused}"


def _short(value: object) -> str:
    text = str(value).partition("\n")[0]
    return text if len(text) <= 80 else f"{text[:77]}..."
