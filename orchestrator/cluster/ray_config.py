"""A cluster file of ours as Ray's launcher takes it: with a token, closed doors, and Ray under a process id we know.

Nothing is written into a user's ``.bashrc``, and nothing is stopped but what was started here: machines on premises
may run another Ray. All of a cluster lies in ``~/.sleep-orchestrator/NAME`` of each machine, but for Ray's own files:
see :mod:`orchestrator.cluster.machine_folder`.
"""

import copy
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.cluster.machine_folder import (
    guard_command,
    guard_launcher_command,
    ray_tmpdir,
)
from orchestrator.cluster.plan import growth_of
from orchestrator.config.cluster import AwsProvider, ClusterFile, LocalProvider
from orchestrator.telemetry.growth import GROWS_TO

HEAD_PORT = 6379
DASHBOARD_PORT = 8265

UV_INSTALLER = "https://astral.sh/uv/0.9.9/install.sh"
"""Brings a Python of any version to a machine that has none."""

_HEAD_ARGUMENTS = (
    f"--head --port={HEAD_PORT} --dashboard-host=127.0.0.1 --dashboard-port={DASHBOARD_PORT} "
    "--autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats"
)
WORKER_ARGUMENTS = f"--address=$RAY_HEAD_IP:{HEAD_PORT} --disable-usage-stats"
"""Of ``ray start``; Ray's launcher sets the variable."""

MARK = "ORCHESTRATOR_CLUSTER"
"""Environment variable of everything that a cluster starts on a machine: the cluster's folder there."""

SETTINGS: Mapping[str, str] = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that vanishes without a word otherwise holds up whatever waits for it for three minutes.
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
}
"""Environment of Ray on each machine, and of its launcher here."""


def remote_folder(cluster: ClusterFile) -> str:
    """Return the cluster's folder on each machine, as its shells there write it."""
    return f"~/.sleep-orchestrator/{cluster.cluster_name}"


def ray_config(
    cluster: ClusterFile,
    data: Mapping[str, Any],
    token_file: Path,
    wheel: Path | None,
    first: Sequence[str] = (),
    ends_at: datetime | None = None,
) -> dict[str, Any]:
    """Return what Ray's launcher is given.

    Parameters
    ----------
    cluster : ClusterFile
    data : mapping
        The file's own data: what Ray knows of it is passed on as it is.
    token_file : Path
        Copied to each machine.
    wheel : Path or None
        Of this program, installed on each machine; None where it is there already.
    first : sequence of str
        Further commands for each machine, before those of the file.
    ends_at : datetime or None
        When Ray ends on each machine, whatever runs.

    Returns
    -------
    dict
        Without a secret: files are named by their paths.
    """
    config = {key: copy.deepcopy(value) for key, value in data.items() if key != "orchestrator"}
    config["max_workers"] = _max_workers(cluster)
    config["idle_timeout_minutes"] = cluster.idle_timeout_minutes
    home = _home(cluster)
    folder = remote_folder(cluster).replace("~", home)
    mounts = {f"{folder}/token": str(token_file)}
    settings = {**SETTINGS, "RAY_AUTH_TOKEN_PATH": f"{folder}/token"}
    install: list[str] = []
    if wheel is not None:
        mounts[f"{folder}/{wheel.name}"] = str(wheel)
        install = install_commands(folder, wheel.name)
        settings["PATH"] = f"{folder}/venv/bin:$PATH"
    config["file_mounts"] = {**mounts, **cluster.file_mounts}
    settings[MARK] = _real(folder)
    if (growth := growth_of(cluster)) is not None:
        settings[GROWS_TO] = growth.as_text()
    exports = " ".join(f"'export {key}={value}'" for key, value in settings.items())
    config["initialization_commands"] = [
        f"(umask 077; mkdir -p {folder}) && chmod 700 {folder}",
        f"printf '%s\\n' {exports} > {folder}/env",
        *first,
        *cluster.initialization_commands,
    ]
    config["setup_commands"] = [f"chmod 600 {folder}/token", *cluster.setup_commands, *install]
    for kind in config.get("available_node_types", {}).values():
        # Ray takes those of a kind instead of the cluster's own, and not after them.
        for key, common in (
            ("initialization_commands", config["initialization_commands"]),
            ("worker_setup_commands", config["setup_commands"]),
        ):
            if kind.get(key):
                kind[key] = [*common, *kind[key]]
    guard = guard_command(ray_tmpdir(cluster))
    of_head = f"{guard}; {guard_launcher_command()}"
    config["head_start_ray_commands"] = _own(folder, of_head, cluster.head_start_ray_commands) or [
        stop_command(folder),
        start_command(folder, of_head, _HEAD_ARGUMENTS, ends_at=ends_at),
        _await_command(folder, DASHBOARD_PORT),
    ]
    config["worker_start_ray_commands"] = _own(
        folder, guard, cluster.worker_start_ray_commands
    ) or [
        stop_command(folder),
        start_command(folder, guard, WORKER_ARGUMENTS, ends_at=ends_at),
    ]
    if isinstance(cluster.provider, LocalProvider):
        config.pop("orchestrator", None)
    return config


