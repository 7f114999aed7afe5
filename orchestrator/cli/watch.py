"""Commands that look at a sweep from another shell: ``status``, ``logs``, ``stop``."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import cluster_option, store_of, store_option

if TYPE_CHECKING:
    from orchestrator.store.store import Store

_LOOK_S = 2.0

json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Machine-readable."
)


@click.command()
@click.argument("name", required=False)
@store_option
@cluster_option
@json_option
@click.option("--watch", is_flag=True, help="Again every two seconds, until it ends.")
def status(
    name: str | None, store_uri: str, cluster_file: str | None, as_json: bool, watch: bool
) -> None:
    """Say where sweep NAME stands: trials, the best one, what runs.

    Without NAME, all sweeps of the store, a line each; with --cluster alone, where the cluster stands.
    """
    from orchestrator.sweeps.lock import Holders
    from orchestrator.sweeps.watch.status import sweep_status
    from orchestrator.sweeps.watch.status_text import status_text
    from orchestrator.telemetry.progress import on_terminal

    if name is None:
        if cluster_file is not None:
            _cluster_status(cluster_file, as_json)
        elif watch:
            raise click.UsageError("--watch follows one sweep: name it.")
        else:
            _all_sweeps(store_uri, as_json)
        return
    store = _store(store_of(store_uri, cluster_file))
    if watch and not as_json and on_terminal(stderr=False):
        _watch(store, name)
        return
    holders = Holders(store)
    while True:
        found = sweep_status(store, name, holders)
        click.echo(json.dumps(dataclasses.asdict(found)) if as_json else status_text(found))
        if not watch or found.state != "running":
            return
        time.sleep(_LOOK_S)


def _all_sweeps(store_uri: str, as_json: bool) -> None:
    from orchestrator.store.store import Store
    from orchestrator.sweeps.watch.sweep_list import sweeps_of, sweeps_text

    begin = "`orchestrator sweep FILE` begins one, and `orchestrator init DIR` writes files to begin with"
    hint = f"No sweep has begun there: {begin}; or name another store with --store."
    store = Store.open(store_uri, existing=True, hint=hint)
    found = sweeps_of(store)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(sweep) for sweep in found]))
    elif found:
        click.echo(sweeps_text(found))
    else:
        click.echo(f"There is no sweep in {store.uri}: {begin}.")


def _cluster_status(cluster_file: str, as_json: bool) -> None:
    from orchestrator.cluster.status import cluster_status, cluster_text
    from orchestrator.config.cluster import load_cluster

    cluster, source = load_cluster(cluster_file)
    found = cluster_status(cluster, source.data)
    click.echo(json.dumps(found.as_data()) if as_json else cluster_text(found))


def _watch(store: "Store", name: str) -> None:
    """Show on a terminal what `orchestrator sweep` shows there, until the sweep ends."""
    from rich.console import Console
    from rich.live import Live

    from orchestrator.sweeps.lock import Holders
    from orchestrator.sweeps.watch.status import sweep_status
    from orchestrator.sweeps.watch.status_table import StatusTable

    holders = Holders(store)
    with Live(console=Console(), auto_refresh=False) as shown:
        while True:
            found = sweep_status(store, name, holders)
            shown.update(StatusTable(found), refresh=True)
            if found.state != "running":
                return
            time.sleep(_LOOK_S)


@click.command()
@click.argument("name")
@store_option
@cluster_option
@json_option
@click.option("--follow", is_flag=True, help="Go on with what comes, until it ends.")
def logs(name: str, store_uri: str, cluster_file: str | None, as_json: bool, follow: bool) -> None:
    """Print the event log of sweep NAME."""
    from orchestrator.sweeps.lock import Holders
    from orchestrator.sweeps.watch.event_text import event_text
    from orchestrator.sweeps.watch.status import sweep_events, sweep_status

    store = _store(store_of(store_uri, cluster_file))
    holders = Holders(store)
    n_shown = 0
    while True:
        running = follow and sweep_status(store, name, holders).state == "running"
        events = sweep_events(store, name)
        for event in events[n_shown:]:
            click.echo(json.dumps(event) if as_json else event_text(event))
        n_shown = len(events)
        if not running:
            return
        time.sleep(_LOOK_S)


@click.command()
@click.argument("name")
@store_option
@cluster_option
@click.option("--now", is_flag=True, help="End the running trials at their last checkpoints, too.")
def stop(name: str, store_uri: str, cluster_file: str | None, now: bool) -> None:
    """Let sweep NAME end after the trials that run now, wherever it runs. `orchestrator sweep` takes it up again."""
    from orchestrator.errors import ConfigError
    from orchestrator.sweeps.lock import BEAT_S, ask_to_stop
    from orchestrator.sweeps.watch.status import sweep_status

    store = _store(store_of(store_uri, cluster_file))
    found = sweep_status(store, name)
    if found.state != "running":
        raise ConfigError(f"sweep {name!r} does not run: it is {found.state}.")
    ask_to_stop(store, name, now=now)
    click.echo(f"asked {found.holder} to stop; it looks every {BEAT_S:g} s.")


def _store(uri: str) -> "Store":
    from orchestrator.store.store import Store

    return Store.open(uri)


COMMANDS = (status, logs, stop)
