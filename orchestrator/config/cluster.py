"""A cluster file: what Ray's cluster launcher takes, checked down to the last key, and one section of ours."""

import functools
import ipaddress
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.ec2 import REGIONS, request_mistakes
from orchestrator.config.validation import Mistake, Section, as_error, check, one_of, wrong_key
from orchestrator.config.yaml_source import KeyPath, YamlSource, load

Count = Annotated[int, Field(ge=0)]
Commands = tuple[str, ...]

CALLER = "caller"
"""Value of ``ssh_from``: the address of whoever launches."""


def _network(value: str) -> str:
    if value == CALLER:
        return value
    try:
        return str(ipaddress.ip_network(value))  # of one address: with its /32, which EC2 wants
    except ValueError:
        raise PydanticCustomError(
            "network", "must be 'caller' or a network, as in 198.51.100.0/24"
        ) from None


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise PydanticCustomError("address", "must be an IP address, as in 10.0.0.5") from None
    return value


def _bucket_uri(value: str) -> str:
    bucket = value.removeprefix("s3://").split("/")[0]
    if not value.startswith("s3://") or not bucket:
        raise PydanticCustomError("bucket", "must be s3://bucket/prefix, which every node reaches")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class Options(Section):
    """What the launcher of ours does; Ray does not see this section."""

    store: Annotated[str, AfterValidator(_bucket_uri)] | None = None
    """Where sweeps on this cluster keep everything: ``s3://bucket/prefix``. A launch checks that nodes reach it."""
    ttl_hours: Annotated[float, Field(gt=0, le=24 * 14)] | None = None
    """So long after launch the cluster ends, whatever runs; without it, only ``orchestrator down`` ends its head."""
    ssh_from: Annotated[str, AfterValidator(_network)] = CALLER
    """Who may reach the nodes by SSH: ``caller`` for the address of whoever launches, or a network. No other port is
    open from outside the cluster."""
    prices: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    """USD for an hour of an instance type: of your region or contract, or where the bundled table has no price."""
    install: bool = True
    """Install this program on the machines; without it, they have it already, as ``this_machine`` always does."""
    wheel: str | None = None
    """File of this program's wheel that the nodes install; built from the running version unless given."""


class SecurityGroup(Section):
    """Ray's own way to open ports, which can only add to what it opens: see ``ssh_from``."""

    GroupName: str | None = None
    """Name of the group."""
    IpPermissions: tuple[Mapping[str, Any], ...] = ()
    """As EC2 has them."""


class AwsProvider(Section):
    """Machines of Amazon's EC2."""

    type: Literal["aws"]
    """Amazon EC2, through Ray's launcher and autoscaler."""
    region: Annotated[str, AfterValidator(one_of(REGIONS))]
    """Where the machines are."""
    availability_zone: str | None = None
    """Zones in the region, with commas; tried in this order."""
    cache_stopped_nodes: bool = False
    """Keep machines stopped instead of terminated: their disks stay billed."""
    use_internal_ips: bool = False
    """Reach the nodes by their private addresses, from inside the network or through a VPN."""
    security_group: SecurityGroup | None = None
    """See there."""


class LocalProvider(Section):
    """Machines that are there already and take SSH."""

    type: Literal["local"]
    """Machines with an SSH server, through Ray's launcher."""
    head_ip: Address
    """Of the machine that runs the head."""
    worker_ips: Annotated[tuple[Address, ...], Field(min_length=1)]
    """Of all others."""

    @model_validator(mode="after")
    def _each_machine_once(self) -> "LocalProvider":
        for index, address in enumerate(self.worker_ips):
            if address == self.head_ip:
                problem = "is the head, whose Ray would be stopped when the worker starts"
                raise wrong_key("worker_ips", problem, index)
            if address in self.worker_ips[:index]:
                raise wrong_key("worker_ips", "is given twice", index)
        return self


Port = Annotated[int, Field(ge=1024, le=65535)]


