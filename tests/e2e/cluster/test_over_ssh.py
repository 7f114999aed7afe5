"""A cluster of several machines over SSH: launched, used, losing a machine, and ended, next to another Ray."""

import errno
import hmac
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.cluster.ray_config import processes_command
from tests.e2e.servers.doors import WRONG, Door, doors, http_code
from tests.e2e.servers.netlab import Machine, Netlab, is_possible

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, MakeCli, Result, S3Server, StartS3, Tiny, Tools

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
    state: Path
    """What this machine knows of its clusters."""
    root: Path

    @property
    def machines(self) -> list[Machine]:
        return list(self.net.machines.values())

    def running(self) -> dict[str, Any]:
        """Return what was noted of the cluster that runs."""
        found: dict[str, Any] = json.loads(
            (self.state / "clusters" / "sleep-lab" / "running.json").read_text(encoding="utf-8")
        )
        return found

    def token(self) -> str:
        """Return the cluster's token."""
        return (self.state / "clusters" / "sleep-lab" / "token").read_text(encoding="utf-8")

    def holding(self, secret: str) -> set[str]:
        """Return the files with a secret that are not made to hold it: on the machines, here, and in the store."""
        wanted = secret.encode()
        places = [self.state, *(self.net.folder / machine.name for machine in self.machines)]
        found = {
            str(path)
            for place in places
            for path in place.rglob("*")
            if path.is_file() and not path.is_symlink() and wanted in path.read_bytes()
        }
        for path in list(found):
            if Path(path).name == "token" or Path(path).name.startswith("secrets-"):
                assert Path(path).stat().st_mode & 0o077 == 0, path
                found.remove(path)
        pages = self.s3.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        for item in (item for page in pages for item in page["Contents"]):
            body = self.s3.client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            if wanted in body:
                found.add(item["Key"])
        # A login shell of these machines has the S3 server's keys.
        return {path for path in found if not path.endswith("home/.bashrc")}

    def doors(self, machine: Machine) -> set[Door]:
        """Knock on everything of the cluster that listens on a machine."""
        ours = processes_command("~/.sleep-orchestrator/sleep-lab")
        sockets = self.net.run(machine, "ss -Htlnp").stdout
        listed = f"for p in $({ours}) $(pgrep sshd); do ps -o pid=,args= -p $p; done"
        return doors(machine.ip, sockets, self.net.run(machine, listed).stdout)

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
        content = yaml.safe_load((root / "cluster" / "onprem.yaml").read_text(encoding="utf-8"))
        content["orchestrator"] |= {"store": f"s3://{BUCKET}/runs", "install": False}
        content["provider"] |= {"head_ip": head.ip, "worker_ips": [m.ip for m in workers]}
        content["auth"] |= {"ssh_user": "root", "ssh_private_key": str(net.key)}
        file = folder / "onprem.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        yield Lab(net, s3, cli, file, folder / "state", root)
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


@pytest.fixture(scope="module")
def up(lab: Lab, other_ray: str) -> "Result":
    """A launched cluster, next to the other Ray."""
    return lab.cli("launch", lab.file, "--yes").ok()


def far_sweep(lab: Lab, tiny: "Tiny", name: str, n_trials: int) -> Path:
    """Write a sweep file whose trials take seconds, and ingest what it needs."""
    lab.cli("ingest", tiny.dataset, "--data", tiny.data, "--store", f"s3://{BUCKET}/runs").ok()
    content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content |= {"name": name, "arms": ["no_adapt"]}
    content["search"] |= {"n_trials": n_trials, "n_steps": 200}
    sweep = lab.cli.cwd / f"{name}.yaml"
    sweep.write_text(yaml.safe_dump(content), encoding="utf-8")
    return sweep


def n_done(lab: Lab, name: str) -> int:
    found = lab.cli("status", name, "--cluster", lab.file, "--json")
    return int(json.loads(found.out)["n_complete"]) if found.code == 0 else 0


