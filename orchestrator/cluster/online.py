"""What only Amazon knows of a cluster file: whether what it names is there, and would be given. Starts nothing."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.cluster.ec2 import Ec2, RefusedError, translated
from orchestrator.config.cluster import Auth, AwsProvider, ClusterFile, NodeType


def online_problems(cluster: ClusterFile, provider: AwsProvider) -> list[str]:
    """Ask EC2 and IAM about everything that a cluster file names.

    Returns
    -------
    list of str
        What is not there or would be refused, each a sentence that begins with where it is in the file.

    Raises
    ------
    CloudError
        There are no credentials, or nobody answers.
    """
    ec2 = Ec2(cluster, provider)
    found: dict[str, list[str]] = {}  # several kinds of nodes often name the same
    for name, kind in cluster.available_node_types.items():
        for problem in _problems(ec2.client, cluster, provider, kind):
            found.setdefault(problem, []).append(name)
    said = [
        f"available_node_types.{first}.node_config.{problem}"
        + (f" The same in {', '.join(others)}." if others else "")
        for problem, (first, *others) in found.items()
    ]
    # A request that names what is not there is refused for that, which has just been said.
    return said or [f"available_node_types.{refused}" for refused in ec2.try_out(None)]


def _problems(
    client: Any, cluster: ClusterFile, provider: AwsProvider, kind: NodeType
) -> Iterator[str]:
    config = kind.node_config
    zones = {zone.strip() for zone in (provider.availability_zone or "").split(",") if zone.strip()}
    for key, ask in (
        ("ImageId", lambda v: client.describe_images(ImageIds=[v])["Images"]),
        ("KeyName", lambda v: _fits(client, v, cluster.auth)),
        ("InstanceType", lambda v: _offered(client, v, zones)),
    ):
        if key in config and (problem := _asked(ask, config[key])):
            yield f"{key} is {config[key]}: {problem}"
    for subnet in config.get("SubnetIds", ()):
        if problem := _asked(lambda v: _route(client, provider, v), subnet):
            yield f"SubnetIds has {subnet}: {problem}"
    for group in config.get("SecurityGroupIds", ()):
        if problem := _asked(lambda v: _closed(client, v), group):
            yield f"SecurityGroupIds has {group}: {problem}"
    profile = config.get("IamInstanceProfile", {})
    name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
    if name and (problem := _asked(lambda v: _profile(provider, v), name)):
        yield f"IamInstanceProfile is {name}: {problem}"


def _asked(ask: Any, value: str) -> str | None:
    """Return what is wrong with a value; an answer of text is what is wrong, and an empty one that nothing is there."""
    try:
        with translated():
            found = ask(value)
    except RefusedError as error:
        if not error.is_about_a_value:
            raise
        return str(error)
    if isinstance(found, str):
        return found
    return None if found else "there is none in this region."


def _fits(client: Any, key_pair: str, auth: Auth | None) -> str | bool:
    """Compare a key pair's public half with what the private key of the file makes of it."""
    found = client.describe_key_pairs(KeyNames=[key_pair], IncludePublicKey=True)["KeyPairs"]
    there = found[0].get("PublicKey") if found else None
    if not there or auth is None or auth.ssh_private_key is None:
        return bool(found)
    private = str(Path(auth.ssh_private_key).expanduser())
    # Without a terminal, ssh-keygen asks for no passphrase: such a key is not compared.
    here = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", private],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    ).stdout
    if here and here.split()[:2] != there.split()[:2]:
        return (
            f"auth.ssh_private_key, {auth.ssh_private_key}, is not its private half, so the machines would refuse it. "
            "Name the key that belongs to it."
        )
    return True


def _offered(client: Any, instance_type: str, zones: set[str]) -> str | bool:
    where = [{"Name": "instance-type", "Values": [instance_type]}]
    pages = client.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=where
    )
    offered = {o["Location"] for page in pages for o in page["InstanceTypeOfferings"]}
    if not offered:
        return False
    if zones and not zones & offered:
        return (
            f"it is offered in {', '.join(sorted(offered))}, and not in {', '.join(sorted(zones))}."
        )
    return True


def _route(client: Any, provider: AwsProvider, subnet: str) -> str | bool:
    (found,) = client.describe_subnets(SubnetIds=[subnet])["Subnets"]
    own = _tables(client, {"association.subnet-id": subnet})
    tables = own or _tables(client, {"vpc-id": found["VpcId"], "association.main": "true"})
    ways = [
        next(
            (way[key] for key in ("GatewayId", "NatGatewayId", "TransitGatewayId") if key in way),
            "",
        )
        for table in tables
        for way in table["Routes"]
        if way.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    if not ways:
        return (
            "it has no route to the internet, so its machines can neither install packages nor be reached. Give its "
            "route table one to an internet gateway, or to a NAT gateway with provider.use_internal_ips."
        )
    if not provider.use_internal_ips and not any(way.startswith("igw-") for way in ways):
        return (
            "its route leads to no internet gateway, so its machines cannot be reached from here. Name a public "
            "subnet, or set provider.use_internal_ips inside the network."
        )
    return True


def _tables(client: Any, filters: Mapping[str, str]) -> list[Any]:
    wanted = [{"Name": name, "Values": [value]} for name, value in filters.items()]
    tables: list[Any] = client.describe_route_tables(Filters=wanted)["RouteTables"]
    return tables


def _closed(client: Any, group: str) -> str | bool:
    (found,) = client.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    for rule in found["IpPermissions"]:
        open_to = [r["CidrIp"] for r in rule.get("IpRanges", ())]
        open_to += [r["CidrIpv6"] for r in rule.get("Ipv6Ranges", ())]
        if {"0.0.0.0/0", "::/0"} & set(open_to):
            ports = f"{rule.get('FromPort', 0)} to {rule.get('ToPort', 65535)}"
            return f"it opens ports {ports} to the whole internet. Close them, or leave SecurityGroupIds out."
    return True


def _profile(provider: AwsProvider, name: str) -> bool:
    import boto3

    iam = boto3.client(
        "iam", region_name=provider.region
    )  # IAM has none, an endpoint of one's own may
    return bool(iam.get_instance_profile(InstanceProfileName=name))