class ThisMachine(Section):
    """One node on this machine, next to whatever other Ray runs here."""

    type: Literal["this_machine"]
    """This machine, without SSH; only its own processes are ended."""
    cpus: Annotated[int, Field(ge=1)] | None = None
    """CPUs to use; all unless given."""
    gpus: Count | None = None
    """GPUs to use; all unless given."""
    port: Port = 6380
    """Where other processes find the cluster, on the loopback address."""
    dashboard_port: Port = 8266
    """Of the dashboard and the job server, on the loopback address."""


class Auth(Section):
    """How the nodes are reached by SSH."""

    ssh_user: str
    """User on the nodes."""
    ssh_private_key: str | None = None
    """File of the key, one made for this cluster: Ray copies it to the head."""
    ssh_public_key: str | None = None
    """File of its public part, where the provider wants it."""
    ssh_proxy_command: str | None = None
    """As in ssh's configuration."""


class NodeType(Section):
    """Machines of one kind."""

    node_config: Mapping[str, Any] = Field(default_factory=dict)
    """On AWS, what EC2's RunInstances takes."""
    resources: Mapping[str, Count] = Field(default_factory=dict)
    """CPUs, GPUs and others that Ray may give to trials; those of the instance type unless given."""
    min_workers: Count = 0
    """Always there; of the head's kind, the head is one of them."""
    max_workers: Count | None = None
    """At most, besides the head. Unless given ``max_workers`` of the cluster, and none of the head's kind."""
    idle_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Of this kind, instead of ``idle_timeout_minutes``."""
    priority: int | None = None
    """The autoscaler takes the highest first."""
    labels: Mapping[str, str] = Field(default_factory=dict)
    """For Ray's scheduler."""
    initialization_commands: Commands = ()
    """Run on the machine before anything else."""
    worker_setup_commands: Commands = ()
    """Run on the machine after the setup commands of the cluster."""

    @model_validator(mode="after")
    def _fewest_first(self) -> "NodeType":
        if self.max_workers is not None and self.min_workers > self.max_workers:
            raise wrong_key("min_workers", f"is more than max_workers, {self.max_workers}")
        return self


def _cluster_name(value: str) -> str:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not value or len(value) > 40 or set(value) - allowed or not value[0].isalpha():
        raise PydanticCustomError(
            "cluster_name",
            "must be at most 40 of a-z, 0-9 and '-', and begin with a letter: machines are tagged with it",
        )
    return value


