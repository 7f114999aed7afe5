"""What runs with an account of Amazon's alone: the script that prepares it, and the end of a cluster's time to live."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.e2e.servers.cloud import IMAGE, REGION, start_moto

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Tools

pytestmark = pytest.mark.e2e

KEY = "sleep-orchestrator"


@dataclass(frozen=True, slots=True)
class Account:
    """An empty account, and a folder of who uses it."""

    env: Mapping[str, str]
    folder: Path
    root: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id="an-id",
            aws_secret_access_key="a-secret",
        )

    def prepare(self, *options: str) -> "subprocess.CompletedProcess[str]":
        script = str(self.root / "cluster" / "prepare_aws.py")
        needed = ("--bucket", "a-laboratory", "--region", REGION)
        return subprocess.run(
            [sys.executable, script, *needed, "--key", str(self.folder / "key.pem"), *options],
            env=dict(self.env),
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )


@pytest.fixture
def account(cli: "Cli", tools: "type[Tools]", tmp_path: Path, root: Path) -> Iterator[Account]:
    port = tools.free_ports(1)
    moto = start_moto("127.0.0.1", port, tmp_path / "refusals", tmp_path / "moto.log")
    env = {
        **cli.env,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
    }
    try:
        yield Account(env, tmp_path, root)
    finally:
        moto.kill()
        moto.wait()


def test_an_account_is_prepared_once(account: Account) -> None:
    first = account.prepare()
    assert first.returncode == 0, first.stderr
    key = account.folder / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    made = key.read_bytes()
    assert made.startswith(b"-----BEGIN")
    (spot,) = account.client("iam").list_roles(PathPrefix="/aws-service-role/")["Roles"]
    assert "/spot.amazonaws.com/" in spot["Path"]
    for role in ("head", "worker"):
        policy = account.client("iam").get_role_policy(RoleName=f"{KEY}-{role}", PolicyName=KEY)
        assert "arn:aws:s3:::a-laboratory" in str(policy["PolicyDocument"])
        assert "my-laboratory" not in str(policy["PolicyDocument"])
    again = account.prepare()
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    assert key.read_bytes() == made
    assert len(account.client("ec2").describe_key_pairs()["KeyPairs"]) == 1


def test_a_key_file_that_is_there_is_left_alone(account: Account) -> None:
    key = account.folder / "key.pem"
    key.write_text("of another region", encoding="utf-8")
    refused = account.prepare()
    assert refused.returncode == 1
    assert f"{key} is there already" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert key.read_text(encoding="utf-8") == "of another region"
    assert account.client("ec2").describe_key_pairs()["KeyPairs"] == []
    assert account.prepare("--key", str(account.folder / "other.pem")).returncode == 0


def test_without_credentials_it_says_so(account: Account) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    env = {name: value for name, value in account.env.items() if name not in keys}
    refused = Account(env, account.folder, account.root).prepare()
    assert refused.returncode == 1
    assert refused.stderr.startswith("Unable to locate credentials. What was made")
    assert "Traceback" not in refused.stderr


def test_at_the_end_of_its_time_a_machine_that_is_protected_does_not_keep_the_others(
    account: Account, tools: "type[Tools]"
) -> None:
    ec2 = account.client("ec2")

    def machine(cluster: str, kind: str) -> str:
        tags = {"ray-cluster-name": cluster, "ray-node-type": kind}
        specification = {
            "ResourceType": "instance",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
        (made,) = ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=1, TagSpecifications=[specification]
        )["Instances"]
        return str(made["InstanceId"])

    def states() -> dict[str, str]:
        return {
            i["InstanceId"]: i["State"]["Name"]
            for r in ec2.describe_instances()["Reservations"]
            for i in r["Instances"]
        }

    protected, *others = (machine("sleep-a", "worker") for _ in range(3))
    head, stranger = machine("sleep-a", "head"), machine("sleep-b", "head")
    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    ec2.stop_instances(InstanceIds=[others[0]])  # a stopped one bills its disk
    log = account.folder / "expiry.log"
    with log.open("w", encoding="utf-8") as file:
        expiry = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cluster.expiry", "0", REGION, "sleep-a"],
            env=dict(account.env),
            stdout=file,
            stderr=file,
        )
    try:
        tools.wait_for(lambda: states()[head] == "terminated", timeout_s=60, what="the end")
        assert expiry.poll() is None, log.read_text(
            encoding="utf-8"
        )  # it tries again for as long as it lives
    finally:
        expiry.kill()
        expiry.wait()
    assert [states()[name] for name in others] == ["terminated"] * 2
    assert states()[protected] == "running"
    assert states()[stranger] == "running"
    assert f"{protected}: " in log.read_text(encoding="utf-8")
