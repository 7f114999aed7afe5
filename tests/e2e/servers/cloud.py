"""An account of Amazon's on this machine: EC2, IAM and SSM by moto, S3, machines for instances, instance metadata."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import yaml

from tests.e2e.servers.bodies import Bodies
from tests.e2e.servers.metadata import Metadata
from tests.e2e.servers.netlab import Netlab

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, S3Server

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
    state: Path
    """What this machine knows of its clusters."""
    subnet: str
    refusals: Path
    """What EC2 refuses: see tests/e2e/servers/moto_ec2.py."""

    def file(self, name: str, **changes: Any) -> Path:
        """Write cluster/aws.yaml as ``sleep-NAME``, with what is this account's, and with changes by dotted key."""
        content = yaml.safe_load((self.root / "cluster" / "aws.yaml").read_text(encoding="utf-8"))
        content |= {"cluster_name": f"sleep-{name}", "idle_timeout_minutes": 0.5}
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
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    @contextmanager
    def refusing(self, *lines: str) -> Iterator[None]:
        """Have EC2 refuse inside the block: an instance type, or ``*``, and a code a line."""
        self.refusals.write_text("\n".join(lines), encoding="utf-8")
        try:
            yield
        finally:
            self.refusals.unlink()

    def alive(self, cluster: str) -> list[dict[str, Any]]:
        """Return the instances of a cluster that are not terminated."""
        tag = {"Key": "ray-cluster-name", "Value": f"sleep-{cluster}"}
        return [
            instance
            for instance in self.bodies.instances()
            if tag in instance.get("Tags", []) and instance["State"]["Name"] != "terminated"
        ]


def start_moto(host: str, port: int, refusals: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start the endpoint of tests/e2e/servers/moto_ec2.py, and wait until it answers; the caller ends it."""
    script = Path(__file__).parents[1] / "servers" / "moto_ec2.py"
    settings = {
        "REFUSALS": str(refusals),
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
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, "moto does not answer"
        time.sleep(0.1)
    return process


def _connect(ec2: Any) -> None:
    """Give the account's network its way to the internet: an account of Amazon's has it, one of moto's has not."""
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["VpcId"])
    (table,) = ec2.describe_route_tables()["RouteTables"]
    ec2.create_route(
        RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
    )


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextmanager
def account(
    folder: Path, root: Path, net: Netlab, s3: "S3Server", cli: "Cli", port: int
) -> Iterator[Cloud]:
    """Open an account, prepared as docs/cluster.md says.

    Parameters
    ----------
    folder, root : Path
        Where everything is kept; the project.
    net : Netlab
        Started; of the subnet `SUBNET`.
    s3 : S3Server
        That listens on its gateway.
    cli : Cli
    port : int
        Free.
    """
    refusals, state = folder / "refusals", folder / "state"
    moto = start_moto(net.gateway, port, refusals, folder / "moto.log")
    try:
        env = {
            **s3.env,
            "AWS_ENDPOINT_URL": f"http://{net.gateway}:{port}",
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
        }
        ec2 = boto3.client(
            "ec2",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=s3.key,
            aws_secret_access_key=s3.secret,
        )
        cli = cli.having(**env, ORCHESTRATOR_HOME=str(state))
        public = net.key.with_suffix(".pub").read_text(encoding="utf-8")
        ec2.import_key_pair(KeyName="sleep-orchestrator", PublicKeyMaterial=public.encode())
        prepare = [sys.executable, str(root / "cluster" / "prepare_aws.py"), "--bucket", BUCKET]
        for _ in range(2):  # the second time changes nothing
            said = subprocess.run(
                [*prepare, "--region", REGION, "--key", str(folder / "key.pem")],
                env=dict(cli.env),
                capture_output=True,
                text=True,
                check=False,
                encoding="utf-8",
            )
            assert said.returncode == 0, said.stderr
        # Ceph 16 takes a request without any ACL for one with a public ACL, and refuses it.
        block = s3.client.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
        assert all(block.values())
        s3.client.delete_public_access_block(Bucket=BUCKET)
        subnet = next(
            found["SubnetId"]
            for found in ec2.describe_subnets()["Subnets"]
            if found["AvailabilityZone"] == f"{REGION}a"
        )
        assert f"SubnetIds: [{subnet}]" in said.stdout
        _connect(ec2)
        with Metadata(net.gateway) as metadata:
            machines = env | SMALL | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint}
            with Bodies(ec2, net, public, machines) as bodies:
                yield Cloud(net, s3, cli, ec2, bodies, metadata, root, state, subnet, refusals)
            assert bodies.problems == []
    finally:
        moto.kill()
        moto.wait()
