"""What in a cluster file would let others in, or lets it run for longer than it should."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.cluster import CALLER, AwsProvider, ClusterFile, LocalProvider
from orchestrator.config.yaml_source import KeyPath, YamlSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a careful reader of a cluster file would remark on."""

    where: str
    """``file:line:column``."""
    key: str
    problem: str
    """What is wrong and what to do."""
    refused: bool
    """Nothing is launched with it, unless the user insists: others could run code there or use the account, or machines
    would outlive their cluster."""


_Found = tuple[KeyPath, bool, str]

_HEAD_PROFILE, _MAY_END = "sleep-orchestrator-head", "sleep-"
"""Of cluster/iam/head.json: name of the profile with it, and how names of the clusters begin that it is for."""


def findings(cluster: ClusterFile, source: YamlSource) -> list[Finding]:
    """Return what is to be said of a valid cluster file, in the order of the file."""
    found = [*_limits(cluster), *_commands(cluster)]
    if isinstance(cluster.provider, AwsProvider):
        found += [*_aws(cluster.provider), *_reach(cluster), *_nodes(cluster)]
    placed = sorted(
        (source.position(path, of_key=True), path, refused, what) for path, refused, what in found
    )
    return [
        Finding(
            where=source.place(at),
            key=".".join(map(str, path)),
            problem=what,
            refused=refused,
        )
        for at, path, refused, what in placed
    ]


def _limits(cluster: ClusterFile) -> Iterator[_Found]:
    if not isinstance(cluster.provider, AwsProvider):
        return
    if cluster.orchestrator.ttl_hours is None:
        yield (
            ("orchestrator",),
            False,
            "no ttl_hours: a forgotten head is billed until someone ends it; give one",
        )
    for key in ("max_workers", "idle_timeout_minutes"):
        if key not in cluster.model_fields_set:
            default = getattr(cluster, key)
            yield (), False, f"no {key}: {default:g} is taken; say how many or how long you mean"
    if cluster.orchestrator.store is None:
        yield (
            (),
            False,
            "no store in section orchestrator: sweeps need --store s3://..., and it is not checked after launch",
        )


def _aws(provider: AwsProvider) -> Iterator[_Found]:
    if provider.cache_stopped_nodes:
        problem = (
            "is true: nodes are stopped, not terminated, and their disks stay billed; remove it"
        )
        yield ("provider", "cache_stopped_nodes"), False, problem
    group = provider.security_group
    if group is None:
        return
    yield (
        ("provider", "security_group"),
        True,
        "Ray makes this group with port 22 open to 0.0.0.0/0, and rules can only add to it; remove it, and say in "
        "orchestrator.ssh_from who may come in",
    )
    for index, rule in enumerate(group.IpPermissions):
        if _is_world_open(rule):
            ports = f"{rule.get('FromPort', 0)} to {rule.get('ToPort', 65535)}"
            problem = f"opens ports {ports} to the whole internet; whoever reaches a port of Ray runs code there"
            yield ("provider", "security_group", "IpPermissions", index), True, problem


def _reach(cluster: ClusterFile) -> Iterator[_Found]:
    """Look at who may come in, and at which machines the head may end."""
    allowed = cluster.orchestrator.ssh_from
    if allowed != CALLER and ipaddress.ip_network(allowed).prefixlen == 0:
        problem = f"ssh_from is {allowed}, the whole internet; name the network that you come from"
        yield ("orchestrator", "ssh_from"), True, problem
    assert cluster.head is not None
    profile = cluster.head.node_config.get("IamInstanceProfile", {})
    name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
    if name == _HEAD_PROFILE and not cluster.cluster_name.startswith(_MAY_END):
        yield (
            ("cluster_name",),
            True,
            f"the profile {_HEAD_PROFILE} may only end machines of clusters whose name begins with {_MAY_END}, so that "
            f"idle workers would stay billed; name it {_MAY_END}{cluster.cluster_name}",
        )


def _is_world_open(rule: Mapping[str, Any]) -> bool:
    given = [item.get("CidrIp") for item in rule.get("IpRanges", ())]
    given += [item.get("CidrIpv6") for item in rule.get("Ipv6Ranges", ())]
    networks = (ipaddress.ip_network(network, strict=False) for network in given if network)
    return any(network.prefixlen == 0 for network in networks)


def _nodes(cluster: ClusterFile) -> Iterator[_Found]:
    for name, kind in cluster.available_node_types.items():
        config, is_head = kind.node_config, name == cluster.head_node_type
        at: KeyPath = ("available_node_types", name, "node_config")
        if "IamInstanceProfile" not in config:
            problem = (
                "no IamInstanceProfile: Ray would give the head all of EC2 and all of S3; name one that has only "
                "cluster/iam/head.json"
                if is_head
                else "no IamInstanceProfile: this machine cannot reach the store"
            )
            yield at, is_head, problem
        if config.get("MetadataOptions", {}).get("HttpTokens") != "required":
            problem = (
                "MetadataOptions.HttpTokens is not 'required': a request forged through any program on the machine "
                "could read its credentials (IMDSv1); set it"
            )
            yield at, True, problem
        disks = [item.get("Ebs", {}) for item in config.get("BlockDeviceMappings", ())]
        if not disks or not all(disk.get("Encrypted") for disk in disks):
            yield at, False, "a disk is not Encrypted: true; recordings of patients go through it"
        if not all(disk.get("DeleteOnTermination", True) for disk in disks):
            yield (
                at,
                False,
                "a disk has DeleteOnTermination: false, and is billed when the machine is gone",
            )
        market = config.get("InstanceMarketOptions", {})
        spot = market.get("MarketType") == "spot"
        if market.get("SpotOptions", {}).get("SpotInstanceType") == "persistent":
            yield (
                at,
                True,
                "a persistent spot request: Amazon starts another machine whenever one ends, also after 'down'; write "
                "SpotInstanceType: one-time",
            )
        if is_head and spot:
            yield (
                at,
                False,
                "the head is a spot machine: when it is taken back, the cluster is gone; take it on demand",
            )


_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _commands(cluster: ClusterFile) -> Iterator[_Found]:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = getattr(cluster, key)
        if not commands:
            continue
        text = " ; ".join(commands)
        if "ray start" not in text:
            yield (key,), True, "never runs 'ray start'; remove the key, and ours are run"
        for index, command in enumerate(commands):
            host = re.search(r"--dashboard-host[= ](\S+)", command)
            if host and host[1] not in _LOOPBACK:
                problem = (
                    f"--dashboard-host={host[1]} publishes the job server, which runs any code it is sent "
                    "(ShadowRay, CVE-2023-48022); write 127.0.0.1"
                )
                yield (key, index), True, problem
            if re.search(r"\bray stop\b", command) and isinstance(cluster.provider, LocalProvider):
                problem = "'ray stop' ends every Ray on that machine, also those of others; remove the key for ours"
                yield (key, index), True, problem
        if key == "head_start_ray_commands":
            if "--dashboard-host" not in text:
                yield (
                    (key,),
                    True,
                    "no --dashboard-host, and Ray's default is 0.0.0.0; write --dashboard-host=127.0.0.1",
                )
            if "--autoscaling-config" not in text:
                problem = "without --autoscaling-config=~/ray_bootstrap_config.yaml no worker is ever launched"
                yield (key,), True, problem
