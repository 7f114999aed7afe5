"""The command ``metrics``."""

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import cluster_option, store_of, store_option

if TYPE_CHECKING:
    from orchestrator.sweeps.watch.cluster_metrics import ClusterCollector
    from orchestrator.sweeps.watch.metrics_server import Targets


@click.command()
@store_option
@cluster_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=9464,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
def metrics(store_uri: str, cluster_file: str | None, host: str, port: int) -> None:
    """Serve the metrics of all sweeps in a store to Prometheus, until Ctrl-C.

    They are at /metrics. /targets is for Prometheus' service discovery: this server and, with --cluster, the
    machines of a cluster with Ray's own metrics.
    """
    from orchestrator.store.store import Store
    from orchestrator.sweeps.watch.metrics import StoreCollector
    from orchestrator.sweeps.watch.metrics_server import MetricsServer, WatchingCollector

    store = Store.open(store_of(store_uri, cluster_file), existing=True)
    collectors: list[WatchingCollector] = [StoreCollector(store)]
    targets: Targets = list
    if cluster_file is not None:
        cluster, targets = _of_cluster(cluster_file)
        collectors.append(cluster)
    server = MetricsServer(collectors, host, port, targets)
    click.echo(f"metrics of {store.uri} at {server.address}/metrics", err=True)
    try:
        server.wait()
    finally:
        server.close()


def _of_cluster(file: str) -> "tuple[ClusterCollector, Targets]":
    from orchestrator.cluster.launch import ray_targets
    from orchestrator.cluster.status import cluster_status
    from orchestrator.config.cluster import load_cluster
    from orchestrator.sweeps.watch.cluster_metrics import ClusterCollector

    cluster, source = load_cluster(file)
    collector = ClusterCollector(cluster.cluster_name, lambda: cluster_status(cluster, source.data))
    return collector, lambda: ray_targets(cluster, source.data)


COMMANDS = (metrics,)