def install_commands(folder: str, wheel: str) -> list[str]:
    """Return shell commands that install this program in a virtual environment of its own.

    With the minor version of the Python that runs here: what is sent between the machines depends on it.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    uv, venv = f"{folder}/uv", f"{folder}/venv"
    return [
        f"[ -x {uv}/uv ] || curl -LsSf {UV_INSTALLER} | env UV_INSTALL_DIR={uv} UV_NO_MODIFY_PATH=1 sh",
        f"[ -x {venv}/bin/python3 ] || {uv}/uv venv --quiet --python {python} {venv}",
        # The Ray that runs here: nodes of one cluster must agree to the last digit, also those that join weeks later.
        f"{uv}/uv pip install --quiet --python {venv}/bin/python3 --reinstall-package sleep-orchestrator "
        f"{folder}/{wheel} ray=={version('ray')}",
    ]


def _own(folder: str, guard: str, commands: Sequence[str]) -> list[str]:
    """Return a user's commands with the cluster's environment: its token, its mark, its Python, its closed folder."""
    return [f". {folder}/env; {guard}; {command}" for command in commands]


def start_command(
    folder: str, guard: str, arguments: str, settings: str = "true", ends_at: datetime | None = None
) -> str:
    """Return a shell command that starts Ray in the background and notes its process id.

    Parameters
    ----------
    folder : str
        Of the cluster, on the machine.
    guard : str
        Commands of the shell that end it where Ray's files would be open to others.
    arguments : str
        Of ``ray start``.
    settings : str
        Further commands of the shell that it is started from.
    ends_at : datetime or None
        When it is ended, whatever runs.
    """
    before = f"{guard}; {settings}; ulimit -c 0; ulimit -n 65536 2>/dev/null"
    command = f"python3 -m ray.scripts.scripts start --block {arguments}"
    if ends_at is not None:
        left = f"$(( (left = {math.ceil(ends_at.timestamp())} - $(date +%s)) > 1 ? left : 1 ))"
        command = f"timeout --signal=TERM --kill-after=60 {left} {command}"
    return background_command(folder, "ray", command, before)


def background_command(folder: str, name: str, command: str, before: str = "true") -> str:
    """Return a shell command that leaves another one running, in place of what it left there before.

    Parameters
    ----------
    folder : str
        Of the cluster, on the machine. Holds ``NAME.pid`` and ``NAME.log``.
    name, command : str
    before : str
        Commands of the shell that it is started from.
    """
    return (
        f'{_leader(folder, name)}; [ -z "$leader" ] || kill $leader 2>/dev/null; . {folder}/env; {before}; '
        f"setsid nohup bash -c 'echo $$ > {folder}/{name}.pid; exec {command}' "
        f">> {folder}/{name}.log 2>&1 < /dev/null & true"
    )


def stop_command(folder: str) -> str:
    """Return a shell command that ends the Ray that was started from a folder and all that came of it, and no other.

    It prints how many processes there were.
    """
    return (
        f"{processes_command(folder)} | wc -l; "
        f'{_leader(folder)}; if [ -n "$leader" ]; then kill -TERM $leader 2>/dev/null; '
        "for i in $(seq 150); do kill -0 $leader 2>/dev/null || break; sleep 0.1; done; fi; "
        # Ray's agents and a job's own process outlive the node by minutes.
        f'for i in 1 2 3; do pids=$({processes_command(folder)}); [ -n "$pids" ] || break; '
        f"kill -KILL $pids 2>/dev/null; sleep 0.2; done; rm -f {folder}/ray.pid; true"
    )


def forget_command(folder: str, cluster_name: str) -> str:
    """Return a shell command that removes the secrets of a cluster from a machine: its own, and what Ray left."""
    config, key = "~/ray_bootstrap_config.yaml", "~/ray_bootstrap_key.pem"
    ours = f'grep -qs \'"cluster_name": "{cluster_name}"\' {config}'
    return (
        f"rm -f {folder}/token {folder}/secrets-*; if {ours}; then rm -f {config} {key}; fi; true"
    )


def processes_command(folder: str) -> str:
    """Return a shell command that prints the ids of all processes that were started from a folder.

    Most have our variable in their environment. Some of Ray's overwrite it with their title, but are of its session;
    a job's process has a session of its own.
    """
    return (
        f'{{ {_leader(folder)}; [ -z "$leader" ] || pgrep -s $leader; '
        f"{_marked('/proc/[0-9]*/environ', folder)} | cut -d/ -f3; }} | sort -u"
    )


def _leader(folder: str, name: str = "ray") -> str:
    # While anything of a session is left, the id of its leader is given to no other process; afterwards it may be.
    ours = _marked("/proc/$leader/environ", folder)
    return (
        f"leader=$(cat {folder}/{name}.pid 2>/dev/null); "
        f'[ -z "$leader" ] || [ ! -e /proc/$leader ] || {ours} >/dev/null || leader='
    )


def _marked(environments: str, folder: str) -> str:
    return f'grep -lsz "^{MARK}={_real(folder)}$" {environments}'


def _real(folder: str) -> str:
    return f"$(cd {folder} 2>/dev/null && pwd -P)"


def _await_command(folder: str, port: int) -> str:
    return (
        f"for i in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && exit 0; "
        f"kill -0 $(cat {folder}/ray.pid) || break; sleep 0.2; done; tail -n 20 {folder}/ray.log; exit 1"
    )


def _max_workers(cluster: ClusterFile) -> int:
    if isinstance(cluster.provider, LocalProvider):
        return len(cluster.provider.worker_ips)
    return cluster.max_workers


def _home(cluster: ClusterFile) -> str:
    assert cluster.auth is not None
    user = cluster.auth.ssh_user
    return "/root" if user == "root" else f"/home/{user}"


def is_on_aws(cluster: ClusterFile) -> bool:
    """Tell whether the machines are billed."""
    return isinstance(cluster.provider, AwsProvider)
