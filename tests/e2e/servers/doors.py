"""What listens on a machine, and what it says to somebody without the cluster's token."""

import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

import grpc

_OWNERS = {
    "sshd": "sshd",
    "gcs_server": "GCS",
    "raylet/raylet ": "raylet",
    "ray/autoscaler/_private/monitor.py": "autoscaler",
    "ray/dashboard/dashboard.py": "dashboard",
    "ray-dashboard-": "dashboard",
    "ray.util.client.server": "Ray client server",
    "ray::DashboardAgent": "dashboard agent",
    "ray::RuntimeEnvAgent": "runtime environment agent",
    "ray::": "worker",
}
"""Part of a command line -> who it is; the first that fits."""

_METHODS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "CoreWorkerService/PushTask",
    "ReporterService/GetTraceback",
    "RayletDriver/ClusterInfo",
)
"""One of each gRPC service of Ray's that is known."""

WRONG = "0" * 64
"""A token that no cluster has."""


@dataclass(frozen=True, order=True)
class Door:
    """A listening socket, without its number where the system gives it any."""

    owner: str
    bound_to: str
    """``loopback``, ``network`` (the machine's address there) or ``all``."""
    answers: str
    """To a stranger: ``refuses`` (401, 403, UNAUTHENTICATED), ``metrics``, ``ssh``, or what it does instead."""


def doors(ip: str, sockets: str, processes: str) -> set[Door]:
    """Knock on everything that listens on a machine, from outside of it.

    Parameters
    ----------
    ip : str
        Of the machine.
    sockets : str
        Output of ``ss -Htlnp`` there.
    processes : str
        Output of ``ps -eo pid=,args=`` there, of the processes that matter.
    """
    owners = {
        int(line.split(None, 1)[0]): line.split(None, 1)[1] for line in processes.splitlines()
    }
    found = set()
    for line in sockets.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        pids = [int(pid) for pid in re.findall(r"pid=(\d+)", line)]
        assert pids, f"nobody owns {line}"
        commands = [owners[pid] for pid in pids if pid in owners]
        if not commands:  # another's
            continue
        owner = next((who for part, who in _OWNERS.items() if part in commands[0]), commands[0])
        if "127.0.0.1" in address or address == "[::1]":
            found.add(Door(owner, "loopback", "not knocked on"))
            continue
        bound_to = "network" if ip in address else "all"
        answer = "ssh" if owner == "sshd" else _knock(f"{ip}:{port}")
        found.add(Door(owner, bound_to, answer))
    return found


def http_code(url: str, token: str | None) -> int:
    """Return the code of a GET with a token, or with none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as a:
            return int(a.status)
    except urllib.error.HTTPError as error:
        return error.code


def _knock(target: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{target}/", timeout=5) as answer:
            body = answer.read(100)
            return "metrics" if body.startswith(b"# HELP") else f"HTTP 200: {body!r}"
    except urllib.error.HTTPError as error:
        return "refuses" if error.code in (401, 403) else f"HTTP {error.code}"
    except http.client.HTTPException:  # gRPC does not speak HTTP/1
        return _knock_grpc(target)


def _knock_grpc(target: str) -> str:
    said = set()
    with grpc.insecure_channel(target) as channel:
        for method in _METHODS:
            for metadata in (None, [("authorization", f"Bearer {WRONG}")]):
                call = channel.unary_unary(f"/ray.rpc.{method}")
                try:
                    call(b"", timeout=10, metadata=metadata)
                    said.add(f"{method} answers")
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:  # another's method
                        said.add(error.code().name)
    return "refuses" if said == {"UNAUTHENTICATED"} else f"gRPC: {sorted(said)}"
