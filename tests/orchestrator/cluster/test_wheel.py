"""Which wheel a cluster's machines are given: all of them the same, also those that join after a change."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster import on_aws
from orchestrator.cluster.ec2 import Ec2
from orchestrator.cluster.on_aws import OnAws
from orchestrator.cluster.state import ClusterState
from orchestrator.cluster.wheel import launched_wheel, make_wheel
from orchestrator.config.cluster import AwsProvider, load_cluster
from orchestrator.errors import SetupError

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"
NAME = "sleep_orchestrator-0.1.0-py3-none-any.whl"


@pytest.fixture
def named(tmp_path: Path) -> Path:
    wheel = tmp_path / NAME
    wheel.write_bytes(b"as it was launched")
    return wheel


@pytest.fixture
def file(tmp_path: Path, named: Path) -> Path:
    content = yaml.safe_load(AWS.read_text(encoding="utf-8"))
    content["orchestrator"] |= {"wheel": str(named)}
    file = tmp_path / "aws.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_a_named_wheel_is_kept_as_it_was_launched(file: Path, named: Path, tmp_path: Path) -> None:
    cluster, _ = load_cluster(file)
    made = make_wheel(cluster, tmp_path / "state")
    named.write_bytes(b"something newer")
    assert made == launched_wheel(tmp_path / "state")
    assert made is not None
    assert (made.name, made.read_bytes()) == (NAME, b"as it was launched")


def test_a_link_is_followed_to_the_wheels_own_name(file: Path, named: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.whl"
    link.symlink_to(named)
    file.write_text(
        file.read_text(encoding="utf-8").replace(str(named), str(link)), encoding="utf-8"
    )
    made = make_wheel(load_cluster(file)[0], tmp_path / "state")
    assert made is not None
    assert made.name == NAME


def test_the_next_launch_has_its_own_wheel_alone(file: Path, named: Path, tmp_path: Path) -> None:
    cluster, _ = load_cluster(file)
    make_wheel(cluster, tmp_path / "state")
    newer = named.with_name("sleep_orchestrator-0.2.0-py3-none-any.whl")
    newer.write_bytes(b"newer")
    file.write_text(
        file.read_text(encoding="utf-8").replace(str(named), str(newer)), encoding="utf-8"
    )
    cluster, _ = load_cluster(file)
    made = make_wheel(cluster, tmp_path / "state")
    assert made is not None
    assert [path.name for path in made.parent.iterdir()] == [newer.name]


def test_machines_that_have_the_program_get_no_wheel(tmp_path: Path) -> None:
    content = yaml.safe_load(AWS.read_text(encoding="utf-8"))
    content["orchestrator"] |= {"install": False}
    file = tmp_path / "aws.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert make_wheel(load_cluster(file)[0], tmp_path / "state") is None
    assert launched_wheel(tmp_path / "state") is None


def test_a_running_cluster_that_takes_up_a_change_keeps_its_wheel(
    file: Path, named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Mapping[str, Any]] = []

    def launcher(config: Mapping[str, Any], state: ClusterState, *_: object, **__: object) -> None:
        given.append(config)
        (state.folder / "ray.yaml").write_text(json.dumps(config), encoding="utf-8")
        if len(given) == 1:
            raise SetupError("far enough for a launch: what follows is there once it runs")

    monkeypatch.setattr(on_aws, "ray_up", launcher)
    monkeypatch.setattr(OnAws, "check", lambda _: None)  # these three ask Amazon
    monkeypatch.setattr(Ec2, "closed_group", lambda _: "sg-1")
    monkeypatch.setattr(Ec2, "account", lambda _: "123456789012")
    cluster, source = load_cluster(file)
    assert isinstance(cluster.provider, AwsProvider)
    provider = OnAws(cluster, cluster.provider, source.data, ClusterState(tmp_path / "state"))
    with pytest.raises(SetupError, match="far enough"):
        provider.start()
    named.write_bytes(b"something newer")
    provider.update()
    launched, updated = (set(config["file_mounts"].values()) for config in given)
    assert launched == updated
    (wheel,) = (Path(name) for name in updated if name.endswith(".whl"))
    assert wheel.read_bytes() == b"as it was launched"
