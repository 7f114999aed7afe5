"""Commands about a cluster: ``submit``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from orchestrator.store import VARIABLE


@click.command()
@click.argument("sweep_file", metavar="FILE")
@click.option(
    "--address",
    envvar="RAY_API_SERVER_ADDRESS",
    metavar="URL",
    help="Of the cluster's dashboard, such as http://127.0.0.1:8265. Also: RAY_API_SERVER_ADDRESS.",
)
@click.option("--cluster", "cluster_file", metavar="FILE", help="The cluster of this file instead.")
@click.option(
    "--store",
    "store_uri",
    envvar=VARIABLE,
    metavar="URI",
    help=f"s3://bucket/prefix, or a folder that every node sees. Also: {VARIABLE}.",
)
@click.option("--as", "name", metavar="NAME", help="Run it under another name than the file's.")
@click.option(
    "--retry-failed", is_flag=True, help="Try failed trials again, where it has not ended."
)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path),
    help="Send this wheel of sleep-orchestrator along; the cluster then needs only what it depends on.",
)
@click.option(
    "--working-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Send this folder along, at most 100 MiB; by default only FILE is sent.",
)
@click.option("--python", help="Python on the cluster; of the cluster of --cluster, or `python`.")
def submit(
    sweep_file: str,
    address: str | None,
    cluster_file: str | None,
    store_uri: str | None,
    name: str | None,
    retry_failed: bool,
    wheel: Path | None,
    working_dir: Path | None,
    python: str | None,
) -> int:
    """Run sweep FILE as a job of a Ray cluster, show its output, and end with its exit code.

    The job goes on when this command is interrupted; the same command takes the sweep up wherever it is. `ray job
    submit -- orchestrator sweep FILE` does the same, but can only end with 0 or 1.
    """
    from orchestrator.cluster.jobs import Job
    from orchestrator.cluster.jobs import submit as run_job
    from orchestrator.config.sweep import load_sweep, renamed
    from orchestrator.store.store import absolute_uri

    sweep = load_sweep(sweep_file)
    settings: dict[str, str] = {}
    before = None
    if cluster_file is not None:
        found = _of_cluster(cluster_file)
        find, settings = found.find, found.settings
        if sweep.notify is not None and (values := _values(sweep.notify.variables)):
            before = found.hand_over(values)
        store_uri, python = store_uri or found.store, python or found.python
    elif address is not None:
        find = partial(str, address)
    else:
        raise click.UsageError("Name the cluster: --cluster FILE, or --address URL.")
    if store_uri is None:
        raise click.UsageError("Name the store: --store s3://bucket/prefix.")
    options: tuple[str, ...] = ()
    if name is not None:
        renamed(sweep, name)  # a mistake is told here
        options += ("--as", name)
    if retry_failed:
        options += ("--retry-failed",)
    job = Job(
        sweep_file=Path(sweep_file),
        store_uri=absolute_uri(store_uri),
        options=options,
        wheel=wheel,
        working_dir=working_dir,
        python=python or "python",
        before=before,
        settings=settings,
    )
    return run_job(job, find, click.echo)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ClusterAccess:
    """What a job needs of a cluster that was launched from here."""

    find: Callable[[], str]
    """Gives its address, and connects to it anew where that is needed."""
    store: str | None
    python: str
    settings: dict[str, str]
    hand_over: Callable[[dict[str, str]], str]
    """Puts secrets on its head, and gives a command that sets them there."""


def _values(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables of this shell that a job needs, too."""
    from orchestrator.telemetry.notices import from_environment

    return {name: from_environment(name, key) or "" for key, name in variables.items()}


def _of_cluster(cluster_file: str) -> _ClusterAccess:
    """Find a cluster, and have its token sent along."""
    from orchestrator.cluster.launch import provider_of, reachable
    from orchestrator.cluster.plan import growth_of
    from orchestrator.cluster.state import ClusterState
    from orchestrator.config.cluster import load_cluster
    from orchestrator.telemetry.growth import GROWS_TO

    cluster, source = load_cluster(cluster_file)
    growth = growth_of(cluster)
    provider = provider_of(cluster, source.data, ClusterState.of(cluster.cluster_name))

    def hand_over(values: dict[str, str]) -> str:
        reachable(cluster, source.data)
        return provider.hand_over(values)

    return _ClusterAccess(
        find=partial(reachable, cluster, source.data),
        store=cluster.orchestrator.store,
        python=provider.python,
        settings={} if growth is None else {GROWS_TO: growth.as_text()},
        hand_over=hand_over,
    )


COMMANDS = (submit,)
