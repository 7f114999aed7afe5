"""``python -m orchestrator``: the command where its script is not on the PATH, as in a job with a shipped wheel."""

from orchestrator.cli.main import main

main()
