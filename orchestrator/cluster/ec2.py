"""What is asked of EC2 besides what Ray's launcher asks: a closed security group, what is there, and its end."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.config.cluster import CALLER, AwsProvider, ClusterFile
from orchestrator.errors import CloudError, ConfigError, OrchestratorError, RemainsError

CLUSTER_TAG = "ray-cluster-name"
"""Ray's tag of each machine; ours of each disk and of the security group."""

_ENDED = ("terminated",)
_END_S, _GROUP_S = 300.0, 90.0

_ADVICE: Mapping[str, str] = {
    "UnrecognizedClientException": "These credentials are not known. Check AWS_ACCESS_KEY_ID, or the profile",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "The account has never had a spot machine. Run cluster/prepare_aws.py, or: aws iam "
        "create-service-linked-role --aws-service-name spot.amazonaws.com"
    ),
    "AuthFailure": "These credentials are refused. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile",
    "ExpiredToken": "The credentials have expired. Log in again",
    "RequestExpired": "The credentials have expired, or this machine's clock is wrong. Log in again",
    "UnauthorizedOperation": "These credentials may not do this. Ask for the permissions in docs/cluster.md",
    "InsufficientInstanceCapacity": (
        "Amazon has no such machine to give now. Name another InstanceType or availability_zone, or try later"
    ),
    "SpotMaxPriceTooLow": "No spot machine at this price. Leave MaxPrice out",
    "MaxSpotInstanceCountExceeded": "The account's quota of spot machines is used up. Ask Amazon to raise it",
    "VcpuLimitExceeded": "The account's quota of vCPUs of this kind is used up. Ask Amazon to raise it",
    "InstanceLimitExceeded": "The account's quota of machines is used up. Ask Amazon to raise it",
    "InvalidAMIID.NotFound": "There is no such image in this region. Look one up as docs/cluster.md says",
    "InvalidAMIID.Malformed": "An image is called ami-... . Look one up as docs/cluster.md says",
    "InvalidSubnetID.NotFound": "There is no such subnet in this region. List them with 'aws ec2 describe-subnets'",
    "UnsupportedOperation": "This kind of machine cannot be had like this. Name another InstanceType",
    "InvalidKeyPair.NotFound": "There is no such key pair in this region. Make one as docs/cluster.md says",
    "NoSuchEntity": "There is no such instance profile. Make one as docs/cluster.md says",
    "InvalidGroup.NotFound": "There is no such security group. Leave SecurityGroupIds out, and one is made",
    "DependencyViolation": "Something else uses it. 'orchestrator down' tries again",
    "OperationNotPermitted": "The machine is protected: end it by hand, or lift its termination protection",
    "InvalidParameterValue": "Correct the value that the message names",
}
"""What to do, by the code of EC2's refusal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """An instance of a cluster that has not been terminated."""

    id: str
    state: str
    """In EC2's words; a stopped one is billed for its disks."""
    is_head: bool
    address: str | None


