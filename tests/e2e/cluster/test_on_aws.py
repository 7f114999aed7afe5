"""EC2 as an endpoint that speaks its interface and gives its instances a body, with real Ray on them."""

import base64
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.servers.cloud import BUCKET, Cloud

if TYPE_CHECKING:
    from tests.e2e.conftest import Tiny, Tools

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="ten minutes: make test-cluster"),
]

NODES = "available_node_types__{}__node_config__{}"


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("head", "ImageId", "ami-00000000000000000", "no such image"),
        ("small_gpu", "KeyName", "nobody", "no such key pair"),
        ("small_gpu", "SubnetIds", ["subnet-00000000000000000"], "no such subnet"),
        ("head", "IamInstanceProfile", {"Name": "nobody"}, "no such instance profile"),
        ("head", "InstanceType", "g3.4xlarge", "is g3.4xlarge: there is none in this region"),
    ],
)
def test_what_a_file_names_and_is_not_there_is_told_before_anything_starts(
    cloud: Cloud, kind: str, key: str, value: Any, said: str
) -> None:
    prices = {"g3.4xlarge": 1.14}
    file = cloud.file("wrong", orchestrator__prices=prices, **{NODES.format(kind, key): value})
    cloud.cli("launch", file, "--dry-run").ok()
    cloud.cli("launch", file, "--dry-run", "--online").fails(6, said)
    cloud.cli("launch", file, "--yes").fails(6, said)
    assert cloud.alive("wrong") == []


def test_without_credentials(cloud: Cloud) -> None:
    nobody = cloud.cli.having(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    file = cloud.file("nobody")
    for how in (("--dry-run", "--online"), ("--yes",)):
        said = nobody("launch", file, *how).fails(6, "no AWS credentials", "Set AWS_ACCESS_KEY_ID")
        assert said.err.count("no AWS credentials") == 1


def test_with_credentials_that_have_expired(cloud: Cloud) -> None:
    file = cloud.file("late")
    with cloud.refusing("* RequestExpired"):
        for how in (("--dry-run", "--online"), ("--yes",)):
            said = cloud.cli("launch", file, *how).fails(6, "have expired", "Log in again")
            assert said.err.count("Log in again") == 1
    assert cloud.alive("late") == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("VcpuLimitExceeded", "quota of vCPUs of this kind is used up. Ask Amazon to raise it"),
        ("InsufficientInstanceCapacity", "Name another InstanceType or availability_zone"),
        ("UnauthorizedOperation", "Ask for the permissions in docs/cluster.md"),
    ],
)
def test_a_head_that_amazon_does_not_give(cloud: Cloud, code: str, advice: str) -> None:
    with cloud.refusing(f"m6i.large {code}"):
        cloud.cli("launch", cloud.file("headless"), "--yes").fails(6, code, advice)
    assert cloud.alive("headless") == []
    assert "was not running" in cloud.cli("down", cloud.file("headless"), "--verify").ok().out


def test_a_subnet_without_a_way_out(cloud: Cloud) -> None:
    (vpc,) = cloud.ec2.describe_vpcs()["Vpcs"]
    where = {"VpcId": vpc["VpcId"], "CidrBlock": "172.31.208.0/20"}
    subnet = cloud.ec2.create_subnet(**where)["Subnet"]["SubnetId"]
    table = cloud.ec2.create_route_table(VpcId=vpc["VpcId"])["RouteTable"]["RouteTableId"]
    cloud.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    file = cloud.file("lonely", **{NODES.format("head", "SubnetIds"): [subnet]})
    cloud.cli("launch", file, "--yes").fails(6, subnet, "no route to the internet", "NAT gateway")
    assert cloud.alive("lonely") == []


def test_a_private_key_of_another_pair(cloud: Cloud, tmp_path: Path) -> None:
    key = tmp_path / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    file = cloud.file("stranger", auth={"ssh_user": "root", "ssh_private_key": str(key)})
    cloud.cli("launch", file, "--yes").fails(6, "is not its private half", "sleep-orchestrator")
    assert cloud.alive("stranger") == []


def test_a_launch_whose_terminal_is_closed_leaves_nothing(
    cloud: Cloud, tools: "type[Tools]"
) -> None:
    launching = cloud.cli.start("launch", cloud.file("closed"), "--yes")
    tools.wait_for(lambda: bool(cloud.alive("closed")), timeout_s=60, what="a head")
    assert launching.stdout is not None
    assert launching.stderr is not None
    launching.stdout.close()
    os.kill(launching.pid, signal.SIGHUP)
    assert "Traceback" not in launching.stderr.read()
    launching.stderr.close()
    assert launching.wait(timeout=60) != 0
    assert cloud.alive("closed") == []


