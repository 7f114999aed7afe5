"""EC2 as an endpoint that speaks its interface and gives its instances a body, with real Ray on them."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml

from tests.e2e.servers.bodies import Bodies
from tests.e2e.servers.metadata import Metadata
from tests.e2e.servers.netlab import Netlab, is_possible

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, MakeCli, S3Server, StartS3, Tiny, Tools

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="ten minutes: make test-cluster"),
]

SUBNET, BUCKET, REGION = "172.31.0", "my-laboratory", "us-east-1"  # moto's own network
IMAGE = "ami-1e749f67"
"""One that moto knows."""
SMALL = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


@dataclass
class Cloud:
    """An account, and what a user of it has."""

    net: Netlab
    s3: "S3Server"
    cli: "Cli"
    ec2: Any
    bodies: Bodies
    metadata: Metadata
    root: Path
    subnet: str
    no_capacity: Path
    """Instance types that there are none of."""

    def file(self, name: str, **changes: Any) -> Path:
        """Write cluster/aws.yaml with what is this account's, and with changes by dotted key."""
        content = yaml.safe_load((self.root / "cluster" / "aws.yaml").read_text())
        content |= {"cluster_name": name, "idle_timeout_minutes": 0.5}
        content["orchestrator"] |= {"install": False, "store": f"s3://{BUCKET}/{name}"}
        content["orchestrator"]["ssh_from"] = f"{self.net.gateway}/32"
        content["provider"]["use_internal_ips"] = True
        content["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.net.key)}
        for kind in content["available_node_types"].values():
            kind["node_config"] |= {"ImageId": IMAGE, "SubnetIds": [self.subnet]}
        for key, value in changes.items():
            *where, last = key.split("__")
            section = content
            for step in where:
                section = section[step.replace("_gpu", "-gpu")]
            section[last] = value
        path = self.cli.cwd / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def alive(self, cluster: str) -> list[dict[str, Any]]:
        """Return the instances of a cluster that are not terminated."""
        tag = {"Key": "ray-cluster-name", "Value": cluster}
        return [
            instance
            for instance in self.bodies.instances()
            if tag in instance.get("Tags", []) and instance["State"]["Name"] != "terminated"
        ]


def _moto(host: str, port: int, no_capacity: Path, log: Path) -> "subprocess.Popen[bytes]":
    script = Path(__file__).parents[1] / "servers" / "moto_ec2.py"
    settings = {
        "NO_CAPACITY": str(no_capacity),
        "MOTO_ENABLE_AMI_VALIDATION": "1",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
        "MOTO_ENABLE_KEYPAIR_VALIDATION": "1",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, script, "-H", host, "-p", str(port)],
            env={**os.environ, **settings},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while not _answers(host, port):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "moto does not answer"
        time.sleep(0.1)
    return process


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.fixture(scope="module")
def cloud(
    root: Path,
    start_s3: "StartS3",
    make_cli: "MakeCli",
    tools: "type[Tools]",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    if reason := is_possible():
        pytest.fail(f"machines of their own are needed: {reason}")
    folder = tmp_path_factory.mktemp("on-aws")
    shared = [Path(sys.prefix), Path(sys.base_prefix), root]
    net = Netlab(folder / "net", "aws", SUBNET, shared, prefix=16)
    net.start()
    no_capacity, moto = folder / "no-capacity", None
    try:
        s3 = start_s3(net.gateway)
        port = tools.free_ports(1)
        moto = _moto(net.gateway, port, no_capacity, folder / "moto.log")
        account = {
            **s3.env,
            "AWS_ENDPOINT_URL": f"http://{net.gateway}:{port}",
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
        }
        ec2 = boto3.client(
            "ec2",
            endpoint_url=account["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=s3.key,
            aws_secret_access_key=s3.secret,
        )
        cli = make_cli(folder).having(**account, ORCHESTRATOR_HOME=str(folder / "state"))
        public = (folder / "net" / "id.pub").read_text()
        ec2.import_key_pair(KeyName="sleep-orchestrator", PublicKeyMaterial=public.encode())
        prepare = [sys.executable, str(root / "cluster" / "prepare_aws.py"), "--bucket", BUCKET]
        for _ in range(2):  # the second time changes nothing
            said = subprocess.run(
                [*prepare, "--region", REGION, "--key", str(folder / "key.pem")],
                env=dict(cli.env),
                capture_output=True,
                text=True,
                check=False,
            )
            assert said.returncode == 0, said.stderr
        subnet = next(
            found["SubnetId"]
            for found in ec2.describe_subnets()["Subnets"]
            if found["AvailabilityZone"] == f"{REGION}a"
        )
        assert subnet in said.stdout
        with Metadata(net.gateway) as metadata:
            env = account | SMALL | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint}
            with Bodies(ec2, net, public, env) as bodies:
                yield Cloud(net, s3, cli, ec2, bodies, metadata, root, subnet, no_capacity)
            assert bodies.problems == []
    finally:
        net.stop()
        if moto is not None:
            moto.kill()
            moto.wait()


NODES = "available_node_types__{}__node_config__{}"


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("head", "ImageId", "ami-00000000000000000", "no such image"),
        ("small_gpu", "KeyName", "nobody", "no such key pair"),
        ("small_gpu", "SubnetIds", ["subnet-00000000000000000"], "no such subnet"),
        ("head", "IamInstanceProfile", {"Name": "nobody"}, "no such instance profile"),
        ("head", "InstanceType", "m6i.largest", "is m6i.largest: there is none in this region"),
    ],
)
def test_what_a_file_names_and_is_not_there_is_told_before_anything_starts(
    cloud: Cloud, kind: str, key: str, value: Any, said: str
) -> None:
    file = cloud.file("wrong", **{NODES.format(kind, key): value})
    cloud.cli("launch", file, "--dry-run").ok()
    cloud.cli("launch", file, "--dry-run", "--online").fails(6, said)
    cloud.cli("launch", file, "--yes").fails(6, said)
    assert cloud.alive("wrong") == []


