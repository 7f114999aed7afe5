"""Launching: two at a time, a place that has changed, a failure whose end fails, too."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster import launch
from orchestrator.cluster.ec2 import Ec2
from orchestrator.cluster.interruption import undisturbed
from orchestrator.cluster.launch import end_cluster, launch_cluster, provider_of
from orchestrator.cluster.on_aws import OnAws
from orchestrator.cluster.ssh import Ssh
from orchestrator.cluster.state import HOME, ClusterState, Running
from orchestrator.cluster.status import cluster_status
from orchestrator.config.cluster import ClusterFile, load_cluster
from orchestrator.errors import CloudError, ConfigError, RemainsError, SetupError
from orchestrator.telemetry.termination import ended_like_ctrl_c

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"
RUNNING = Running(
    provider="aws",
    address="http://127.0.0.1:1",
    launched_at="then",
    ends_at=None,
    complete=True,
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))


def load(folder: Path, *changes: tuple[str, str]) -> tuple[ClusterFile, Mapping[str, Any]]:
    text = AWS.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "c.yaml"
    file.write_text(text, encoding="utf-8")
    cluster, source = load_cluster(file)
    return cluster, source.data


class Machines:
    """A provider whose machines are numbers, and that fails where it is told to."""

    python = "python3"

    def __init__(self, state: ClusterState, end: Exception | None = None) -> None:
        self.state, self._end, self.there = state, end, 0

    def check(self) -> None: ...

    def is_up(self) -> bool:
        return False

    def start(self) -> Running:
        self.there = 1
        self.state.note(Running(provider="aws", address="", launched_at="now", ends_at=None))
        raise SetupError("no tunnel.")

    def end(self) -> bool:
        if self._end is not None:
            raise self._end
        self.there = 0
        return True

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        return [f"{self.there} machines"] if self.there else []

    def can_change(self, key: tuple[str, ...]) -> bool:
        return False

    def update(self) -> None: ...

    def run(self, command: Sequence[str]) -> int:
        return 0

    def hand_over(self, values: Mapping[str, str]) -> str:
        return "true"


def launched_by(
    machines: Machines,
    cluster: ClusterFile,
    data: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "provider_of", lambda *_: machines)
    launch_cluster(cluster, data, "c.yaml", lambda _: None)


def test_a_launch_that_fails_and_is_ended_leaves_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, data = load(tmp_path)
    state = ClusterState.of(cluster.cluster_name)
    with pytest.raises(SetupError, match=r"^no tunnel\.$"):
        launched_by(Machines(state), cluster, data, monkeypatch)
    assert state.running() is None
    assert state.launched() == {}


def test_a_failed_launch_that_cannot_be_ended_says_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, data = load(tmp_path)
    state = ClusterState.of(cluster.cluster_name)
    machines = Machines(state, CloudError("EC2 cannot be reached: no route."))
    with pytest.raises(
        RemainsError, match=r"no tunnel.*could not be ended: EC2 cannot be reached"
    ) as told:
        launched_by(machines, cluster, data, monkeypatch)
    assert told.value.exit_code == 6
    assert state.running() is not None  # so that status and the next launch know


def test_a_launch_that_was_cut_short_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was killed: machines are there, and what runs on them is not known."""
    cluster, data = load(tmp_path)
    state = ClusterState.of(cluster.cluster_name)
    state.note(Running(provider="aws", address="", launched_at="then", ends_at=None))
    machines = Machines(state)
    machines.there = 1
    monkeypatch.setattr("orchestrator.cluster.status.provider_of", lambda *_: machines)
    status = cluster_status(cluster, data)
    assert status.state == "unreachable"
    assert status.said is not None
    assert "its launch has not come to its end, and there is: 1 machines" in status.said
    machines.there = 0
    assert cluster_status(cluster, data).state == "down"


def test_one_cluster_is_launched_once_at_a_time(tmp_path: Path) -> None:
    cluster, data = load(tmp_path)
    with (
        ClusterState.of(cluster.cluster_name).launching(),
        pytest.raises(SetupError, match="being launched by another process"),
    ):
        launch_cluster(cluster, data, "c.yaml", lambda _: None)


