"""Whether a cluster that was launched can run a sweep: a job of it says what it finds there."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from orchestrator.cluster.probe import versions
from orchestrator.cluster.state import Running
from orchestrator.errors import SetupError

HEALTH = "health-"
"""What ids of jobs begin with that only look around. Ray goes on listing a job that was deleted, as a failed one."""

_PROBE_S = 120.0


def check_health(running: Running, token_file: Path, store: str | None, python: str) -> None:
    """Run a job on the cluster that compares versions, and tries the store.

    Parameters
    ----------
    running : Running
    token_file : Path
        Of the cluster's token.
    store : str or None
        Tried if it is named.
    python : str
        How the cluster calls Python.

    Raises
    ------
    SetupError
        No job runs there, a version differs, or the store is not reached from there.
    """
    found = _probe(running, token_file, store, python)
    wrong = [
        f"{name} is {found['versions'].get(name)} there and {here} here"
        for name, here in versions().items()
        if found["versions"].get(name) != here
    ]
    if wrong:
        raise SetupError(
            f"the cluster's versions differ: {'; '.join(wrong)}. Sweeps would fail there. Install the same on its "
            "machines, or give its wheel in orchestrator.wheel."
        )
    if found["store"]:
        raise SetupError(f"from the cluster: {found['store']}")


def _probe(running: Running, token_file: Path, store: str | None, python: str) -> dict[str, Any]:
    from ray.job_submission import JobSubmissionClient

    use_token(token_file)
    client = JobSubmissionClient(running.address)
    arguments = "" if store is None else f" {store}"
    job = client.submit_job(
        submission_id=f"{HEALTH}{secrets.token_hex(8)}",
        entrypoint=f"{python} -m orchestrator.cluster.probe{arguments}",
    )
    deadline = time.monotonic() + _PROBE_S
    while not client.get_job_status(job).is_terminal():
        if time.monotonic() > deadline:
            client.stop_job(job)
            raise SetupError(
                f"a job that only looks around did not end within {_PROBE_S:g} s there."
            )
        time.sleep(0.5)
    said = client.get_job_logs(job)
    for line in reversed(said.splitlines()):
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        return found
    raise SetupError(
        f"sleep-orchestrator does not run on the cluster: {' '.join(said.split())[-300:] or 'it said nothing'}."
    )


def use_token(token_file: Path) -> None:
    """Have this process, and what it starts, use the token of a cluster."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file)
    os.environ.pop("RAY_AUTH_TOKEN", None)
