"""A cluster of machines that Amazon rents out, through Ray's launcher and autoscaler."""

import copy
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cluster.boot import off_at, user_data
from orchestrator.cluster.connection import answers_again, connect
from orchestrator.cluster.ec2 import CLUSTER_TAG, Ec2
from orchestrator.cluster.job_server import answers
from orchestrator.cluster.joining import await_job_server, await_nodes
from orchestrator.cluster.machine_folder import guard_command, ray_tmpdir
from orchestrator.cluster.online import online_problems
from orchestrator.cluster.prices import USD_PER_HOUR, price_table
from orchestrator.cluster.ray_config import (
    HEAD_PORT,
    WORKER_ARGUMENTS,
    background_command,
    ray_config,
    remote_folder,
    start_command,
    stop_command,
)
from orchestrator.cluster.ray_up import launched_config, ray_up
from orchestrator.cluster.reclaim import LEAVE_FILE
from orchestrator.cluster.ssh import Ssh, check_key, end_tunnel
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.cluster.wheel import launched_wheel, make_wheel
from orchestrator.config.cluster import AwsProvider, ClusterFile
from orchestrator.errors import CloudError, ConfigError

_UNSEEN_S = 5.0


@dataclass(frozen=True, slots=True)
class OnAws:
    """See :class:`orchestrator.cluster.launch.Provider`."""

    cluster: ClusterFile
    provider: AwsProvider
    data: Mapping[str, Any]
    """Of the file, as Ray's launcher is to see it."""
    state: ClusterState

    @property
    def python(self) -> str:
        """How the machines call Python."""
        return "python3"

    def start(self) -> Running:
        """Make the security group, launch the head, and wait for the workers that are always there."""
        token_file = self.state.make_token()
        ttl_hours = self.cluster.orchestrator.ttl_hours
        now = datetime.now(UTC).replace(microsecond=0)  # as it is noted, and read again
        ends_at = None if ttl_hours is None else now + timedelta(seconds=round(ttl_hours * 3600))
        group = self._ec2.closed_group()
        wheel = make_wheel(self.cluster, self.state.folder)
        launched = Running(
            provider=self.provider.type,
            address="",
            launched_at=now.isoformat(),
            ends_at=None if ends_at is None else ends_at.isoformat(),
            account=self._ec2.account(),
        )
        self.state.note(launched)  # from here on machines cost, whatever becomes of this process
        ray_up(self._config(token_file, wheel, group, ends_at), self.state, token_file, {})
        address, ssh = self._head()
        running = connect(launched, self.state, ssh, address)
        ray_log = f"{remote_folder(self.cluster)}/ray.log"
        await_job_server(running, self.state, partial(ssh.last_lines, address, ray_log))
        fewest = 1 + sum(map(self.cluster.fewest, self.cluster.available_node_types))
        await_nodes(running, self.state, fewest)
        return running

    def check(self) -> None:
        """Ask EC2 and IAM about everything that the file names, and whether somebody else has launched this cluster."""
        assert self.cluster.auth is not None
        check_key(self.cluster.auth)
        if self.state.running() is None and (there := self._ec2.machines()):
            raise CloudError(
                f"EC2 has machines of a cluster {self.cluster.cluster_name!r} that was not launched from here: "
                f"{', '.join(machine.id for machine in there)}. End them with 'orchestrator down', or give another "
                "cluster_name."
            )
        if problems := online_problems(self.cluster, self.provider):
            raise CloudError(" ".join(problems))

    def can_change(self, key: tuple[str, ...]) -> bool:
        """Tell whether the autoscaler takes up a key while it runs: what is about workers."""
        section, *rest = key
        if section == "available_node_types":
            return bool(rest) and rest[0] != self.cluster.head_node_type
        return section in ("max_workers", "upscaling_speed", "idle_timeout_minutes")

    def update(self) -> None:
        """Give the head the file as it is now; Ray goes on running."""
        running = self.state.running()
        assert running is not None
        ends_at = None if running.ends_at is None else datetime.fromisoformat(running.ends_at)
        self.check()
        token_file, wheel = self.state.token_file, launched_wheel(self.state.folder)
        config = self._config(token_file, wheel, self._ec2.closed_group(), ends_at)
        head, launched = self._node_of_head(config), self._node_of_head(launched_config(self.state))
        if head != launched or "SubnetIds" not in head:
            raise ConfigError(
                f"{self.cluster.cluster_name} runs, and Ray might replace its head, with all that runs there: "
                + (
                    "the head's node_config is not what it was launched with."
                    if head != launched
                    else f"available_node_types.{self.cluster.head_node_type}.node_config has no SubnetIds, and "
                    "which Ray takes then may change."
                )
                + " End it with 'orchestrator down', and launch it again."
            )
        ray_up(config, self.state, token_file, {}, restart=False)

    def run(self, command: Sequence[str]) -> int:
        """Run a command on the head, with the cluster's token."""
        address, ssh = self._head()
        return ssh.call(address, f". {remote_folder(self.cluster)}/env; {shlex.join(command)}")

    def hand_over(self, values: Mapping[str, str]) -> str:
        """Leave them on the head."""
        address, ssh = self._head()
        return ssh.hand_over(address, remote_folder(self.cluster), values)

    def is_up(self) -> bool:
        """Tell whether the head's job server answers; open the tunnel to it anew where that has ended."""
        running = self.state.running()
        if running is None or not running.complete:
            return False
        if answers(running.address, self.state.token_file):
            return True
        self._check_account(running)
        if not any(
            machine.is_head and machine.state == "running" for machine in self._ec2.machines()
        ):
            return False
        self._ec2.closed_group()  # the address that this machine is seen with may have changed
        address, ssh = self._head()
        return answers_again(running, self.state, ssh, address, remote_folder(self.cluster))

    def end(self) -> bool:
        """Terminate all of its machines, and remove its security group."""
        running = self.state.running()
        if running is None:
            return self._ec2.end()
        self._check_account(running)
        end_tunnel(running)
        # Of a launch that was cut short, a machine may be listed only some seconds after EC2 was asked for it.
        return self._ec2.end(unseen_s=0.0 if running.complete else _UNSEEN_S)

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        """Ask EC2 what it has of this cluster: stopped machines count, their disks are billed."""
        return self._ec2.remaining(only_billed=only_billed)

    def _head(self) -> tuple[str, Ssh]:
        """Return the address of the head, and how it is reached."""
        address = next((m.address for m in self._ec2.machines() if m.is_head), None)
        if address is None:
            raise CloudError(
                "the head has no address that is reached from here. Give its subnet public addresses, or set "
                "provider.use_internal_ips inside the network."
            )
        assert self.cluster.auth is not None
        return address, Ssh(auth=self.cluster.auth, known_hosts=self.state.folder / "known_hosts")

    def _check_account(self, running: Running) -> None:
        if running.account is not None and (account := self._ec2.account()) != running.account:
            raise CloudError(
                f"{self.cluster.cluster_name} was launched in account {running.account}, and these credentials are of "
                f"{account}. Set AWS_PROFILE, or the keys, as they were."
            )

    def _node_of_head(self, config: Mapping[str, Any]) -> Any:
        return config["available_node_types"][self.cluster.head_node_type]["node_config"]

    @property
    def _ec2(self) -> Ec2:
        return Ec2(self.cluster, self.provider)

    def _config(
        self, token_file: Path, wheel: Path | None, group: str, ends_at: datetime | None
    ) -> dict[str, Any]:
        off = () if ends_at is None else (f"sudo -n {off_at(ends_at)} >/dev/null 2>&1 || true",)
        config = ray_config(self.cluster, self.data, token_file, wheel, off)
        config["provider"].setdefault("cache_stopped_nodes", False)
        tag = {"Key": CLUSTER_TAG, "Value": self.cluster.cluster_name}
        table = price_table().priced(self.cluster.orchestrator.prices)
        for kind in config["available_node_types"].values():
            node = kind["node_config"]
            if (usd := table.most_usd(node)) is not None:
                kind.setdefault("labels", {})[USD_PER_HOUR] = f"{usd:.4f}"
            node.setdefault("SecurityGroupIds", [group])
            tags = copy.deepcopy(node.get("TagSpecifications", []))
            node["TagSpecifications"] = [*tags, {"ResourceType": "volume", "Tags": [tag]}]
            if ends_at is not None:
                node["UserData"] = user_data(ends_at, node.get("UserData"))
            if "InstanceMarketOptions" not in node:  # spot machines are terminated anyway
                node.setdefault("InstanceInitiatedShutdownBehavior", "terminate")
        folder = remote_folder(self.cluster)
        if ends_at is not None:
            seconds = math.ceil(ends_at.timestamp())
            expiry = f"{seconds} {self.provider.region} {self.cluster.cluster_name}"
            config["head_start_ray_commands"].append(
                background_command(
                    folder, "expiry", f"python3 -m orchestrator.cluster.expiry {expiry}"
                )
            )
        if not self.cluster.worker_start_ray_commands:
            leave = f"{folder}/leave"
            guard = guard_command(ray_tmpdir(self.cluster))
            config["worker_start_ray_commands"] = [
                stop_command(folder),
                f"rm -f {leave}",
                start_command(folder, guard, WORKER_ARGUMENTS, f"export {LEAVE_FILE}={leave}"),
                background_command(
                    folder,
                    "reclaim",
                    f"python3 -m orchestrator.cluster.reclaim {leave} $RAY_HEAD_IP:{HEAD_PORT}",
                    "export RAY_HEAD_IP",
                ),
            ]
        return config
