"""Waiting for a cluster to come up: its job server, and all its machines."""

import time
from collections.abc import Callable

from orchestrator.cluster.ec2 import refusal_in
from orchestrator.cluster.job_server import answers, get, is_guarded
from orchestrator.cluster.ray_config import DASHBOARD_PORT
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.errors import SetupError

_ANSWER_S = 60.0
_JOIN_S = 600.0


def await_job_server(
    running: Running, state: ClusterState, said: Callable[[], str], answer_s: float = _ANSWER_S
) -> None:
    """Return when the cluster's job server answers, and takes the cluster's token.

    Parameters
    ----------
    running : Running
    state : ClusterState
    said : callable
        Gives what Ray on the head has written last.
    answer_s : float
        How long to wait.

    Raises
    ------
    SetupError
        It does not in time, or it answers anybody.
    """
    deadline = time.monotonic() + answer_s
    guarded = None
    while guarded is None or not answers(running.address, state.token_file):
        guarded = is_guarded(running.address)
        if time.monotonic() > deadline:
            words = " / ".join(line.strip() for line in said().splitlines() if line.strip())
            raise SetupError(
                f"the head is reached, but no job server of this cluster answers on its port {DASHBOARD_PORT} after "
                f"{answer_s:g} s. Something else may listen there. Ray last wrote: {words[-300:] or 'nothing'}"
            )
        time.sleep(0.5)
    if not guarded:
        raise SetupError(
            "the job server takes jobs without the cluster's token, so that others could run code there. If the file "
            "has head_start_ray_commands, remove them, or what switches RAY_AUTH_MODE off in them."
        )


def await_nodes(running: Running, state: ClusterState, n: int, join_s: float = _JOIN_S) -> None:
    """Return when this number of nodes is alive, the head among them.

    What the autoscaler says of them is in the launch's log afterwards.

    Raises
    ------
    SetupError
        They are not in time; with the addresses of those that are.
    CloudError
        EC2 refuses one.
    """
    deadline = time.monotonic() + join_s
    alive: list[str] = []
    said = ""
    while len(alive) < n:
        if time.monotonic() > deadline:
            with state.log_file.open("a", encoding="utf-8") as log:
                log.write(f"\n{said}\n")
            raise SetupError(
                f"only {len(alive)} of {n} nodes joined within {join_s:g} s: {', '.join(sorted(alive)) or 'none'}. "
                f"What the autoscaler last said of them is in {state.log_file}."
            )
        status = get(running.address, "/api/cluster_status?format=1", state.token_file)
        said = str(status["data"].get("clusterStatus")) if status else said
        if refused := refusal_in(said):
            raise refused
        time.sleep(0.5)
        found = get(running.address, "/api/v0/nodes?limit=1000", state.token_file)
        nodes = found["data"]["result"]["result"] if found else []
        alive = [node["node_ip"] for node in nodes if node["state"] == "ALIVE"]
