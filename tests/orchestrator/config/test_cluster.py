"""Cluster files: every key of the shipped one misspelt, values that cannot be, and what must be there."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config.cluster import load_cluster
from orchestrator.config.yaml_source import KeyPath, load
from orchestrator.errors import ConfigError

ROOT = Path(__file__).parents[3]
AWS = ROOT / "cluster" / "aws.yaml"

PRIVATE = "  ssh_private_key: ~/.ssh/sleep-orchestrator.pem # of the key pair below\n"

ONPREM = """\
cluster_name: lab
provider:
  type: local
  head_ip: 10.0.0.1
  worker_ips: [10.0.0.2, 10.0.0.3]
auth:
  ssh_user: sleep
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_cluster(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "").splitlines()


NAMES_OF_THE_USER = (("available_node_types",), ("available_node_types", "*", "resources"))


def own_name(path: KeyPath) -> bool:
    """Whether a key is a name that the user chooses: of a kind of machines, or of a resource."""
    parent = tuple(
        "*" if i == 1 and path[0] == "available_node_types" else step
        for i, step in enumerate(path[:-1])
    )
    return parent in NAMES_OF_THE_USER


KEYS = [path for path in load(AWS).keys if not own_name(path)]


@pytest.mark.heavy
@pytest.mark.parametrize("path", KEYS, ids=lambda path: ".".join(map(str, path)))
def test_every_key_of_the_shipped_file_misspelt(path: KeyPath, tmp_path: Path) -> None:
    at = load(AWS).keys[path]
    lines = AWS.read_text(encoding="utf-8").splitlines()
    key, line = str(path[-1]), lines[at.line - 1]
    before, after = line[: at.column - 1], line[at.column - 1 :]
    assert after.startswith(key)
    lines[at.line - 1] = before + key[:-1] + "x" + key[-1] + after[len(key) :]
    found = mistakes(tmp_path, "\n".join(lines))
    misspelt = key[:-1] + "x" + key[-1]
    (about_it,) = [text for text in found if f"'{misspelt}'" in text]
    assert about_it.startswith(f"c.yaml:{at.line}:{at.column}: unknown key '{misspelt}' in ")
    assert f"Did you mean '{key}'?" in about_it


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = AWS.read_text(encoding="utf-8")
    for old, new in {
        "max_workers: 4 # at": "max_worker: 4 # at",
        "InstanceType: m6i.large": "InstanceTpye: m6i.large",
        "MarketType: spot": "MarketType: spott",
        "region: us-east-1": "region: us-east-11",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    found = mistakes(tmp_path, text)
    assert [line.partition(": ")[2].split(".")[0] for line in found] == [
        "unknown key 'max_worker' in this file",
        "provider",
        "missing key 'InstanceType' in available_node_types",
        "unknown key 'InstanceTpye' in available_node_types",
        "available_node_types",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cluster_name: sleep-gpu", "cluster_name: Sleep GPU", "cluster_name is \"Sleep GPU\": must be at most 40 of "),
        ("max_workers: 4 # at", "max_workers: -4 # at", "max_workers is -4: must be greater than or equal to 0"),
        ("idle_timeout_minutes: 10", "idle_timeout_minutes: ten", 'idle_timeout_minutes is "ten": must be a number'),
        ("s3://my-laboratory/sleep", "/data/sleep", 'orchestrator.store is "/data/sleep": must be s3://bucket/prefix'),
        ("ttl_hours: 12", "ttl_hours: 0", "orchestrator.ttl_hours is 0: must be greater than 0"),
        ("ssh_from: caller", "ssh_from: everyone", 'ssh_from is "everyone": must be \'caller\' or a network'),
        ("region: us-east-1", "region: us-east-11", 'is "us-east-11": not allowed. Did you mean \'us-east-1\'?'),
        ("type: aws", "type: awss", 'provider.type is "awss": not allowed. Did you mean \'aws\'? Allowed: aws, local'),
        ("  type: aws\n", "", "missing key 'type' in provider."),
        ("head_node_type: head", "head_node_type: haed", 'head_node_type is "haed": not allowed. Did you mean'),
        ("head_node_type: head\n", "", "one of them must be head_node_type"),
        (f"auth:\n  ssh_user: ubuntu\n{PRIVATE}", "", 'provider.type is "aws": needs a section auth with ssh_user'),
        (PRIVATE, "", "needs an ssh_private_key: Ray would make a key pair of its own"),
        ("      KeyName: sleep-orchestrator\n      SubnetIds", "      SubnetIds", "needs a KeyName: the key pair"),
        ("type: aws", "type: aws\n  use_internal_ips: true", "use_internal_ips is true: needs orchestrator.ss"),
        (PRIVATE, f"{PRIVATE}  ssh_proxy_command: ssh -W %h:%p x\n", ": needs orchestrator.ssh_from"),
        (PRIVATE, f"{PRIVATE}  ssh_proxy_use_node_id: true\n", "unknown key 'ssh_proxy_use_node_id' in auth"),
        ("      InstanceType: m6i.large\n", "      LaunchTemplate: {}\n", "missing key 'InstanceType'"),
        ("MarketType: spot", "MarketType: spott", 'is "spott": EC2 does not know this value. Did you mean \'spot\'?'),
        ("HttpTokens: required", "HttpTokens: require", 'HttpTokens is "require": EC2 does not know this value. Did y'),
        ("HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: one", 'is "one": must be a whole number'),
        ("Encrypted: true", "Encrypted: yes", 'Ebs.Encrypted is "yes": must be true or false'),
        ("VolumeSize: 100", "VolumeSize: 100.5", "Ebs.VolumeSize is 100.5: must be a whole number"),
        ("m6i.large", "m6i.larg", 'InstanceType is "m6i.larg": EC2 does not know this value. Did you mean'),
        ("      InstanceType: m6i.large\n", "", "missing key 'InstanceType' in available_node_types.head.node_config"),
        ("[subnet-0123456789abcdef0]", "subnet-0123456789abcdef0", "SubnetIds is \"subnet-0123456789abcdef0\": must b"),
        ("SubnetIds: [", "MaxCount: 3\n      SubnetIds: [", "node_config.MaxCount is set by Ray; remove it."),
        ("resources: { CPU: 0 }", "resources: { CPU: 0.5 }", "resources.CPU is 0.5: must be a whole number"),
        ("max_workers: 0", "min_workers: 2\n    max_workers: 0", "min_workers is 2: is more than max_workers, 0"),
        ("max_workers: 4\n", "min_workers: 5\n", "max_workers is 4: is less than the sum of min_workers of all kinds,"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = AWS.read_text(encoding="utf-8")
    assert old in text
    changed = text.replace(old, new, 1)
    assert message in "\n".join(mistakes(tmp_path, changed))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("10.0.0.3]", "10.0.0.2]", "c.yaml:5:26: provider.worker_ips[1] is \"10.0.0.2\": is given twice."),
        ("[10.0.0.2,", "[10.0.0.1,", "c.yaml:5:16: provider.worker_ips[0] is \"10.0.0.1\": is the head, whose Ray"),
        ("head_ip: 10.0.0.1", "head_ip: lab-1", "c.yaml:4:12: provider.head_ip is \"lab-1\": must be an IP address"),
        ("[10.0.0.2, 10.0.0.3]", "[]", "c.yaml:5:15: provider.worker_ips is []: "),
        ("local", "this_machine", "c.yaml:4:3: unknown key 'head_ip' in provider."),
    ],
)  # fmt: skip
def test_mistakes_on_premises(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert load_cluster(write(tmp_path, ONPREM))[0].provider.type == "local"
    assert message in "\n".join(mistakes(tmp_path, ONPREM.replace(old, new)))


def test_a_time_to_live_that_would_end_nothing(tmp_path: Path) -> None:
    text = ONPREM + "orchestrator: {ttl_hours: 2}\n"
    load_cluster(write(tmp_path, text))
    start = "worker_start_ray_commands: [ray start --address=$RAY_HEAD_IP:6379]\n"
    (found,) = mistakes(tmp_path, text + start)
    assert "orchestrator.ttl_hours is 2: would end nothing" in found


def test_this_machine_takes_no_ssh(tmp_path: Path) -> None:
    text = "cluster_name: here\nprovider: {type: this_machine}\n"
    assert load_cluster(write(tmp_path, text))[0].auth is None
    (found,) = mistakes(tmp_path, text + "auth: {ssh_user: me}\n")
    assert found.startswith("c.yaml:3:7: auth is")
    assert "has no meaning for provider this_machine" in found


def test_only_a_launch_needs_the_files_that_it_copies(tmp_path: Path) -> None:
    text = AWS.read_text(encoding="utf-8").replace("ssh_from: caller", "wheel: /no/such.whl")
    file = write(tmp_path, text + "file_mounts: {/data: /no/such/folder}\n")
    load_cluster(file)
    with pytest.raises(ConfigError) as caught:
        load_cluster(file, with_files=True)
    assert "orchestrator.wheel is /no/such.whl: no such file on this machine" in str(caught.value)
    assert "file_mounts./data is /no/such/folder: no such file" in str(caught.value)


def test_one_address_is_a_network(tmp_path: Path) -> None:
    text = AWS.read_text(encoding="utf-8").replace("ssh_from: caller", "ssh_from: 198.51.100.7")
    cluster, _ = load_cluster(write(tmp_path, text))
    assert cluster.orchestrator.ssh_from == "198.51.100.7/32"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("", encoding="utf-8")
    key.chmod(0o644)
    (found,) = mistakes(tmp_path, ONPREM + f"  ssh_private_key: {key}\n")
    assert "others may read it, so ssh refuses it; chmod 600" in found


@pytest.mark.heavy
def test_checking_a_file_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom orchestrator.config.cluster import load_cluster\n"
        f"load_cluster({str(AWS)!r})\n"
        "print([name for name in ('ray', 'torch', 'mne', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout == "[]\n"
