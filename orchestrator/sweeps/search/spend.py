"""What the machines of a cluster cost while a search runs."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from orchestrator.cluster.prices import USD_PER_HOUR
from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import ConfigError
from orchestrator.sweeps.halt import Halt
from orchestrator.telemetry.progress import note

_LOOK_S = 10.0
"""How often the machines are counted: they come and go."""
_END_S = 5.0


def usd_per_hour(nodes: Iterable[Mapping[str, Any]]) -> float:
    """Return what all machines that are there cost in an hour, at most.

    Parameters
    ----------
    nodes : iterable of mapping
        As ``ray.nodes()`` gives them.

    Raises
    ------
    ConfigError
        One has no price.
    """
    total = 0.0
    for node in nodes:
        if not node["Alive"]:
            continue
        price = node.get("Labels", {}).get(USD_PER_HOUR)
        if price is None:
            raise ConfigError(
                f"search.max_usd: the machine {node['NodeManagerAddress']} has no price. It takes a cluster that "
                "'orchestrator launch' has launched on machines with a price; give missing ones in "
                "orchestrator.prices of the cluster file, or remove max_usd."
            )
        total += float(price)
    return total


def check_priced(search: SearchBase | None, nodes: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a limit in money on machines without a price: before anything is done, and not when the search begins.

    Parameters
    ----------
    search : SearchBase or None
        Of the sweep, if it has one.
    nodes : iterable of mapping
        As ``ray.nodes()`` gives them.

    Raises
    ------
    ConfigError
        There is a limit, and a machine has no price.
    """
    if search is not None and search.max_usd is not None:
        usd_per_hour(nodes)


class Meter:
    """Counts what a running cluster costs, in a thread of its own; used as a context manager.

    Parameters
    ----------
    usd : float
        Of earlier attempts.
    halt : Halt
        Stopped when a machine comes that has no price.

    Raises
    ------
    ConfigError
        A machine has no price.
    """

    def __init__(self, usd: float, halt: Halt) -> None:
        self.usd = usd
        """So far."""
        self._rate = usd_per_hour(ray.nodes())  # type: ignore[no-untyped-call]
        self._halt = halt
        self._ended = threading.Event()
        self._counted_s = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="meter", daemon=True)

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._count()
            try:
                self._rate = usd_per_hour(ray.nodes())  # type: ignore[no-untyped-call]
            except ConfigError as error:
                self._halt.stop(error)
            except (
                Exception
            ) as error:  # Ray may be out of reach for a while; what ran then goes on costing
                note(f"the machines could not be counted: {type(error).__name__}")

    def _count(self) -> None:
        now = time.monotonic()
        self.usd += self._rate * (now - self._counted_s) / 3600
        self._counted_s = now

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_END_S)
        self._count()
