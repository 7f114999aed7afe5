"""Clusters for tests: Ray nodes on this machine, whose processes tests may kill; machines that EC2 rents out."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers.cloud import SUBNET, Cloud, account
from tests.e2e.servers.netlab import Netlab, is_possible

if TYPE_CHECKING:
    from tests.e2e.conftest import MakeCli, StartS3, Tools

HERE = Path(sys.executable).parent
NODE = Path(__file__).parents[1] / "servers" / "ray_node.sh"


@dataclass(kw_only=True)
class Cluster:
    """Nodes of one CPU each; the first one is the head, where drivers run."""

    port: int
    folder: Path
    env: dict[str, str]
    tools: "type[Tools]"
    nodes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def driver_env(self) -> dict[str, str]:
        """What a user of this cluster sets."""
        return {
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.env["RAY_AUTH_TOKEN"],
        }

    @property
    def job_server(self) -> str:
        return f"http://127.0.0.1:{self.port + 2}"

    def add_node(self) -> None:
        """Start the head, or one more node, and wait until it is up."""
        log = self.folder / f"node{len(self.nodes)}-{secrets.token_hex(2)}.log"
        action = (
            ["join", str(self.port)]
            if self.nodes
            else ["head", str(self.port), str(self.folder / "ray")]
        )
        with log.open("wb") as file:
            node = subprocess.Popen(
                [NODE, *action],
                env=self.env,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.nodes.append(node)

        def is_up() -> bool:
            assert node.poll() is None, log.read_text(encoding="utf-8")
            return "block forever" in log.read_text(encoding="utf-8")

        self.tools.wait_for(is_up, timeout_s=60, what=f"{log} says that the node is up")

    def lose_node(self, number: int) -> int:
        """Kill a node's raylet, and with it all of the node, as a machine that is gone; start another in its place."""
        node, raylet = self.nodes[number], self.raylet(number)
        others = self.tools.descendants(node.pid) - {raylet}
        os.kill(raylet, signal.SIGKILL)
        time.sleep(1)  # in which its workers notice that they have no raylet any more
        for pid in (*others, node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(30)
        self.add_node()
        self.nodes[number] = self.nodes.pop()
        return raylet

    def raylet(self, node: int) -> int:
        """Return the process id of a node's raylet."""
        (pid,) = (
            pid
            for pid in self.tools.descendants(self.nodes[node].pid)
            if "/raylet/raylet" in self.tools.command_line(pid).partition(" ")[0]
        )
        return pid

    def processes(self, *titles: str) -> list[int]:
        """Return the processes of this cluster whose title begins with one of `titles`, as Ray gives them."""
        return sorted(
            pid
            for node in self.nodes
            for pid in self.tools.descendants(node.pid)
            if self.tools.command_line(pid).startswith(titles)
        )

    def remains(self) -> list[str]:
        """Return the command lines of everything that still runs with this cluster's token."""
        token = self.env["RAY_AUTH_TOKEN"].encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if token in environ.read_bytes():
                    found.append(self.tools.command_line(int(environ.parent.name)))
        return [line for line in found if line]  # a zombie has none

    def stop(self) -> None:
        """End the nodes, the head last; each ends its own processes."""
        for node in reversed(self.nodes):
            # A node's two agents write nothing of ours, and try for a minute and a half to tell a cluster that is gone.
            agents = [
                pid
                for pid in self.tools.descendants(node.pid)
                if self.tools.command_line(pid).startswith(
                    ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
                )
            ]
            if node.poll() is None:
                node.send_signal(signal.SIGTERM)
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
            for pid in agents:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="package")
def cloud(
    root: Path,
    start_s3: "StartS3",
    make_cli: "MakeCli",
    tools: "type[Tools]",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """An account of Amazon's, whose machines have this environment's Python and the project."""
    if reason := is_possible():
        pytest.fail(f"machines of their own are needed: {reason}")
    folder = tmp_path_factory.mktemp("cloud")
    net = Netlab(folder / "net", "aws", SUBNET, [Path(sys.prefix), Path(sys.base_prefix), root], 16)
    net.start()
    try:
        s3 = start_s3(net.gateway)
        with account(folder, root, net, s3, make_cli(folder), tools.free_ports(1)) as opened:
            yield opened
    finally:
        net.stop()


MakeCluster = Callable[..., Cluster]
"""Called with the nodes' environment variables, how many nodes, and the folder of their `python`."""


@pytest.fixture
def make_cluster(
    tools: "type[Tools]", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeCluster]:
    """From environment variables of the nodes to a running cluster, of three nodes by default."""
    made: list[Cluster] = []

    def make(env: dict[str, str], n_nodes: int = 3, python: Path = HERE) -> Cluster:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RAY_", "AWS_", "TUNE_"))
        }
        # Paths of sockets may have 107 characters.
        folder = Path(os.path.realpath("/tmp")) / f"ray-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)  # Ray opens its own in it to every user of this machine
        cluster = Cluster(
            port=tools.free_ports(3),
            folder=folder,
            env={
                **inherited,
                "PATH": f"{python}:{os.environ['PATH']}",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
                **env,
            },
            tools=tools,
        )
        made.append(cluster)
        for _ in range(n_nodes):
            cluster.add_node()
        return cluster

    yield make
    for cluster in made:
        cluster.stop()
        subprocess.run(["rm", "-rf", str(cluster.folder)], check=False)
