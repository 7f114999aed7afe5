"""Prometheus metrics of a cluster's machines, as its job server tells of them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from orchestrator.cluster.status import ClusterStatus
from orchestrator.sweep.metric_names import Gauges

NODE_STATES = ("alive", "ended", "lost")


class ClusterCollector(Collector):
    """Asks where a cluster stands in the background, so that a scrape only writes down what is known.

    Parameters
    ----------
    ask : callable
        As :func:`orchestrator.cluster.status.cluster_status`, for one cluster.
    """

    every_s = 15.0
    """Between two looks."""

    def __init__(self, ask: Callable[[], ClusterStatus]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._families: list[Metric] = []

    def look(self) -> None:
        """Ask once. While nobody answers, nothing is said of machines."""
        status = self._ask()
        gauges = Gauges.none()
        gauges.set("cluster_up", status.state == "up", status.cluster_name)
        if status.state == "up":
            counts = Counter(node.state for node in status.nodes)
            for state in NODE_STATES:
                gauges.set("cluster_nodes", counts[state], status.cluster_name, state)
        with self._lock:
            self._families = gauges.families

    def collect(self) -> Iterable[Metric]:
        """Give what is known, as Prometheus wants it."""
        with self._lock:
            return list(self._families)
