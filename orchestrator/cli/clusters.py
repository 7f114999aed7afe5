"""Commands about a cluster file: ``launch``, ``down``."""

import json

import click

from orchestrator.cli.watch import json_option


@click.command()
@click.argument("cluster_file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Check FILE, show what it comes to, and end.")
@click.option(
    "--online",
    is_flag=True,
    help="With --dry-run: ask the provider, too, without starting anything.",
)
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--allow-insecure", is_flag=True, help="Launch what the plan refuses, against all advice."
)
@click.option(
    "--accept-unknown-cost",
    is_flag=True,
    help="Launch what the plan cannot say the cost of, as some machines have no known price.",
)
def launch(
    cluster_file: str,
    dry_run: bool,
    online: bool,
    as_json: bool,
    yes: bool,
    allow_insecure: bool,
    accept_unknown_cost: bool,
) -> None:
    """Launch the cluster of FILE: check it, say what it costs, ask, start it, and see that it works.

    The same command again changes nothing, or has the cluster take up what has changed in FILE, and says what. Where it
    fails, it leaves nothing running.
    """
    from orchestrator.cluster.launch import check_online, launch_cluster
    from orchestrator.cluster.plan import plan_cluster, plan_text
    from orchestrator.config.cluster import load_cluster
    from orchestrator.errors import ConfigError

    cluster, source = load_cluster(cluster_file, with_files=True)
    plan = plan_cluster(cluster, source)
    click.echo(json.dumps(plan.as_data(), indent=1) if as_json else plan_text(plan))
    refusals = []
    if plan.is_refused and not allow_insecure:
        refusals.append("Change what is marked, or insist with --allow-insecure.")
    if plan.without_price and not accept_unknown_cost:
        refusals.append(
            f"What it costs is unknown: no price is known of {', '.join(plan.without_price)}. Give what an hour costs "
            "in orchestrator.prices of the file, or insist with --accept-unknown-cost."
        )
    if refusals:
        raise ConfigError(f"{cluster_file} is refused. {' '.join(refusals)}")
    if online and not dry_run:
        raise ConfigError("--online goes with --dry-run; a launch asks the provider anyway.")
    if online:
        check_online(cluster, source.data)
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


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("cluster_file", metavar="FILE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(cluster_file: str, command: tuple[str, ...]) -> None:
    """Run a command on the head of the cluster of FILE, and end with its exit code: exec FILE -- ray status."""
    from orchestrator.cluster.launch import run_on_head
    from orchestrator.config.cluster import load_cluster

    cluster, source = load_cluster(cluster_file)
    raise SystemExit(run_on_head(cluster, source.data, command))


COMMANDS = (launch, execute, down)