def test_a_file_that_names_another_region_ends_nothing(tmp_path: Path) -> None:
    cluster, data = load(tmp_path)
    state = ClusterState.of(cluster.cluster_name)
    state.note(RUNNING)
    state.note_file(data)
    moved, other = load(
        tmp_path, ("region: us-east-1", "region: eu-west-1"), ("us-east-1a", "eu-west-1a")
    )
    refused = r"provider\.region us-east-1, and the file says eu-west-1"
    with pytest.raises(ConfigError, match=refused):
        end_cluster(moved, other, verify=True, say=lambda _: None)
    with pytest.raises(ConfigError, match=refused):
        launch_cluster(moved, other, "c.yaml", lambda _: None)
    assert state.running() == RUNNING
    assert isinstance(provider_of(cluster, data, state), OnAws)


def test_a_security_group_alone_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what is left when the time to live has ended all machines, and costs nothing."""
    cluster, data = load(tmp_path)
    ClusterState.of(cluster.cluster_name).note(RUNNING)
    client = Group()
    monkeypatch.setattr(Ec2, "client", client)
    monkeypatch.setattr(Ec2, "machines", lambda _: [])
    assert cluster_status(cluster, data).state == "down"
    assert Ec2(cluster, cluster.provider).remaining() == ["security group sg-1"]  # type: ignore[arg-type]


class Group:
    """What EC2 answers about an account that has a security group."""

    def describe_volumes(self, **_: object) -> dict[str, list[Any]]:
        return {"Volumes": []}

    def describe_security_groups(self, **_: object) -> dict[str, list[Any]]:
        return {"SecurityGroups": [{"GroupId": "sg-1"}]}


def test_a_machine_that_is_gone_is_taken_out_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the launch are ended, too, unless they do not answer and are not named any more."""
    text = (
        "cluster_name: lab\nauth: {ssh_user: sleep}\n"
        "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}\n"
    )
    file = tmp_path / "lab.yaml"
    file.write_text(text, encoding="utf-8")
    cluster, source = load_cluster(file)
    state = ClusterState.of("lab")
    state.note(RUNNING)
    state.note_file(source.data)
    asked: list[str] = []

    def run(_: Ssh, host: str, script: str) -> "subprocess.CompletedProcess[str]":
        asked.append(host)
        code = 255 if host == "10.0.0.3" else 0
        return subprocess.CompletedProcess([], code, stdout="0\n", stderr="no route")

    monkeypatch.setattr(Ssh, "run", run)
    with pytest.raises(RemainsError, match=r"no SSH to 10\.0\.0\.3 .*take it out of the file"):
        end_cluster(cluster, source.data, verify=True, say=lambda _: None)
    file.write_text(
        text.replace(", 10.0.0.3", "").replace("10.0.0.2", "10.0.0.4"), encoding="utf-8"
    )
    cluster, source = load_cluster(file)
    asked.clear()
    end_cluster(cluster, source.data, verify=True, say=lambda _: None)
    assert set(asked) == {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
    assert state.running() is None


@pytest.mark.usefixtures("plain_signals")
def test_signals_end_a_launch_but_not_its_clean_up() -> None:
    steps = []

    def launching() -> None:
        with ended_like_ctrl_c():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
                steps.append("went on")
            except KeyboardInterrupt:
                with undisturbed():
                    os.kill(os.getpid(), signal.SIGTERM)
                    steps.append("cleaned up")
                raise

    with pytest.raises(KeyboardInterrupt):
        launching()
    assert steps == ["cleaned up"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("plain_signals")
def test_what_nohup_ignores_stays_ignored_in_a_launch() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_head_that_ray_would_replace_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, data = load(tmp_path)
    state = ClusterState.of(cluster.cluster_name)
    state.make_token()
    state.note(RUNNING)
    head = yaml.safe_load(AWS.read_text(encoding="utf-8"))["available_node_types"]["head"]
    given = {"available_node_types": {"head": head}}  # before Amazon's own keys were added
    (state.folder / "ray.yaml").write_text(json.dumps(given), encoding="utf-8")
    monkeypatch.setattr(OnAws, "check", lambda _: None)  # these two ask EC2
    monkeypatch.setattr(Ec2, "closed_group", lambda _: "sg-1")
    with pytest.raises(
        ConfigError, match=r"might replace its head.*is not what it was launched with"
    ):
        provider_of(cluster, data, state).update()
