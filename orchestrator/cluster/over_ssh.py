"""A cluster of machines that are there already and take SSH, through Ray's launcher."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cluster.connection import answers_again, connect
from orchestrator.cluster.job_server import answers
from orchestrator.cluster.joining import await_job_server, await_nodes
from orchestrator.cluster.machine_folder import look_command, ray_tmpdir, remove_command
from orchestrator.cluster.ray_config import (
    forget_command,
    processes_command,
    ray_config,
    remote_folder,
    stop_command,
)
from orchestrator.cluster.ray_up import ray_up
from orchestrator.cluster.ssh import SSH_FAILED, Ssh, check_key, end_tunnel, unreachable
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.cluster.wheel import make_wheel
from orchestrator.config.cluster import ClusterFile, LocalProvider
from orchestrator.errors import RemainsError, SetupError


@dataclass(frozen=True, slots=True)
class OverSsh:
    """See :class:`orchestrator.cluster.launch.Provider`."""

    cluster: ClusterFile
    provider: LocalProvider
    data: Mapping[str, Any]
    """Of the file, as Ray's launcher is to see it."""
    state: ClusterState

    @property
    def python(self) -> str:
        """How the machines call Python."""
        return "python3"

    def start(self) -> Running:
        """Launch the head, which brings up the workers, and wait for all of them."""
        token_file = self.state.make_token()
        ttl_hours = self.cluster.orchestrator.ttl_hours
        now = datetime.now(UTC).replace(microsecond=0)  # as it is noted, and read again
        ends_at = None if ttl_hours is None else now + timedelta(seconds=round(ttl_hours * 3600))
        launched = Running(
            provider=self.provider.type,
            address="",
            launched_at=now.isoformat(),
            ends_at=None if ends_at is None else ends_at.isoformat(),
        )
        self.state.note(launched)
        self._ray_up(token_file, ends_at)
        running = connect(launched, self.state, self._ssh, self.provider.head_ip)
        ray_log = f"{remote_folder(self.cluster)}/ray.log"
        await_job_server(
            running, self.state, partial(self._ssh.last_lines, self.provider.head_ip, ray_log)
        )
        await_nodes(running, self.state, len(self._hosts))
        return running

    def check(self) -> None:
        """Try SSH to each machine, and see whether somebody else has launched this cluster there."""
        assert self.cluster.auth is not None
        check_key(self.cluster.auth)
        tried = [(host, self._ssh.run(host, self._count)) for host in self._hosts]
        if refused := unreachable(tried):
            raise SetupError(
                f"no SSH to {', '.join(refused)}. Check auth, and that sshd runs there."
            )
        self._check_folders()
        there = [host for host, done in tried if int(done.stdout) > 0]
        if there and self.state.running() is None:
            raise SetupError(
                f"a cluster {self.cluster.cluster_name!r} that was not launched from here runs on {', '.join(there)}. "
                "End it with 'orchestrator down', or give another cluster_name."
            )

    def _check_folders(self) -> None:
        """Refuse machines where another user has made the folder that Ray is to keep its files in."""
        look = look_command(ray_tmpdir(self.cluster))
        said = [(host, self._ssh.run(host, look).stdout.strip()) for host in self._hosts]
        if refused := [f"on {host}, {words}" for host, words in said if words]:
            raise SetupError(" ".join(refused))

    def can_change(self, key: tuple[str, ...]) -> bool:
        """Nothing can: Ray reads all of it at its start."""
        return False

    def update(self) -> None:
        """Do nothing: there is nothing that can change."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command on the head, with the cluster's token."""
        return self._ssh.call(
            self.provider.head_ip, f". {remote_folder(self.cluster)}/env; {shlex.join(command)}"
        )

    def hand_over(self, values: Mapping[str, str]) -> str:
        """Leave them on the head."""
        return self._ssh.hand_over(self.provider.head_ip, remote_folder(self.cluster), values)

    def is_up(self) -> bool:
        """Tell whether the head's job server answers; open the tunnel to it anew where that has ended."""
        running = self.state.running()
        if running is None or not running.complete:
            return False
        if answers(running.address, self.state.token_file):
            return True
        folder = remote_folder(self.cluster)
        return answers_again(running, self.state, self._ssh, self.provider.head_ip, folder)

    def end(self) -> bool:
        """End the Ray that was started on each machine, the head's first: it would start the workers' again."""
        running = self.state.running()
        folder = remote_folder(self.cluster)
        name = self.cluster.cluster_name
        script = "; ".join(
            (
                stop_command(folder),
                forget_command(folder, name),
                remove_command(ray_tmpdir(self.cluster), name),
            )
        )
        ended = [(host, self._ssh.run(host, script)) for host in self._hosts]
        if refused := unreachable(ended):
            raise RemainsError(
                f"no SSH to {', '.join(refused)}, so Ray may still run there. If one is gone for good, take it out of "
                "the file, and try again."
            )
        former = [(host, self._ssh.run(host, script)) for host in self._former_hosts]
        ended += [(host, done) for host, done in former if done.returncode == 0]
        if running is not None:
            end_tunnel(running)
        return running is not None or any(int(done.stdout) > 0 for _, done in ended)

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        """Return the machines where Ray of this cluster runs, or that do not answer."""
        found = []
        for host in self._hosts + self._former_hosts:
            done = self._ssh.run(host, self._count)
            if done.returncode == SSH_FAILED and host in self._former_hosts:
                continue
            if done.returncode != 0:
                found.append(f"{host}, which does not answer")
            elif (n := int(done.stdout)) > 0:
                found.append(f"{n} processes on {host}")
        return found

    @property
    def _count(self) -> str:
        """A command that prints how many processes of this cluster there are."""
        return f"{processes_command(remote_folder(self.cluster))} | wc -l"

    @property
    def _hosts(self) -> tuple[str, ...]:
        return (self.provider.head_ip, *self.provider.worker_ips)

    @property
    def _former_hosts(self) -> tuple[str, ...]:
        """Machines that the file named at launch, and does not any more: they may be gone."""
        launched = self.state.launched().get("provider", {})
        named = (launched.get("head_ip"), *launched.get("worker_ips", ()))
        return tuple(host for host in named if host and host not in self._hosts)

    @property
    def _ssh(self) -> Ssh:
        assert self.cluster.auth is not None
        return Ssh(auth=self.cluster.auth, known_hosts=self.state.folder / "known_hosts")

    def _ray_up(self, token_file: Path, ends_at: datetime | None) -> None:
        wheel = make_wheel(self.cluster, self.state.folder)
        config = ray_config(self.cluster, self.data, token_file, wheel, ends_at=ends_at)
        # With machines that are there already, the newer autoscaler leaves one worker out.
        ray_up(config, self.state, token_file, {"RAY_UP_enable_autoscaler_v2": "0"})
