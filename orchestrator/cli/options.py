"""Options that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.store.store import Store

store_option: Callable[..., Any] = click.option(
    "--store",
    "store_uri",
    default="runs",
    show_default=True,
    envvar="ORCHESTRATOR_STORE",
    metavar="URI",
    help="Folder, or s3://bucket/prefix, of everything durable. Also: ORCHESTRATOR_STORE.",
)

cpus_option: Callable[..., Any] = click.option(
    "--cpus",
    "n_cpus",
    type=click.IntRange(min=1),
    help="CPUs to use on this machine; all by default.",
)


def writable_store(uri: str) -> "Store":
    """Open the store that a command writes to, wherever the command runs."""
    from orchestrator.store.placement import check_outlives_job
    from orchestrator.store.store import Store

    store = Store.open(uri, writable=True)
    check_outlives_job(store)
    return store
