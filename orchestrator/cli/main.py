"""Entry point of the command line: one group, our errors as one paragraph, exit codes of ``orchestrator.errors``."""

import contextlib
import sys
import textwrap
from typing import Any

import click

from orchestrator.cli import clusters, data, jobs, machine, metrics, predict, results, search, watch
from orchestrator.errors import InterruptedSweepError, OrchestratorError
from orchestrator.telemetry.session import prepare_ray_environment
from orchestrator.telemetry.termination import ended_like_ctrl_c


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sleep-orchestrator")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def commands(debug: bool) -> None:
    """Find the hyperparameters of sleep-staging transfer learning.

    Ingest recordings, pretrain an encoder, score how far each source batch is from the target, sweep over tau, and
    review what came of each. `orchestrator demo` shows all of it on made-up recordings.
    """


for command in (
    *data.COMMANDS,
    *search.COMMANDS,
    *clusters.COMMANDS,
    *jobs.COMMANDS,
    *watch.COMMANDS,
    *results.COMMANDS,
    *predict.COMMANDS,
    *machine.COMMANDS,
    *metrics.COMMANDS,
):
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Our own errors print one paragraph on standard error and end with their exit code; with ``--debug``, and for
    anything that is not ours, there is a traceback. SIGTERM and SIGHUP do what Ctrl-C does.
    """
    prepare_ray_environment()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with ended_like_ctrl_c():
            code: Any = commands.main(arguments, prog_name="orchestrator", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        with contextlib.suppress(OSError):  # of a terminal that was closed
            click.echo("Interrupted. The same command goes on where it was.", err=True)
        sys.exit(InterruptedSweepError.exit_code)
    except OrchestratorError as error:
        if "--debug" in arguments:
            raise
        with contextlib.suppress(OSError):
            click.echo(paragraph(f"Error: {error}"), err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def paragraph(text: str) -> str:
    """Wrap each line of a message to 100 columns, without breaking paths."""
    return "\n".join(
        textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )


if __name__ == "__main__":
    main()