def test_without_credentials(cloud: Cloud) -> None:
    nobody = cloud.cli.having(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    file = cloud.file("nobody")
    nobody("launch", file, "--dry-run", "--online").fails(6, "no AWS credentials")


def test_launch_use_and_end(
    cloud: Cloud, tiny: "Tiny", tools: "type[Tools]", tmp_path: Path
) -> None:
    cli, file = cloud.cli, cloud.file("whole", orchestrator__ttl_hours=2)
    cli("launch", file, "--dry-run", "--online").ok()
    launched = cli("launch", file, "--yes").ok()
    assert "whole is up; it ends at " in launched.out
    (head,) = cloud.alive("whole")
    _check_head(cloud, head)
    assert "nothing was changed" in cli("launch", file, "--yes").ok().out
    assert [i["InstanceId"] for i in cloud.alive("whole")] == [head["InstanceId"]]

    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", f"s3://{BUCKET}/whole").ok()
    sweep = tmp_path / "sweep.yaml"
    content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text())
    content |= {"name": "far", "arms": ["no_adapt"]}
    content["search"] |= {"n_trials": 8, "n_steps": 300, "max_usd": 100}
    sweep.write_text(yaml.safe_dump(content))
    job = cli.start("submit", sweep, "--cluster", file)
    workers: list[dict[str, Any]] = []

    def has_workers() -> bool:
        workers[:] = [i for i in cloud.alive("whole") if i.get("InstanceLifecycle") == "spot"]
        return bool(workers) or job.poll() is not None

    tools.wait_for(has_workers, timeout_s=180, what="demand beyond the head adds a machine")
    assert job.poll() is None, job.communicate()
    for worker in workers:
        _check_machine(worker, "sleep-orchestrator-worker")
    out, err = job.communicate(timeout=500)
    assert job.returncode == 0, out + err
    status = json.loads(cli("status", "far", "--cluster", file, "--json").ok().out)
    assert (status["state"], status["n_complete"]) == ("finished", 8)
    tools.wait_for(
        lambda: len(cloud.alive("whole")) == 1, timeout_s=240, what="idle machines have ended"
    )

    cloud.ec2.stop_instances(InstanceIds=[head["InstanceId"]])
    tools.wait_for(
        lambda: cloud.bodies.states()[head["InstanceId"]] == "stopped", timeout_s=30, what="stopped"
    )
    cli("down", file, "--verify").ok()
    assert cloud.alive("whole") == []
    assert "was not running; nothing was changed" in cli("down", file).ok().out


def _check_head(cloud: Cloud, head: Mapping[str, Any]) -> None:
    assert "InstanceLifecycle" not in head
    _check_machine(head, "sleep-orchestrator-head")
    (group,) = head["SecurityGroups"]
    (found,) = cloud.ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    rules = {
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), source)
        for rule in found["IpPermissions"]
        for source in (
            *(r["CidrIp"] for r in rule["IpRanges"]),
            *(p["GroupId"] for p in rule["UserIdGroupPairs"]),
        )
    }
    assert rules == {
        ("tcp", 22, 22, f"{cloud.net.gateway}/32"),
        ("-1", None, None, group["GroupId"]),
    } or rules == {
        ("tcp", 22, 22, f"{cloud.net.gateway}/32"),
        ("-1", -1, -1, group["GroupId"]),
    }
    volumes = cloud.ec2.describe_volumes(
        Filters=[{"Name": "tag:ray-cluster-name", "Values": ["whole"]}]
    )["Volumes"]
    assert volumes
    assert all(volume["Encrypted"] for volume in volumes)


def _check_machine(machine: Mapping[str, Any], profile: str) -> None:
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    assert {"Key": "ray-cluster-name", "Value": "whole"} in machine["Tags"]


def test_what_could_not_be_ended_is_named(cloud: Cloud) -> None:
    """An instance that is stopped behind the launcher's back, and protected, is still billed."""
    file = cloud.file("left")
    cloud.cli("launch", file, "--yes").ok()
    (head,) = cloud.alive("left")
    instance = head["InstanceId"]
    cloud.ec2.stop_instances(InstanceIds=[instance])
    cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    cloud.cli("down", file, "--verify").fails(6, f"{instance} (stopped)")
    cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    cloud.cli("down", file, "--verify").ok()
    assert cloud.alive("left") == []


def test_a_launch_without_capacity_for_its_workers_leaves_nothing(cloud: Cloud) -> None:
    cloud.no_capacity.write_text("g4dn.xlarge")
    file = cloud.file("short", available_node_types__small_gpu__min_workers=1)
    try:
        failed = cloud.cli("launch", file, "--yes")
    finally:
        cloud.no_capacity.unlink()
    failed.fails(6, "InsufficientInstanceCapacity", "Name another InstanceType")
    assert cloud.alive("short") == []


def test_a_cluster_ends_when_its_time_is_up_without_whoever_launched_it(
    cloud: Cloud, tools: "type[Tools]"
) -> None:
    file = cloud.file("brief", orchestrator__ttl_hours=90 / 3600)
    launching = cloud.cli.start("launch", file, "--yes")
    out, err = launching.communicate(timeout=300)  # the shell has ended
    assert launching.returncode == 0, out + err
    assert cloud.alive("brief")
    (ends_at,) = re.findall(r"it ends at (\S+)", out)
    tools.wait_for(
        lambda: not cloud.alive("brief"), timeout_s=180, what=f"no instance is left after {ends_at}"
    )
    cloud.cli("down", file, "--verify").ok()
