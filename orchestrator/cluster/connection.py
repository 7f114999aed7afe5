"""The way from this machine to the job server of a cluster elsewhere: an SSH tunnel, opened anew where it has ended."""

import time
from dataclasses import replace

from orchestrator.cluster.job_server import answers
from orchestrator.cluster.ray_config import DASHBOARD_PORT, processes_command
from orchestrator.cluster.ssh import Ssh, end_tunnel, free_port
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.errors import SetupError
from orchestrator.telemetry.processes import started_at

_ANSWER_S = 10.0


def connect(running: Running, state: ClusterState, ssh: Ssh, head: str) -> Running:
    """Open the tunnel to a cluster's head, end the one that was, and note the new one.

    Raises
    ------
    SetupError
        It does not come up.
    """
    local_port = free_port()
    tunnel = ssh.tunnel(head, DASHBOARD_PORT, local_port, state.log_file)
    end_tunnel(running)
    connected = replace(
        running,
        address=f"http://127.0.0.1:{local_port}",
        pid=tunnel,
        process_started=started_at(tunnel),
    )
    state.note(connected)
    return connected


def answers_again(running: Running, state: ClusterState, ssh: Ssh, head: str, folder: str) -> bool:
    """Tell whether a cluster whose job server does not answer here still runs; if it does, connect to it anew.

    Parameters
    ----------
    running : Running
    state : ClusterState
    ssh : Ssh
    head : str
        Its address.
    folder : str
        Of the cluster, on the head.

    Raises
    ------
    SetupError
        Nobody knows: the head takes no SSH, or Ray runs there and does not answer.
    """
    done = ssh.run(head, f"{processes_command(folder)} | wc -l")
    if done.returncode != 0:
        raise SetupError(
            f"the head, {head}, does not take SSH ({' '.join(done.stderr.split())[-200:]}), so nobody knows whether "
            "the cluster runs. Try again; 'orchestrator down' ends it."
        )
    if int(done.stdout) == 0:
        return False
    connected = connect(running, state, ssh, head)
    deadline = time.monotonic() + _ANSWER_S
    while not answers(connected.address, state.token_file):
        if time.monotonic() > deadline:
            raise SetupError(
                f"Ray runs on the head, {head}, but its job server does not answer. 'orchestrator down' ends it."
            )
        time.sleep(0.5)
    return True