@pytest.fixture
def wrong(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A cluster file of two machines that something is wrong with; nothing of it is left afterwards."""

    def write(options: Mapping[str, Any] = {}, **auth: str) -> Path:
        content = yaml.safe_load(lab.file.read_text(encoding="utf-8"))
        content["cluster_name"] = "wrong"
        content["provider"]["worker_ips"] = [lab.machines[2].ip]
        content["auth"] |= auth
        content["orchestrator"] |= options
        file = tmp_path / "wrong.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    yield write
    assert lab.processes(lab.machines[0]) == lab.processes(lab.machines[2]) == []


def test_a_key_that_is_refused(lab: Lab, wrong: Callable[..., Path], tmp_path: Path) -> None:
    key = tmp_path / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    file = wrong(ssh_private_key=str(key))
    for how in (("--dry-run", "--online"), ("--yes",)):
        failed = lab.cli("launch", file, *how)
        failed.fails(7, "no SSH to 10.77.3.11", "Permission denied", "Check auth")


def test_a_machine_where_another_user_has_made_rays_folder(
    lab: Lab, wrong: Callable[..., Path]
) -> None:
    folder = "/tmp/sleep-wrong.root"
    worker = lab.machines[2]
    lab.net.run(worker, f"mkdir -m 777 {folder}; chown nobody {folder}")
    try:
        failed = lab.cli("launch", wrong(), "--yes")
        owner = lab.net.run(worker, f"stat -c %U {folder}").stdout
    finally:
        lab.net.run(worker, f"rmdir {folder}")
    failed.fails(7, f"on {worker.ip}, {folder} must be a folder of root that nobody else can enter")
    assert owner.strip() == "nobody"


def test_another_version_on_the_machines(lab: Lab, wrong: Callable[..., Path]) -> None:
    older = "~/older/sleep_orchestrator-0.0.9.dist-info"
    lab.net.run(
        lab.machines[0],
        f"mkdir -p {older}; printf 'Name: sleep-orchestrator\\nVersion: 0.0.9\\n' > {older}/METADATA; "
        "cp .bashrc kept; echo 'export PYTHONPATH=/root/older' >> .bashrc",
    )
    try:
        failed = lab.cli("launch", wrong(), "--yes")
    finally:
        lab.net.run(lab.machines[0], "mv kept .bashrc; rm -r older")
    here = version("sleep-orchestrator")
    failed.fails(7, f"sleep-orchestrator is 0.0.9 there and {here} here", "Install the same")


def test_a_head_whose_job_server_does_not_answer(lab: Lab, wrong: Callable[..., Path]) -> None:
    """Something else has its port."""
    head = lab.machines[0]
    lab.net.run(
        head,
        "nohup python3 -m http.server 8265 --bind 127.0.0.1 >/dev/null 2>&1 </dev/null & echo $! > other.pid",
    )
    try:
        failed = lab.cli("launch", wrong(), "--yes")
    finally:
        lab.net.run(head, "kill $(cat other.pid)")
    failed.fails(7, "8265")


def test_its_time_to_live_ends_it(
    lab: Lab, wrong: Callable[..., Path], tools: "type[Tools]"
) -> None:
    """Of all its machines; nobody has to be there."""
    file = wrong({"ttl_hours": 75 / 3600})
    assert "it ends at " in lab.cli("launch", file, "--yes").ok().out
    head, _, worker = lab.machines
    assert lab.processes(head)
    assert lab.processes(worker)
    tools.wait_for(
        lambda: not lab.processes(head) and not lab.processes(worker), timeout_s=240, what="the end"
    )
    assert lab.cli("status", "--cluster", file, "--json").ok().out.count('"down"') == 1
    lab.cli("down", file, "--verify").ok()


def test_a_second_launch_changes_nothing(lab: Lab, up: "Result", tmp_path: Path) -> None:
    assert "sleep-lab is up" in up.out
    os.kill(lab.running()["pid"], signal.SIGKILL)  # the tunnel, as without network
    again = lab.cli("launch", lab.file, "--yes").ok()
    assert re.search(r"sleep-lab is up since .*; nothing was changed", again.out)
    stranger = lab.cli.having(ORCHESTRATOR_HOME=str(tmp_path))
    stranger("launch", lab.file, "--yes").fails(7, "was not launched from here", "10.77.3.11")
    status = json.loads(lab.cli("status", "--cluster", lab.file, "--json").ok().out)
    assert [node["state"] for node in status["nodes"]] == ["alive"] * 3
    for machine in lab.machines:  # other users of it come nowhere near Ray's files
        session = "/tmp/sleep-sleep-lab.root/ray/session_latest"
        theirs = f"setpriv --reuid=65534 --regid=65534 --clear-groups touch {session}/planted"
        found = lab.net.run(machine, f"ls -d {session}/sockets; {theirs}")
        assert found.stdout.strip() == f"{session}/sockets"
        assert "Permission denied" in found.stderr


EVERYWHERE = {
    Door("sshd", "network", "ssh"),
    Door("raylet", "all", "refuses"),
    Door("runtime environment agent", "network", "refuses"),
    Door("dashboard agent", "all", "refuses"),
    Door("dashboard agent", "network", "refuses"),
    Door("dashboard agent", "loopback", "not knocked on"),
    Door("dashboard agent", "all", "metrics"),
}
ON_THE_HEAD = EVERYWHERE | {
    Door("GCS", "all", "refuses"),
    Door("autoscaler", "all", "metrics"),
    Door("dashboard", "all", "metrics"),
    Door("dashboard", "loopback", "not knocked on"),
    Door("Ray client server", "network", "refuses"),
    Door("Ray client server", "loopback", "not knocked on"),
}


def test_every_open_port_is_known_and_asks_for_the_token(lab: Lab, up: "Result") -> None:
    page = (lab.root / "docs" / "cluster.md").read_text(encoding="utf-8")
    for machine in lab.machines:
        known = ON_THE_HEAD if machine is lab.machines[0] else EVERYWHERE
        found: set[Door] = set()
        deadline = time.monotonic() + 60
        while (
            not known <= found and time.monotonic() < deadline
        ):  # agents start after the node has joined
            found = lab.doors(machine)
            time.sleep(1)
        assert found - {Door("worker", "all", "refuses")} == known, machine
        for door in found:
            assert f"| {door.owner} |" in page


def test_http_asks_for_the_token(lab: Lab, up: "Result") -> None:
    address = lab.running()["address"]
    token = lab.token()
    agent = f"http://{lab.machines[0].ip}:52365"
    for url in (f"{address}/api/jobs/", f"{address}/api/version", f"{agent}/api/job_agent/jobs/"):
        assert http_code(url, None) == 401, url
        assert http_code(url, WRONG) == 403, url
    assert http_code(f"{address}/api/jobs/", token) == 200
    # Nobody else reaches the dashboard at all.
    with socket.socket() as probe:
        assert probe.connect_ex((lab.machines[0].ip, 8265)) == errno.ECONNREFUSED


def test_a_sweep_outlives_a_machine(
    lab: Lab, up: "Result", tiny: "Tiny", tools: "type[Tools]"
) -> None:
    key = secrets.token_hex(16)
    cli, file = lab.cli.having(NOTICE_KEY=key), lab.file
    sweep = far_sweep(lab, tiny, "far", 12)
    told = "cat > ~/notice; printf %s $NOTICE_SIGNATURE > ~/signature"  # on the head
    notify = {"command": ["sh", "-c", told], "key_variable": "NOTICE_KEY", "on": ["done"]}
    sweep.write_text(
        yaml.safe_dump(yaml.safe_load(sweep.read_text(encoding="utf-8")) | {"notify": notify}),
        encoding="utf-8",
    )
    lab.cli("submit", sweep, "--cluster", file).fails(
        2, "NOTICE_KEY: this environment variable is not set"
    )
    job = cli.start("submit", sweep, "--cluster", file)
    tools.wait_for(
        lambda: n_done(lab, "far") >= 2 or job.poll() is not None, timeout_s=300, what="two trials"
    )
    command_lines = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout  # of the machines, too: they share this kernel
    assert "ray::" in command_lines
    tunnel = lab.running()["pid"]
    os.kill(tunnel, signal.SIGKILL)  # whoever follows the job finds its way back
    lost = lab.machines[2]
    lab.net.cut(lost)
    out, err = job.communicate(timeout=400)
    lab.net.mend(lost)
    assert job.returncode == 0, out + err
    assert lab.running()["pid"] != tunnel
    assert out.count("next: orchestrator review far") == 1, out
    done = json.loads(cli("status", "far", "--cluster", file, "--json").ok().out)
    assert (done["state"], done["n_complete"]) == ("finished", 12)
    nodes = json.loads(cli("status", "--cluster", file, "--json").ok().out)["nodes"]
    assert {node["address"] for node in nodes if node["state"] == "lost"} == {lost.ip}
    body, signed = (
        lab.net.run(lab.machines[0], f"cat ~/{name}").stdout for name in ("notice", "signature")
    )
    assert json.loads(body)["sweep"] == "far"
    expected = hmac.new(key.encode(), body.encode(), "sha256").hexdigest()
    assert signed == f"sha256={expected}"
    for secret in (lab.s3.secret, lab.token(), key):
        assert secret not in command_lines + out + err
        assert lab.holding(secret) == set()


def test_down_ends_all_of_it_also_what_runs_and_no_other_ray(
    lab: Lab, up: "Result", other_ray: str, tiny: "Tiny", tools: "type[Tools]"
) -> None:
    """The last one here."""
    cli, file = lab.cli, lab.file
    job = cli.start("submit", far_sweep(lab, tiny, "cut-off", 100), "--cluster", file)
    tools.wait_for(
        lambda: n_done(lab, "cut-off") >= 1 or job.poll() is not None, timeout_s=300, what="a trial"
    )
    assert job.poll() is None, job.communicate()
    lab.net.cut(lab.machines[0])
    os.kill(lab.running()["pid"], signal.SIGKILL)
    status = cli("status", "--cluster", file).ok().out
    assert "unreachable" in status
    assert "does not take SSH" in status
    cli("launch", file, "--yes").fails(7, "nobody knows whether the cluster runs")
    cli("down", file).fails(6, f"no SSH to {lab.machines[0].ip}")
    lab.net.mend(lab.machines[0])
    ended = cli("down", file, "--verify").ok()
    assert "verified: nothing of it is left" in ended.out
    out, err = job.communicate(timeout=120)
    assert job.returncode == 7, out + err
    print(err)
    head, shared, worker = lab.machines
    files = (
        "~/ray_bootstrap_key.pem ~/ray_bootstrap_config.yaml ~/.sleep-orchestrator/sleep-lab/token"
    )
    assert lab.net.run(head, f"ls {files} 2>/dev/null || true").stdout == ""
    assert lab.processes(head) == lab.processes(worker) == []
    for machine in lab.machines:
        assert "sleep-lab" not in lab.net.run(machine, "ls /tmp").stdout
    ours = lab.net.run(shared, processes_command("~/.sleep-orchestrator/sleep-lab"))
    assert ours.stdout == ""
    look = f"import ray; ray.init('{other_ray}', log_to_driver=False); print(len(ray.nodes()))"
    alive = lab.net.run(lab.machines[1], f'RAY_AUTH_MODE=disabled python3 -c "{look}"')
    assert alive.stdout.strip().endswith("1"), alive
    assert "was not running; nothing was changed" in cli("down", file).ok().out
