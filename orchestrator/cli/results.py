"""Commands that read results: ``review``."""

import click

from orchestrator.cli.options import store_option, writable_store


@click.command()
@click.argument("name")
@store_option
def review(name: str, store_uri: str) -> None:
    """Write the review of the finished sweep NAME, and print the path of its page."""
    from orchestrator.review import write_review

    click.echo(write_review(writable_store(store_uri), name))


COMMANDS = (review,)
