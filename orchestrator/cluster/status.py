"""Where a cluster stands: its machines and its jobs, as its job server tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.cluster import job_server
from orchestrator.cluster.health import HEALTH
from orchestrator.cluster.launch import provider_of
from orchestrator.cluster.state import ClusterState
from orchestrator.config.cluster import ClusterFile
from orchestrator.errors import OrchestratorError


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine of a cluster."""

    address: str
    state: str
    """``alive``; ``ended``, as it was told to; ``lost``, as nobody told it to."""
    said: str | None
    """What Ray says of its end."""
    is_head: bool
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """One job that was submitted to a cluster."""

    id: str
    status: str
    """In Ray's words: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``."""
    entrypoint: str
    started_at: str | None
    """ISO 8601, in UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterStatus:
    """Where a cluster stands."""

    cluster_name: str
    provider: str
    state: str
    """``up``; ``down``, or never launched from here; ``unreachable``, if it may run, and does not answer."""
    address: str | None
    launched_at: str | None
    ends_at: str | None
    said: str | None = None
    """Why it is unreachable."""
    nodes: tuple[Node, ...] = ()
    jobs: tuple[JobStatus, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def cluster_status(cluster: ClusterFile, data: Mapping[str, Any]) -> ClusterStatus:
    """Ask where a cluster stands."""
    state = ClusterState.of(cluster.cluster_name)
    running = state.running()
    known: dict[str, Any] = {
        "cluster_name": cluster.cluster_name,
        "provider": cluster.provider.type,
        "address": running and running.address,
        "launched_at": running and running.launched_at,
        "ends_at": running and running.ends_at,
    }
    if running is None:
        return ClusterStatus(**known, state="down")
    try:
        provider = provider_of(cluster, data, state)
        if not provider.is_up():
            left = ", ".join(provider.remaining(only_billed=True))
            why = "Ray does not run" if running.complete else "its launch has not come to its end"
            said = f"{why}, and there is: {left}. 'orchestrator down' ends it."
            return ClusterStatus(
                **known, state="unreachable" if left else "down", said=said if left else None
            )
    except OrchestratorError as error:
        return ClusterStatus(**known, state="unreachable", said=str(error))
    running = state.running() or running  # it may have been connected to anew
    known["address"] = running.address
    nodes = job_server.get(running.address, "/api/v0/nodes?limit=1000&detail=1", state.token_file)
    jobs = job_server.get(running.address, "/api/jobs/", state.token_file)
    if nodes is None or jobs is None:
        return ClusterStatus(**known, state="unreachable")
    return ClusterStatus(
        **known,
        state="up",
        nodes=tuple(_node(found) for found in nodes["data"]["result"]["result"]),
        jobs=tuple(
            _job(found)
            for found in jobs
            if found.get("type") == "SUBMISSION" and not found["submission_id"].startswith(HEALTH)
        ),
    )


def _node(found: dict[str, Any]) -> Node:
    resources = found.get("resources_total") or {}
    said = found.get("state_message")
    return Node(
        address=found["node_ip"],
        state=_state(found["state"], said or ""),
        said=said,
        is_head=bool(found.get("is_head_node")),
        cpus=resources.get("CPU", 0),
        gpus=resources.get("GPU", 0),
    )


def _state(state: str, said: str) -> str:
    if state == "ALIVE":
        return "alive"
    # Ray has no other word for it than how its message begins.
    return "ended" if said.startswith(("Expected", "Terminated due to idle")) else "lost"


def _job(found: dict[str, Any]) -> JobStatus:
    began_ms = found.get("start_time")
    began = None if began_ms is None else datetime.fromtimestamp(began_ms / 1000, UTC)
    return JobStatus(
        id=found["submission_id"],
        status=found["status"],
        entrypoint=found["entrypoint"],
        started_at=None if began is None else began.isoformat(timespec="seconds"),
    )


def cluster_text(status: ClusterStatus) -> str:
    """Return it as a person reads it."""
    lines = [f"cluster {status.cluster_name}: {status.state}"]
    if status.launched_at is not None and status.state != "down":
        ends = f", ends {status.ends_at}" if status.ends_at else ""
        lines[0] += f" since {status.launched_at}{ends}"
    if status.said:
        lines.append(f"  {status.said}")
    for node in status.nodes:
        role = "head  " if node.is_head else "worker"
        gpus = f", {node.gpus:g} GPUs" if node.gpus else ""
        said = f"  ({node.said})" if node.said else ""
        lines.append(f"  {role} {node.address}  {node.state}  {node.cpus:g} CPUs{gpus}{said}")
    for job in status.jobs:
        lines.append(f"  job    {job.id}  {job.status.lower()}  {job.entrypoint}")
    return "\n".join(lines)