def test_a_launch_that_is_killed_is_known_of(cloud: Cloud, tools: "type[Tools]") -> None:
    """Nobody could clean up: status names what is there, and so does its own time to live."""
    file = cloud.file("killed", orchestrator__ttl_hours=2)
    launching = cloud.cli.start("launch", file, "--yes")
    tools.wait_for(lambda: bool(cloud.alive("killed")), timeout_s=60, what="a head")
    tools.kill_group(launching)
    (head,) = cloud.alive("killed")
    status = json.loads(cloud.cli("status", "--cluster", file, "--json").ok().out)
    assert status["state"] == "unreachable"
    assert head["InstanceId"] in status["said"]
    asked = cloud.ec2.describe_instance_attribute(
        InstanceId=head["InstanceId"], Attribute="userData"
    )
    script = base64.b64decode(asked["UserData"]["Value"]).decode()
    assert script.startswith("#!/bin/sh\nshutdown -h +$(( (")
    cloud.cli("down", file, "--verify").ok()
    assert cloud.alive("killed") == []


def test_launch_use_and_end(
    cloud: Cloud, tiny: "Tiny", tools: "type[Tools]", tmp_path: Path
) -> None:
    cli, file = cloud.cli, cloud.file("whole", orchestrator__ttl_hours=2)
    cli("launch", file, "--dry-run", "--online").ok()
    launched = cli("launch", file, "--yes").ok()
    assert "whole is up; it ends at " in launched.out
    (head,) = cloud.alive("whole")
    _check_head(cloud, head)
    known = json.loads(
        (cloud.state / "clusters" / "sleep-whole" / "running.json").read_text(encoding="utf-8")
    )
    os.kill(known["pid"], signal.SIGKILL)  # the tunnel, as without network
    (group,) = head["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    elsewhere = [rule | {"IpRanges": [{"CidrIp": "203.0.113.9/32"}]}]  # where it was launched from
    cloud.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=elsewhere)
    assert "nothing was changed" in cli("launch", file, "--yes").ok().out
    _check_head(cloud, head)  # SSH from here, and from nowhere else
    stranger = cli.having(ORCHESTRATOR_HOME=str(tmp_path))
    stranger("launch", file, "--yes").fails(6, "was not launched from here", head["InstanceId"])
    assert [i["InstanceId"] for i in cloud.alive("whole")] == [head["InstanceId"]]
    fewer = cloud.file("whole", orchestrator__ttl_hours=2, max_workers=3)
    assert "; changed: max_workers" in cli("launch", fewer, "--yes").ok().out
    assert "nothing was changed" in cli("launch", fewer, "--yes").ok().out
    seen = cli("exec", file, "--", "grep", '"max_workers": 3,', "/root/ray_bootstrap_config.yaml")
    assert "3" in seen.ok().out
    longer = cloud.file("whole", orchestrator__ttl_hours=3, max_workers=3)
    cli("launch", longer, "--yes").fails(2, "orchestrator.ttl_hours cannot be changed")
    file = cloud.file("whole", orchestrator__ttl_hours=2, max_workers=3)

    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", f"s3://{BUCKET}/whole").ok()
    sweep = tmp_path / "sweep.yaml"
    content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content |= {"name": "far", "arms": ["no_adapt"]}
    content["search"] |= {"n_trials": 8, "n_steps": 300, "max_usd": 100}
    sweep.write_text(yaml.safe_dump(content), encoding="utf-8")
    job = cli.start("submit", sweep, "--cluster", file)
    workers: list[dict[str, Any]] = []

    def has_workers() -> bool:
        spot = [i for i in cloud.alive("whole") if i.get("InstanceLifecycle") == "spot"]
        workers[:] = [i for i in spot if "IamInstanceProfile" in i]  # moto adds it a moment later
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
        Filters=[{"Name": "tag:ray-cluster-name", "Values": ["sleep-whole"]}]
    )["Volumes"]
    assert volumes
    assert all(volume["Encrypted"] for volume in volumes)


def _check_machine(machine: Mapping[str, Any], profile: str) -> None:
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    assert {"Key": "ray-cluster-name", "Value": "sleep-whole"} in machine["Tags"]


def test_what_could_not_be_ended_is_named(cloud: Cloud) -> None:
    """An instance that is stopped behind the launcher's back, and protected, is still billed."""
    file = cloud.file("left", available_node_types__small_gpu__min_workers=1)
    cloud.cli("launch", file, "--yes").ok()
    head, worker = sorted(cloud.alive("left"), key=lambda i: "InstanceLifecycle" in i)
    assert worker["InstanceLifecycle"] == "spot"
    instance = head["InstanceId"]
    cloud.ec2.stop_instances(InstanceIds=[instance])
    cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    cloud.cli("down", file, "--verify").fails(6, f"{instance} (stopped)", "protected")
    assert [i["InstanceId"] for i in cloud.alive("left")] == [instance]  # all else has ended
    cloud.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
    cloud.cli("down", file, "--verify").ok()
    assert cloud.alive("left") == []


def test_a_launch_without_capacity_for_its_workers_leaves_nothing(cloud: Cloud) -> None:
    file = cloud.file("short", available_node_types__small_gpu__min_workers=1)
    with cloud.refusing("g4dn.xlarge InsufficientInstanceCapacity"):
        failed = cloud.cli("launch", file, "--yes")
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
    assert json.loads(cloud.cli("status", "--cluster", file, "--json").ok().out)["state"] == "down"
    cloud.cli("down", file, "--verify").ok()
