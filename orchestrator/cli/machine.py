"""Commands about this machine: ``doctor``."""

import click

from orchestrator.cli.options import store_option


@click.command()
@store_option
def doctor(store_uri: str) -> None:
    """Check that this machine can run everything: versions, memory, Ray, and the store."""
    from orchestrator.doctor import Status, examine
    from orchestrator.errors import SetupError

    failed = []
    for finding in examine(store_uri):
        click.echo(f"{finding.status:<5}{finding.name:<10}{finding.detail}")
        if finding.status is Status.FAIL:
            failed.append(finding.name)
    if failed:
        raise SetupError(f"this machine fails {', '.join(failed)}; see above for what to do.")


COMMANDS = (doctor,)
