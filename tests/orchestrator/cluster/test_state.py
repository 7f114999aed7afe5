"""What this machine knows of a cluster that it launched."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cluster.launch import provider_of
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.config.cluster import load_cluster
from orchestrator.errors import IntegrityError

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"


def test_what_has_changed_in_a_file(tmp_path: Path) -> None:
    state = ClusterState(tmp_path)
    data: dict[str, Any] = yaml.safe_load(AWS.read_text(encoding="utf-8"))
    assert state.changes(data) == []  # nothing was noted
    state.note_file(data)
    assert state.changes(data) == []
    data["max_workers"] = 7
    del data["orchestrator"]["ttl_hours"]
    data["available_node_types"]["small-gpu"]["node_config"]["InstanceType"] = "g5.xlarge"
    assert state.changes(data) == [
        ("available_node_types", "small-gpu", "node_config", "InstanceType"),
        ("max_workers",),
        ("orchestrator", "ttl_hours"),
    ]


@pytest.mark.parametrize(
    ("key", "can"),
    [
        (("max_workers",), True),
        (("idle_timeout_minutes",), True),
        (("available_node_types", "small-gpu", "node_config", "InstanceType"), True),
        (("available_node_types", "ray.head.default", "node_config", "InstanceType"), False),
        (("orchestrator", "ttl_hours"), False),
        (("orchestrator", "prices"), False),
        (("provider", "region"), False),
        (("setup_commands",), False),
    ],
)
def test_what_can_change_while_a_cluster_runs(
    key: tuple[str, ...], can: bool, tmp_path: Path
) -> None:
    text = AWS.read_text(encoding="utf-8").replace(
        "head_node_type: head", "head_node_type: ray.head.default"
    )
    file = tmp_path / "aws.yaml"
    file.write_text(text.replace("\n  head:\n", "\n  ray.head.default:\n"), encoding="utf-8")
    cluster, source = load_cluster(file)
    assert provider_of(cluster, source.data, ClusterState(tmp_path)).can_change(key) == can


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", bytes(9), b"\xff", b'{"provider": "aws"', b"{7}"], ids=str
)
def test_what_is_noted_of_a_cluster_is_damaged(tmp_path: Path, content: bytes) -> None:
    state = ClusterState(tmp_path)
    for name, read in (("running.json", state.running), ("file.json", state.launched)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IntegrityError, match=rf"{tmp_path}/{name}:1:\d+ is damaged: .* down"):
            read()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("launched_at", "began_at", "it has no 'launched_at'"),
        ('"2026-01-01T10:00:00+00:00"', "7", "its 'launched_at' is 7"),
        ('"pid"', '"process"', "another version wrote it"),
    ],
)
def test_what_is_noted_of_a_cluster_is_of_another_version(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    state = ClusterState(tmp_path)
    noted = Running(
        provider="aws", address="", launched_at="2026-01-01T10:00:00+00:00", ends_at=None
    )
    state.note(noted)
    assert state.running() == noted
    file = tmp_path / "running.json"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(IntegrityError, match=what):
        state.running()
