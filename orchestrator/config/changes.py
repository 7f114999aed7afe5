"""What differs between two sweep files, and what of it a sweep that has begun can take up. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.sweep_sections import SweepBase

ABSENT = None
"""Stands for a key that is not there."""

_LIMITS = ("max_hours", "max_gpu_hours", "max_usd", "plateau", "failure_quota")
OF_THE_SEARCH = ("search.n_trials", *(f"search.{name}" for name in _LIMITS))
"""Keys that say how long a search goes on."""

OF_THE_RUN = (
    "notify",
    "search.max_concurrent",
    "cpus_per_worker",
    "gpus_per_worker",
    "keep_models",
    "refit",
)
"""Keys that say how a sweep is run, and not what comes out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One key in which two sweep files differ."""

    key: str
    """Dotted path, such as ``search.n_trials``."""
    before: Any
    """Plain value; ``ABSENT`` where there is none."""
    after: Any

    def __str__(self) -> str:
        if self.key == "notify":  # addresses are nobody else's business
            return "notify"
        return f"{self.key}: {_plain(self.before)} -> {_plain(self.after)}"


def differences(before: SweepBase, after: SweepBase) -> list[Difference]:
    """List what differs between two sweeps, in the order of the file; empty for equal sweeps.

    The number of their defaults is not compared: what it means is in the other keys.
    """
    old, new = (_of(sweep) for sweep in (before, after))
    return [
        Difference(key=key, before=old.get(key, ABSENT), after=new.get(key, ABSENT))
        for key in {**new, **old}
        if old.get(key) != new.get(key)
    ]


def why_not(difference: Difference, before: SweepBase, after: SweepBase) -> str | None:
    """Say why a sweep that has begun cannot go on with a difference; None where it can.

    It can where the key enters no signature, so that all that is trained stays what it is.

    Parameters
    ----------
    difference : Difference
    before, after : SweepBase
        As it was begun, and as it is to go on.
    """
    if difference.key not in (*OF_THE_SEARCH, *OF_THE_RUN):
        return "what is proposed or trained depends on it"
    if difference.key == "search.n_trials":
        if ABSENT in (difference.before, difference.after):
            return "a sweep cannot get or lose its search"
        if difference.after < difference.before:
            return "it can only be raised"
    if difference.key == "gpus_per_worker" and before.device != after.device:
        return "it moves the training between CPU and GPU, which gives other numbers"
    return None


def _of(sweep: SweepBase) -> dict[str, Any]:
    whole = sweep.resolved()
    notify = whole.pop("notify", ABSENT)
    whole.pop("defaults")
    return {**_flat(whole), **({} if notify is ABSENT else {"notify": notify})}


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings, and lists of named ones, to dotted key paths; other lists are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}.")
        elif isinstance(value, list) and value and _is_named(value[0]):
            flat[path] = [item["name"] for item in value]
            for item in value:
                flat |= _flat(
                    {k: v for k, v in item.items() if k != "name"}, f"{path}.{item['name']}."
                )
        else:
            flat[path] = value
    return flat


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and "name" in value


def _plain(value: object) -> str:
    match value:
        case None:
            return "absent"
        case bool():
            return str(value).lower()
        case dict():
            return f"{{{', '.join(f'{key}: {_plain(inner)}' for key, inner in value.items())}}}"
        case list():
            return ", ".join(map(_plain, value))
    return str(value)
