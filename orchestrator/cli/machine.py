"""Commands that need no files: ``demo`` shows what there is, ``doctor`` checks the machine."""

import click

from orchestrator.cli.options import cpus_option, store_option, writable_store


@click.command()
@store_option
@cpus_option
def demo(store_uri: str, n_cpus: int | None) -> None:
    """Run the whole story on made-up recordings, and print the path of the review page."""
    from orchestrator.demo import run_demo

    store = writable_store(store_uri)
    click.echo(f"open {run_demo(store, click.echo, n_cpus=n_cpus)}")


@click.command()
@store_option
def doctor(store_uri: str) -> None:
    """Check that this machine can run everything: versions, memory, Ray, and the store."""
    from orchestrator.doctor import Finding, Status, examine
    from orchestrator.errors import ClusterUnreachableError, SetupError

    failed = []
    for finding in examine(store_uri):
        click.echo(f"{finding.status:<5}{finding.name:<10}{finding.detail}")
        if finding.status is Status.FAIL:
            failed.append(finding)
    match failed:
        case []:
            return
        case [Finding(error=ClusterUnreachableError() as error)]:
            raise error  # the machine itself is fit
    names = ", ".join(finding.name for finding in failed)
    raise SetupError(f"this machine fails {names}; see above for what to do.")


COMMANDS = (demo, doctor)
