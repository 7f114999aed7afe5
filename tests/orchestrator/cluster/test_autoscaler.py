"""How many machines a plan counts: as many as Ray's autoscaler would launch. Nothing is started."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import NodeState  # type: ignore[attr-defined]
from ray.core.generated.instance_manager_pb2 import (  # type: ignore[attr-defined]
    Instance,
    NodeKind,
)

from orchestrator.cluster.plan import plan_cluster
from orchestrator.config.cluster import load_cluster
from orchestrator.errors import ConfigError

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"
MANY = 20


def write(folder: Path, **kinds: dict[str, int]) -> Path:
    """Write cluster/aws.yaml with changed kinds, of which each has something that no other one has."""
    content = yaml.safe_load(AWS.read_text(encoding="utf-8"))
    for name, kind in content["available_node_types"].items():
        if (changes := kinds.get(name.replace("-", "_"))) is not None:
            del kind["max_workers"]
            kind |= changes
        kind["resources"] = {"CPU": 1, name: 1}
    file = folder / "c.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def launched(config: dict[str, Any], wanted: str | None) -> int:
    """Return how many machines Ray adds to a head, if there is much demand for one kind, or for none."""
    scaling = AutoscalingConfig(config, skip_content_hash=True)
    head = AutoscalerInstance(
        cloud_instance_id="i-1",
        ray_node=NodeState(node_id=b"1", total_resources={"CPU": 0}),
        im_instance=Instance(
            instance_id="1",
            instance_type=config["head_node_type"],
            status=Instance.RAY_RUNNING,
            node_kind=NodeKind.HEAD,
        ),
    )
    demand = [ResourceRequestUtil.make({wanted: 1})] * MANY if wanted else []
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=scaling.get_node_type_configs(),
            max_num_nodes=scaling.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(demand),
            current_instances=[head],
        )
    )
    return sum(request.count for request in reply.to_launch)


def filled_out(file: Path) -> dict[str, Any]:
    """Return what Ray makes of a file, with its own defaults."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["orchestrator"]
    content["auth"] = {}  # Ray would read the key
    config: dict[str, Any] = prepare_config(content)
    return config


@pytest.mark.heavy
@pytest.mark.parametrize(
    "head",
    [
        {},
        {"max_workers": 0},
        {"max_workers": 2},
        {"min_workers": 1},
        {"min_workers": 1, "max_workers": 2},
        {"min_workers": 2, "max_workers": 2},
        {"min_workers": 3, "max_workers": 9},
    ],
    ids=str,
)
def test_the_heads_kind_counts_as_ray_counts_it(head: dict[str, int], tmp_path: Path) -> None:
    file = write(tmp_path, head=head)
    cluster, source = load_cluster(file)
    config = filled_out(file)
    validate_config(config)
    nodes = plan_cluster(cluster, source).nodes
    assert 1 + launched(config, None) == sum(node.fewest for node in nodes)
    assert 1 + launched(config, "head") == nodes[0].most


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["small-gpu", "large-gpu"])
def test_the_kinds_of_workers_count_as_ray_counts_them(kind: str, tmp_path: Path) -> None:
    changes = {"small_gpu": {"min_workers": 1}, "large_gpu": {"max_workers": 2}}
    file = write(tmp_path, **changes)
    cluster, source = load_cluster(file)
    config = filled_out(file)
    validate_config(config)
    nodes = {node.name: node for node in plan_cluster(cluster, source).nodes}
    assert 1 + launched(config, None) == sum(node.fewest for node in nodes.values()) == 2
    others = sum(node.fewest for name, node in nodes.items() if name != kind)
    assert launched(config, kind) + 1 == nodes[kind].most + others


def test_what_rays_autoscaler_dies_of_is_refused(tmp_path: Path) -> None:
    """Of the head's kind there is nothing but the head, unless its max_workers says so."""
    file = write(tmp_path, head={"min_workers": 2})
    with pytest.raises(AssertionError):
        launched(filled_out(file), None)
    with pytest.raises(ConfigError, match=r"c\.yaml:\d+:\d+: .*head\.min_workers is 2: is more th"):
        load_cluster(file)


def test_what_rays_launcher_refuses_is_refused_before_it(tmp_path: Path) -> None:
    """Those of the head's kind count, too."""
    head = {"min_workers": 3, "max_workers": 3}
    file = write(tmp_path, head=head, small_gpu={"min_workers": 2})
    with pytest.raises(ValueError, match="smaller than the sum of `min_workers`"):
        validate_config(filled_out(file))
    with pytest.raises(ConfigError, match="less than the sum of min_workers of all kinds, 5"):
        load_cluster(file)
