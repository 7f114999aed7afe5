"""A cluster of several machines over SSH: launched, used, losing a machine, and ended, next to another Ray."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.servers.netlab import Machine, Netlab, is_possible

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, MakeCli, S3Server, StartS3, Tiny, Tools

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="five minutes: make test-cluster"),
]

SUBNET, BUCKET = "10.77.3", "over-ssh"
SMALL = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


@dataclass
class Lab:
    """Three machines, an S3 server that they reach, and what a user has who launches a cluster there."""

    net: Netlab
    s3: "S3Server"
    cli: "Cli"
    file: Path
    """Cluster file."""

    @property
    def machines(self) -> list[Machine]:
        return list(self.net.machines.values())

    def processes(self, machine: Machine) -> list[str]:
        """Return the command lines of everything of Ray on a machine."""
        found = self.net.run(
            machine, "ps -eo args= | grep -E 'ray::|raylet|gcs_server|ray/' | grep -v grep"
        )
        return found.stdout.splitlines()


@pytest.fixture(scope="module")
def lab(
    root: Path,
    start_s3: "StartS3",
    make_cli: "MakeCli",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    if reason := is_possible():
        pytest.fail(f"machines of their own are needed: {reason}")
    folder = tmp_path_factory.mktemp("over-ssh")
    # The project and its Python are installed on them, as on a laboratory's.
    net = Netlab(folder / "net", "ossh", SUBNET, [Path(sys.prefix), Path(sys.base_prefix), root])
    net.start()
    try:
        s3 = start_s3(net.gateway)
        s3.client.create_bucket(Bucket=BUCKET)
        for last in (11, 12, 13):
            net.add(f"{SUBNET}.{last}", env=s3.env | SMALL)
        cli = make_cli(folder).having(**s3.env, ORCHESTRATOR_HOME=str(folder / "state"))
        head, *workers = net.machines.values()
        content = yaml.safe_load((root / "cluster" / "onprem.yaml").read_text())
        content["orchestrator"] |= {"store": f"s3://{BUCKET}/runs", "install": False}
        content["provider"] |= {"head_ip": head.ip, "worker_ips": [m.ip for m in workers]}
        content["auth"] |= {"ssh_user": "root", "ssh_private_key": str(net.key)}
        file = folder / "onprem.yaml"
        file.write_text(yaml.safe_dump(content))
        yield Lab(net, s3, cli, file)
    finally:
        net.stop()


@pytest.fixture(scope="module")
def other_ray(lab: Lab) -> str:
    """Another user's Ray on a worker's machine; returns its address there."""
    machine = lab.machines[1]
    start = (
        "RAY_AUTH_MODE=disabled nohup python3 -m ray.scripts.scripts start --head --block --port 7001 "
        "--temp-dir /tmp/other --dashboard-port 7002 --ray-client-server-port 7003 --metrics-export-port 0 "
        "--dashboard-agent-listen-port 0 --min-worker-port 0 --max-worker-port 0 --num-cpus 1 "
        "--object-store-memory 100000000 --include-dashboard=false >/tmp/other.log 2>&1 </dev/null & "
        "for i in $(seq 200); do grep -q 'block forever' /tmp/other.log && exit 0; sleep 0.2; done; exit 1"
    )
    done = lab.net.run(machine, start)
    assert done.returncode == 0, done.stderr
    return f"{machine.ip}:7001"


def test_launch_use_lose_a_machine_and_end(
    lab: Lab, other_ray: str, tiny: "Tiny", tools: "type[Tools]", tmp_path: Path
) -> None:
    cli, file = lab.cli, lab.file
    launched = cli("launch", file, "--yes").ok()
    assert "sleep-lab is up" in launched.out
    again = cli("launch", file, "--yes").ok()
    assert re.search(r"sleep-lab is up since .*; nothing was changed", again.out)
    status = json.loads(cli("status", "--cluster", file, "--json").ok().out)
    assert [node["state"] for node in status["nodes"]] == ["ALIVE"] * 3

    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", f"s3://{BUCKET}/runs").ok()
    sweep = tmp_path / "sweep.yaml"
    content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text())
    content |= {"name": "far", "arms": ["no_adapt"]}
    content["search"] |= {"n_trials": 12, "n_steps": 200}
    sweep.write_text(yaml.safe_dump(content))
    job = cli.start("submit", sweep, "--cluster", file)

    def n_done() -> int:
        found = cli("status", "far", "--cluster", file, "--json")
        return json.loads(found.out)["n_complete"] if found.code == 0 else 0

    tools.wait_for(
        lambda: n_done() >= 2 or job.poll() is not None, timeout_s=300, what="two trials"
    )
    lost = lab.machines[2]
    lab.net.cut(lost)
    out, err = job.communicate(timeout=400)
    assert job.returncode == 0, out + err
    done = json.loads(cli("status", "far", "--cluster", file, "--json").ok().out)
    assert (done["state"], done["n_complete"]) == ("finished", 12)
    assert lab.s3.secret not in out + err

    lab.net.mend(lost)
    ended = cli("down", file, "--verify").ok()
    assert "verified: nothing of it is left" in ended.out
    for machine in lab.machines:
        left = [
            line
            for line in lab.processes(machine)
            if "7001" not in line and "/tmp/other" not in line
        ]
        assert left == [], machine
    look = f"import ray; ray.init('{other_ray}', log_to_driver=False); print(len(ray.nodes()))"
    alive = lab.net.run(lab.machines[1], f'RAY_AUTH_MODE=disabled python3 -c "{look}"')
    assert alive.stdout.strip().endswith("1"), alive
    assert "was not running; nothing was changed" in cli("down", file).ok().out