class ClusterFile(Section):
    """A cluster: where, which machines, and what they cost at most."""

    cluster_name: Annotated[str, AfterValidator(_cluster_name)]
    """Tag of all its machines; two clusters of one account need two names."""
    orchestrator: Options = Options()
    """What our launcher does around Ray's."""
    provider: Annotated[AwsProvider | LocalProvider | ThisMachine, Field(discriminator="type")]
    """Whose machines."""
    max_workers: Count = 2
    """Machines besides the head at most, of all kinds together, whatever a sweep asks for."""
    upscaling_speed: Annotated[float, Field(ge=0)] = 1.0
    """How many machines may start at a time, as a multiple of those that run."""
    idle_timeout_minutes: Annotated[float, Field(gt=0)] = 5.0
    """A worker that did nothing for so long is terminated."""
    auth: Auth | None = None
    """How the nodes are reached; every provider but ``this_machine`` needs it."""
    available_node_types: Mapping[str, NodeType] = Field(default_factory=dict)
    """Kinds of machines, by names of your own; AWS needs them."""
    head_node_type: str | None = None
    """Which kind is the head."""
    file_mounts: Mapping[str, str] = Field(default_factory=dict)
    """Path on the nodes -> file or folder here, copied to each node."""
    rsync_exclude: tuple[str, ...] = ()
    """Patterns that are not copied."""
    initialization_commands: Commands = ()
    """Run on each machine before files are copied."""
    setup_commands: Commands = ()
    """Run on each machine before this program is installed there."""
    head_setup_commands: Commands = ()
    """Run on the head after that."""
    worker_setup_commands: Commands = ()
    """Run on each worker after that."""
    head_start_ray_commands: Commands = ()
    """Instead of our own, which keep every port off the internet; refused where they do not."""
    worker_start_ray_commands: Commands = ()
    """Instead of our own."""

    @model_validator(mode="after")
    def _has_what_its_provider_needs(self) -> "ClusterFile":
        kind = self.provider.type
        if kind == "this_machine":
            for key in ("auth", "available_node_types", "head_node_type"):
                if key in self.model_fields_set:
                    raise wrong_key(key, "has no meaning for provider this_machine; remove it")
            return self
        if self.auth is None:
            raise wrong_key("provider", "needs a section auth with ssh_user", "type")
        if kind == "aws" and self.auth.ssh_private_key is None:
            problem = "needs an ssh_private_key: Ray would make a key pair of its own, which nobody removes"
            raise wrong_key("auth", problem, "ssh_user")
        if kind == "aws" and not self.available_node_types:
            raise wrong_key("provider", "needs available_node_types", "type")
        if kind == "aws" and self.head_node_type is None:
            raise wrong_key("available_node_types", "one of them must be head_node_type")
        return self

    @model_validator(mode="after")
    def _is_reached_from_where_it_opens(self) -> "ClusterFile":
        if not isinstance(self.provider, AwsProvider) or self.orchestrator.ssh_from != CALLER:
            return self
        problem = "needs orchestrator.ssh_from: the machines see another address than the internet sees of this one"
        if self.provider.use_internal_ips:
            raise wrong_key("provider", problem, "use_internal_ips")
        if self.auth is not None and self.auth.ssh_proxy_command is not None:
            raise wrong_key("auth", problem, "ssh_proxy_command")
        return self

    @model_validator(mode="after")
    def _can_end_in_time(self) -> "ClusterFile":
        own = self.head_start_ray_commands or self.worker_start_ray_commands
        if (
            isinstance(self.provider, LocalProvider)
            and self.orchestrator.ttl_hours is not None
            and own
        ):
            problem = (
                "would end nothing: Ray is started by commands of the file's own; remove it or them"
            )
            raise wrong_key("orchestrator", problem, "ttl_hours")
        return self

    @model_validator(mode="after")
    def _names_its_head(self) -> "ClusterFile":
        if self.head_node_type is not None and self.available_node_types:
            names = list(self.available_node_types)
            try:
                one_of(names)(self.head_node_type)
            except PydanticCustomError as error:
                raise wrong_key("head_node_type", str(error.message())) from None
        return self

    @model_validator(mode="after")
    def _has_room_for_the_heads_kind(self) -> "ClusterFile":
        head = self.head
        if head is not None and head.max_workers is None and head.min_workers > 1:
            problem = "is more than the head, which is all there is of its kind unless max_workers says otherwise"
            raise wrong_key(
                "available_node_types", problem, self.head_node_type or "", "min_workers"
            )
        return self

    @model_validator(mode="after")
    def _has_key_pairs(self) -> "ClusterFile":
        if isinstance(self.provider, AwsProvider):
            for name, node in self.available_node_types.items():
                if node.node_config and "KeyName" not in node.node_config:
                    problem = "needs a KeyName: the key pair of auth.ssh_private_key"
                    raise wrong_key("available_node_types", problem, name)
        return self

    @model_validator(mode="after")
    def _has_room_for_the_fewest(self) -> "ClusterFile":
        fewest = sum(kind.min_workers for kind in self.available_node_types.values())
        if fewest > self.max_workers:
            problem = f"is less than the sum of min_workers of all kinds, {fewest}"
            raise wrong_key("max_workers", problem)
        return self

    @property
    def head(self) -> NodeType | None:
        """The kind of the head; None where the provider has no kinds."""
        return self.available_node_types.get(self.head_node_type or "")

    def fewest(self, name: str) -> int:
        """Return how many workers of a kind are always there: Ray counts the head as one of its kind."""
        return max(0, self.available_node_types[name].min_workers - (name == self.head_node_type))

    def most(self, name: str) -> int:
        """Return how many workers of a kind there may be: Ray does not count the head."""
        given = self.available_node_types[name].max_workers
        if given is None:
            given = 0 if name == self.head_node_type else self.max_workers
        return min(given, self.max_workers)


