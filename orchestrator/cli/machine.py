"""Commands that need no files: ``init`` writes some, ``demo`` shows what there is, ``doctor`` checks the machine."""

import shlex

import click

from orchestrator.cli.options import cpus_option, store_option, writable_store

FIRST_COMMANDS = """\
orchestrator synth data --subjects 8 --shift 0 --seed 1
orchestrator synth data --subjects 4 --shift 1 --seed 2
orchestrator ingest datasets/synthetic.yaml --data data
orchestrator sweep sweeps/tau.yaml
orchestrator review tau
orchestrator synth new --subjects 1 --shift 1 --seed 3 --hours 8
orchestrator predict tau new
"""
"""What `orchestrator demo` does, step by step, in a folder with the examples."""


@click.command()
@click.argument("folder", metavar="DIR")
def init(folder: str) -> None:
    """Write the example files into folder DIR: data sets, sweeps and clusters, to be copied and changed.

    Nothing that is there is overwritten: files with the same content are left alone, and where there is another file of
    the same name, nothing is written at all.
    """
    from orchestrator.example_files import write_examples

    done = write_examples(folder)
    for name in done.written:
        click.echo(f"wrote {name}")
    there = f"; {done.n_there} were there already" if done.n_there else ""
    click.echo(f"{len(done.written)} example files written into {done.folder}{there}.")
    click.echo("next, on made-up recordings:")
    click.echo(f"cd {shlex.quote(done.folder)}\n{FIRST_COMMANDS}", nl=False)


@click.command()
@store_option
@cpus_option
def demo(store_uri: str, n_cpus: int | None) -> None:
    """Run the whole story on made-up recordings, and print where the review and a staged night are."""
    from orchestrator.demo import run_demo

    store = writable_store(store_uri)
    shown = run_demo(store, click.echo, n_cpus=n_cpus)
    click.echo(f"open {shown.page}\nopen {shown.picture}")


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


COMMANDS = (init, demo, doctor)
