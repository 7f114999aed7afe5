"""Prometheus metrics of a cluster's machines, as its job server tells of them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from orchestrator.cluster.status import ClusterStatus
from orchestrator.sweeps.watch.metric_names import Gauges
from orchestrator.telemetry.progress import note

NODE_STATES = ("alive", "ended", "lost")


class ClusterCollector(Collector):
    """Asks where a cluster stands in the background, so that a scrape only writes down what is known.

    Parameters
    ----------
    cluster_name : str
    ask : callable
        As :func:`orchestrator.cluster.status.cluster_status`, for one cluster.
    """

    every_s = 15.0
    """Between two looks."""

    def __init__(self, cluster_name: str, ask: Callable[[], ClusterStatus]) -> None:
        self._name = cluster_name
        self._ask = ask
        self._lock = threading.Lock()
        self._families: list[Metric] = []

    def look(self) -> None:
        """Ask once. While nobody answers, nothing is said of machines; of a cluster that was to end, nothing at all."""
        try:
            status: ClusterStatus | None = self._ask()
        except Exception as error:  # whatever it is, the cluster is not reached
            note(f"{self._name}: {type(error).__name__}: {error}")
            status = None
        gauges = Gauges.none()
        is_up = status is not None and status.state == "up"
        if status is None or not _was_to_end(status):
            gauges.set("cluster_up", is_up, self._name)
        if status is not None and is_up:
            counts = Counter(node.state for node in status.nodes)
            for state in NODE_STATES:
                gauges.set("cluster_nodes", counts[state], self._name, state)
        with self._lock:
            self._families = gauges.families

    def collect(self) -> Iterable[Metric]:
        """Give what is known, as Prometheus wants it."""
        with self._lock:
            return list(self._families)


def _was_to_end(status: ClusterStatus) -> bool:
    """Whether a cluster is down as it should be: taken down from here, never launched from here, or out of time."""
    if status.state != "down":
        return False
    if status.ends_at is not None:
        return datetime.fromisoformat(status.ends_at) <= datetime.now(UTC)
    return status.launched_at is None
