"""Commands about a cluster file: ``launch``, ``down``."""

import json

import click

from orchestrator.cli.watch import json_option


@click.command()
@click.argument("cluster_file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Check FILE, show what it comes to, and end.")
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--allow-insecure", is_flag=True, help="Launch what others could reach, against all advice."
)
def launch(
    cluster_file: str, dry_run: bool, as_json: bool, yes: bool, allow_insecure: bool
) -> None:
    """Launch the cluster of FILE: check it, say what it costs, ask, start it, and see that it works.

    The same command again changes nothing, or says what it changes. Where it fails, it leaves nothing running.
    """
    from orchestrator.cluster.launch import launch_cluster
    from orchestrator.cluster.plan import plan_cluster, plan_text
    from orchestrator.config.cluster import load_cluster
    from orchestrator.errors import ConfigError

    cluster, source = load_cluster(cluster_file)
    plan = plan_cluster(cluster, source)
    click.echo(json.dumps(plan.as_data(), indent=1) if as_json else plan_text(plan))
    if plan.is_refused and not allow_insecure:
        raise ConfigError(
            f"{cluster_file} is refused: others could reach what it starts. Change what is marked, or insist with "
            "--allow-insecure."
        )
    if dry_run:
        return
    if not yes:
        click.confirm(f"Launch {cluster.cluster_name}?", abort=True)
    launch_cluster(cluster, source.data, cluster_file, click.echo)


@click.command()
@click.argument("cluster_file", metavar="FILE")
@click.option(
    "--verify", is_flag=True, help="Ask afterwards what is still there; exit 6 if something is."
)
def down(cluster_file: str, verify: bool) -> None:
    """End the cluster of FILE, and nothing else."""
    from orchestrator.cluster.launch import end_cluster
    from orchestrator.config.cluster import load_cluster

    cluster, source = load_cluster(cluster_file)
    end_cluster(cluster, source.data, verify=verify, say=click.echo)


COMMANDS = (launch, down)
