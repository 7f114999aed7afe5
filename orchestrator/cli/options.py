"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

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
