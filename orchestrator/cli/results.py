"""Commands that read results: ``review``, and ``replay``, which makes them again."""

import json

import click

from orchestrator.cli.options import cpus_option, store_option, writable_store
from orchestrator.cli.watch import json_option


@click.command()
@click.argument("name")
@store_option
def review(name: str, store_uri: str) -> None:
    """Write the review of the finished sweep NAME, and print the path of its page."""
    from orchestrator.review import write_review

    click.echo(write_review(writable_store(store_uri), name))


@click.command()
@click.argument("name")
@store_option
@cpus_option
@json_option
@click.option(
    "--trial",
    "trials",
    multiple=True,
    metavar="NAME",
    help="Only this trial, arm or row, such as t003; repeatable.",
)
def replay(
    name: str, store_uri: str, n_cpus: int | None, as_json: bool, trials: tuple[str, ...]
) -> None:
    """Run the finished sweep NAME again in one process, and say whether it gives the same.

    Each configuration is trained anew, without Ray Tune, into a folder that is thrown away; its signature, its
    predictions and its objective must be those that the sweep recorded. The store keeps what it has. Ends with 4 where
    anything differs.
    """
    store = writable_store(store_uri)
    from orchestrator.sweep.replay import replay as run_replay
    from orchestrator.sweep.replay import replay_data, replay_text

    found = run_replay(store, name, trials, n_cpus=n_cpus)
    click.echo(json.dumps(replay_data(found)) if as_json else replay_text(found))
    found.check()


COMMANDS = (review, replay)