def load_cluster(path: str | Path, *, with_files: bool = False) -> tuple[ClusterFile, YamlSource]:
    """Read a cluster file, and say everything that is wrong with it at once.

    Parameters
    ----------
    path : path
    with_files : bool
        Look for the files of this machine that a launch copies to the others, too; nothing else needs them.

    Returns
    -------
    ClusterFile
    YamlSource
        The file's data and where they stood, for findings about values that are allowed.

    Raises
    ------
    ConfigError
        A line per mistake, with line and column: keys of ours, of Ray's and of EC2's RunInstances, values, and files
        of this machine.
    """
    source = load(path)
    cluster, mistakes = check(ClusterFile, source)
    mistakes |= set(_node_config_mistakes(source))
    if cluster is not None:
        mistakes |= set(_ray_mistakes(cluster, source)) | set(_key_mistakes(cluster, source))
        if with_files:
            mistakes |= set(_file_mistakes(cluster, source))
    if cluster is None or mistakes:
        raise as_error(source, mistakes)
    return cluster, source


def _node_config_mistakes(source: YamlSource) -> list[Mistake]:
    """Check what EC2 is sent, also where the rest of the file is wrong."""
    provider = source.data.get("provider")
    kinds = source.data.get("available_node_types")
    if not (
        isinstance(provider, dict) and provider.get("type") == "aws" and isinstance(kinds, dict)
    ):
        return []
    found: list[Mistake] = []
    for name, kind in kinds.items():
        config = kind.get("node_config") if isinstance(kind, dict) else None
        at: KeyPath = ("available_node_types", name, "node_config")
        if not isinstance(config, dict):
            if isinstance(kind, dict) and config is None:
                problem = f"missing key 'node_config' in available_node_types.{name}."
                found.append((source.position(at[:-1], of_key=True), problem))
            continue
        found += [
            (source.position((*at, *where), of_key=of_key), problem)
            for where, of_key, problem in request_mistakes(
                config, f"available_node_types.{name}.node_config"
            )
        ]
    return found


def _ray_mistakes(cluster: ClusterFile, source: YamlSource) -> list[Mistake]:
    """Check a file that passed our model against Ray's own schema, should the two ever differ."""
    if isinstance(cluster.provider, ThisMachine):
        return []
    from jsonschema import Draft7Validator

    data = {key: value for key, value in source.data.items() if key != "orchestrator"}
    kinds = source.data.get("available_node_types", {})
    data["available_node_types"] = {name: {"resources": {}, **kind} for name, kind in kinds.items()}
    return [
        (
            source.position(tuple(error.absolute_path)),
            f"Ray's launcher does not take this: {error.message}.",
        )
        for error in Draft7Validator(_ray_schema()).iter_errors(data)
    ]


@functools.cache
def _ray_schema() -> Any:
    ray = find_spec("ray")  # importing it takes longer than all the rest
    assert ray is not None
    assert ray.submodule_search_locations is not None
    (folder,) = ray.submodule_search_locations
    return json.loads(Path(folder, "autoscaler", "ray-schema.json").read_text(encoding="utf-8"))


def _file_mistakes(cluster: ClusterFile, source: YamlSource) -> list[Mistake]:
    """Check files that are copied to the machines."""
    files: list[tuple[KeyPath, str]] = [
        (("file_mounts", remote), local) for remote, local in cluster.file_mounts.items()
    ]
    if cluster.orchestrator.wheel is not None:
        files.append((("orchestrator", "wheel"), cluster.orchestrator.wheel))
    found = []
    for where, name in files:
        if not Path(name).expanduser().exists():
            key = ".".join(map(str, where))
            found.append(
                (source.position(where), f"{key} is {name}: no such file on this machine.")
            )
    return found


def _key_mistakes(cluster: ClusterFile, source: YamlSource) -> list[Mistake]:
    """Check who may read the private key."""
    private = None if cluster.auth is None else cluster.auth.ssh_private_key
    path = Path(private or "").expanduser()
    # One that is not there is told at launch: what a file comes to can be seen without it.
    if private is None or not path.exists() or not path.stat().st_mode & 0o077:
        return []
    problem = f"auth.ssh_private_key is {private}: others may read it, so ssh refuses it; chmod 600 {private}."
    return [(source.position(("auth", "ssh_private_key")), problem)]
