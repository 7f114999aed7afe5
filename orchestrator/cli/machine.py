"""Commands about this machine: ``doctor``."""

import click

from orchestrator.cli.options import store_option


@click.command()
@store_option
def doctor(store_uri: str) -> None:
    """Check that this machine can run everything: versions, memory, Ray, and the store."""
    click.echo(store_uri)


COMMANDS = (doctor,)
