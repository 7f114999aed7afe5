"""Waiting for the machines of a cluster to join."""

import time
from pathlib import Path

from orchestrator.cluster.ec2 import refusal_in
from orchestrator.cluster.job_server import get
from orchestrator.cluster.state import Running
from orchestrator.errors import SetupError

_JOIN_S = 600.0


def await_nodes(running: Running, token_file: Path, n: int, join_s: float = _JOIN_S) -> None:
    """Return when so many nodes are alive, the head among them.

    Raises
    ------
    SetupError
        They are not in time; with the addresses of those that are.
    CloudError
        EC2 refuses one.
    """
    deadline = time.monotonic() + join_s
    alive: list[str] = []
    while len(alive) < n:
        if time.monotonic() > deadline:
            raise SetupError(
                f"only {len(alive)} of {n} nodes joined within {join_s:g} s: {', '.join(sorted(alive)) or 'none'}. "
                "The head's logs say why: 'ray monitor', or its dashboard."
            )
        status = get(running.address, "/api/cluster_status?format=1", token_file)
        if status and (refused := refusal_in(str(status["data"].get("clusterStatus")))):
            raise refused
        time.sleep(0.5)
        found = get(running.address, "/api/v0/nodes?limit=1000", token_file)
        nodes = found["data"]["result"]["result"] if found else []
        alive = [node["node_ip"] for node in nodes if node["state"] == "ALIVE"]
