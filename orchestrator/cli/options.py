"""Options that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from orchestrator.store import DEFAULT, VARIABLE

if TYPE_CHECKING:
    from orchestrator.store.store import Store

store_option: Callable[..., Any] = click.option(
    "--store",
    "store_uri",
    default=DEFAULT,
    show_default=True,
    envvar=VARIABLE,
    metavar="URI",
    help=f"Folder, or s3://bucket/prefix, of everything durable. Also: {VARIABLE}.",
)

cluster_option: Callable[..., Any] = click.option(
    "--cluster",
    "cluster_file",
    metavar="FILE",
    help="The cluster of this file, launched from here; its store, unless --store names one.",
)

cpus_option: Callable[..., Any] = click.option(
    "--cpus",
    "n_cpus",
    type=click.IntRange(min=1),
    help="CPUs to use on this machine; by default all that the process may use.",
)


def store_of(uri: str, cluster_file: str | None) -> str:
    """Return the store that a command means: of a cluster file, unless another one was named."""
    source = click.get_current_context().get_parameter_source("store_uri")
    if cluster_file is None or source is not click.core.ParameterSource.DEFAULT:
        return uri
    from orchestrator.config.cluster import load_cluster

    cluster, _ = load_cluster(cluster_file)
    return cluster.orchestrator.store or uri


def writable_store(uri: str) -> "Store":
    """Open the store that a command writes to."""
    from orchestrator.store.placement import open_store  # here: pyarrow is no matter of --help

    return open_store(uri, writable=True)