@dataclass(frozen=True, slots=True)
class Ec2:
    """The EC2 of one region, for one cluster."""

    cluster: ClusterFile
    provider: AwsProvider

    @property
    def client(self) -> Any:
        """Of EC2 in the cluster's region."""
        import boto3
        from botocore.config import Config

        config = Config(connect_timeout=10, retries={"max_attempts": 4, "mode": "standard"})
        return boto3.client("ec2", region_name=self.provider.region, config=config)

    def machines(self) -> list[Machine]:
        """Return the cluster's machines that are not terminated, the head first."""
        with translated():
            pages = list(
                self.client.get_paginator("describe_instances").paginate(Filters=self._tagged)
            )
        found = [
            Machine(
                id=instance["InstanceId"],
                state=instance["State"]["Name"],
                is_head=_tag(instance, "ray-node-type") == "head",
                address=instance.get(
                    "PrivateIpAddress" if self.provider.use_internal_ips else "PublicIpAddress"
                ),
            )
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] not in _ENDED
        ]
        return sorted(found, key=lambda machine: not machine.is_head)

    def account(self) -> str:
        """Return the account that pays, by the credentials here."""
        import boto3

        with translated():
            sts = boto3.client("sts", region_name=self.provider.region)
            return str(sts.get_caller_identity()["Account"])

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        """Return everything of the cluster that is there: machines, also stopped ones, disks, and its security group.

        Parameters
        ----------
        only_billed : bool
            Without the security group: it costs nothing, and lasts until somebody ends the cluster.
        """
        found = [f"instance {machine.id} ({machine.state})" for machine in self.machines()]
        with translated():
            client = self.client
            volumes = client.describe_volumes(Filters=self._tagged)["Volumes"]
            groups = client.describe_security_groups(Filters=self._tagged)["SecurityGroups"]
        found += [f"volume {volume['VolumeId']} ({volume['State']})" for volume in volumes]
        if only_billed:
            return found
        return found + [f"security group {group['GroupId']}" for group in groups]

    def end(self, unseen_s: float = 0.0) -> bool:
        """Terminate all machines, the head first: its autoscaler would start others. Return whether there were any.

        Parameters
        ----------
        unseen_s : float
            How long a machine that was asked for may not be listed yet.

        Raises
        ------
        RemainsError
            EC2 refuses to terminate one.
        """
        began = time.monotonic()
        asked: set[str] = set()
        while (left := self.machines()) or time.monotonic() - began < unseen_s:
            if time.monotonic() - began > _END_S:
                break
            refused: dict[str, None] = {}
            for machine in (each.id for each in left if each.id not in asked):
                asked.add(machine)  # one by one, should one be protected
                try:
                    with translated():
                        self.client.terminate_instances(InstanceIds=[machine])
                except CloudError as error:
                    refused[str(error)] = None
            if refused:
                raise RemainsError(
                    f"{' '.join(refused)} There is still: {', '.join(self.remaining())}."
                )
            time.sleep(1)
        if left:
            raise RemainsError(
                f"EC2 has not terminated all machines within {_END_S:g} s. There is still: "
                f"{', '.join(self.remaining())}."
            )
        self._delete_group()
        return bool(asked)

    def closed_group(self) -> str:
        """Return the cluster's security group: SSH from one network, everything inside the group, nothing else.

        Where there is one already, SSH is opened to where this machine is now, and to nobody else any more.
        """
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
        allowed = ssh | _from(ssh_network(self.cluster))
        with translated():
            client = self.client
            found = client.describe_security_groups(Filters=self._tagged)["SecurityGroups"]
            if found:
                group = str(found[0]["GroupId"])
                self._open_to(client, found[0], allowed)
                return group
            subnet = self._subnet()
            vpc = client.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
            tags = [{"Key": CLUSTER_TAG, "Value": self.cluster.cluster_name}]
            group = client.create_security_group(
                GroupName=f"sleep-orchestrator-{self.cluster.cluster_name}",
                Description="SSH from one network, everything inside the group",
                VpcId=vpc,
                TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
            )["GroupId"]
            client.authorize_security_group_ingress(
                GroupId=group,
                IpPermissions=[
                    {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
                    allowed,
                ],
            )
            return str(group)

    @staticmethod
    def _open_to(client: Any, group: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
        stale, is_open = [], False
        for rule in group["IpPermissions"]:
            if rule.get("FromPort") != 22:
                continue
            for key, address in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
                for found in rule.get(key, ()):
                    if {address: found[address]} in allowed.get(key, ()):
                        is_open = True
                    else:
                        one = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
                        stale.append(one | {key: [{address: found[address]}]})
        if not is_open:
            client.authorize_security_group_ingress(
                GroupId=group["GroupId"], IpPermissions=[allowed]
            )
        if stale:
            client.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=stale)

    def try_out(self, group: str | None) -> list[str]:
        """Ask EC2 whether it would start a machine of each kind, without starting any.

        Parameters
        ----------
        group : str or None
            Security group of machines that name none.

        Returns
        -------
        list of str
            What it would refuse, by kind.
        """
        refused = []
        for name, kind in self.cluster.available_node_types.items():
            request = {key: value for key, value in kind.node_config.items() if key != "SubnetIds"}
            if group is not None:
                request.setdefault("SecurityGroupIds", [group])
            if "SubnetIds" in kind.node_config:
                request["SubnetId"] = kind.node_config["SubnetIds"][0]
            try:
                with translated():
                    self.client.run_instances(MinCount=1, MaxCount=1, DryRun=True, **request)
            except _WouldDoError:
                continue
            except OrchestratorError as error:
                refused.append(f"{name}: {error}")
        return refused

    def _subnet(self) -> str:
        head = self.cluster.head
        assert head is not None
        subnets = head.node_config.get("SubnetIds") or [head.node_config.get("SubnetId")]
        if subnets[0]:
            return str(subnets[0])
        found = self.client.describe_subnets(
            Filters=[{"Name": "default-for-az", "Values": ["true"]}]
        )["Subnets"]
        if not found:
            raise ConfigError(
                f"{self.provider.region} has no default subnet. Give each node_config its SubnetIds."
            )
        return str(found[0]["SubnetId"])

    def _delete_group(self) -> None:
        with translated():
            client = self.client
            groups = client.describe_security_groups(Filters=self._tagged)["SecurityGroups"]
        deadline = time.monotonic() + _GROUP_S
        for group in groups:
            while True:
                try:
                    with translated():
                        client.delete_security_group(GroupId=group["GroupId"])
                    break
                except RefusedError as error:
                    # A machine that has just ended still has its network card for a while.
                    if error.code != "DependencyViolation" or time.monotonic() > deadline:
                        raise
                time.sleep(2)

    @property
    def _tagged(self) -> list[dict[str, Any]]:
        return [{"Name": f"tag:{CLUSTER_TAG}", "Values": [self.cluster.cluster_name]}]


def ssh_network(cluster: ClusterFile) -> str:
    """Return who may reach the nodes by SSH, as a network.

    Raises
    ------
    CloudError
        The caller's own address cannot be found out.
    """
    wanted = cluster.orchestrator.ssh_from
    if wanted != CALLER:
        return wanted
    try:
        with urllib.request.urlopen("https://checkip.amazonaws.com", timeout=10) as answer:
            return f"{answer.read().decode().strip()}/32"
    except (urllib.error.URLError, TimeoutError) as error:
        raise CloudError(
            f"the address of this machine cannot be found out ({error}). Write the network that may reach the nodes "
            "into orchestrator.ssh_from, as in 198.51.100.7/32."
        ) from error


class RefusedError(CloudError):
    """EC2 would not do what it was asked to."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_about_a_value(self) -> bool:
        """Whether something that was named is not there or not right; otherwise, any other request is refused, too."""
        return self.code.startswith("Invalid") or self.code == "NoSuchEntity"


class _WouldDoError(CloudError):
    """EC2 would have done what it was asked not to do."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn EC2's refusals into errors that say what to do."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise CloudError(
            "no AWS credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from error
    except ClientError as error:
        found = error.response["Error"]
        if found["Code"] == "DryRunOperation":
            raise _WouldDoError(found["Message"]) from None
        raise refusal(found["Code"], found["Message"]) from error
    except BotoCoreError as error:
        raise CloudError(f"EC2 cannot be reached: {' '.join(str(error).split())}.") from error


def refusal(code: str, message: str) -> RefusedError:
    """Return the error of a refusal of EC2's."""
    advice = _ADVICE.get(code) or next(
        (text for known, text in _ADVICE.items() if code.startswith(known)),
        "See what the code means",
    )
    return RefusedError(code, f"EC2 refuses ({code}): {message.rstrip('.')}. {advice}.")


def refusal_in(text: str) -> RefusedError | None:
    """Return the last refusal of EC2's that a text holds: output of Ray's launcher, or what its autoscaler says."""
    found = re.findall(r"An error occurred \(([\w.]+)\)[^:]*: ([^\n]+)", text)
    if found:
        return refusal(*found[-1])
    code = next((code for code in _ADVICE if code in text), None)
    return None if code is None else refusal(code, "its autoscaler was refused a machine")


def _tag(instance: Mapping[str, Any], key: str) -> str | None:
    tags: Sequence[Mapping[str, str]] = instance.get("Tags", ())
    return next((tag["Value"] for tag in tags if tag["Key"] == key), None)


def _from(network: str) -> dict[str, Any]:
    if ":" in network:
        return {"Ipv6Ranges": [{"CidrIpv6": network}]}
    return {"IpRanges": [{"CidrIp": network}]}
