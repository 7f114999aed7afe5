"""Commands that read results: ``review``."""

import click

from orchestrator.cli.options import store_option


@click.command()
@click.argument("name")
@store_option
def review(name: str, store_uri: str) -> None:
    """Write the review of the finished sweep NAME, and print the path of its page."""
    from orchestrator.review import write_review
    from orchestrator.store.store import Store

    click.echo(write_review(Store.open(store_uri, writable=True), name))


COMMANDS = (review,)
