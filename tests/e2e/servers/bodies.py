"""Gives the instances of an EC2 endpoint a body: a machine of netlab for each that runs."""

import threading
from collections.abc import Mapping
from typing import Any

from tests.e2e.servers.netlab import Machine, Netlab

_LOOK_S = 0.5


class Bodies:
    """Boots what EC2 starts and ends what it ends, in a thread; used as a context manager.

    Parameters
    ----------
    ec2 : client
        Of boto3.
    net : Netlab
        Its subnet is that of the instances.
    public_key : str
        Of the key pair that they are started with.
    env : mapping
        What the machines' login shells have.
    """

    def __init__(self, ec2: Any, net: Netlab, public_key: str, env: Mapping[str, str]) -> None:
        self._ec2 = ec2
        self._net = net
        self._public_key = public_key
        self._env = env
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="bodies")
        self.machines: dict[str, Machine] = {}
        """By instance id."""
        self.problems: list[str] = []

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances, those that have ended too."""
        found = self._ec2.describe_instances()["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def states(self) -> dict[str, str]:
        """Return the state of each instance."""
        return {i["InstanceId"]: i["State"]["Name"] for i in self.instances()}

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK_S):
            try:
                self._look()
            except Exception as error:  # told by the test, which has failed by then
                self.problems.append(f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        running = {
            i["InstanceId"]: i["PrivateIpAddress"]
            for i in self.instances()
            if i["State"]["Name"] in ("pending", "running")
        }
        for instance, ip in running.items():
            if instance not in self.machines:
                machine = self._net.add(ip, public_key=self._public_key, env=self._env)
                self.machines[instance] = machine
        for instance in set(self.machines) - set(running):
            self._net.remove(self.machines.pop(instance))

    def __enter__(self) -> "Bodies":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
