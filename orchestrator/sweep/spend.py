"""What the machines of a cluster cost while a search runs."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from orchestrator.cluster.prices import USD_PER_HOUR
from orchestrator.errors import ConfigError
from orchestrator.sweep.halt import Halt

_LOOK_S = 10.0
"""How often the machines are counted: they come and go."""


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
        self._thread = threading.Thread(target=self._count, name="meter", daemon=True)

    def _count(self) -> None:
        before = time.monotonic()
        ended = False
        while not ended:
            ended = self._ended.wait(_LOOK_S)
            now = time.monotonic()
            self.usd += self._rate * (now - before) / 3600
            before = now
            try:
                self._rate = usd_per_hour(ray.nodes())  # type: ignore[no-untyped-call]
            except ConfigError as error:
                self._halt.stop(error)
                return

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
