"""How large a cluster can get, from its file to the environment of its head and back."""

import math
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.plan import growth_of
from orchestrator.config.cluster import ClusterFile, load_cluster
from orchestrator.errors import ConfigError
from orchestrator.telemetry.growth import GROWS_TO, Growth


def cluster(root: Path, tmp_path: Path, name: str, **workers: dict[str, object]) -> ClusterFile:
    content = yaml.safe_load((root / "cluster" / name).read_text(encoding="utf-8"))
    for kind, changes in workers.items():
        content["available_node_types"][kind.replace("_", "-")].update(changes)
    file = tmp_path / name
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_cluster(file)[0]


def test_the_workers_that_fit_into_the_limit_count_the_largest_first(
    root: Path, tmp_path: Path
) -> None:
    # At most four of: four of 4 CPUs and a GPU, two of 4 CPUs and a GPU. The head has none to give.
    growth = growth_of(cluster(root, tmp_path, "aws.yaml"))
    assert growth == Growth(total={"CPU": 16, "GPU": 4}, largest={"CPU": 4, "GPU": 1})
    more = cluster(root, tmp_path, "aws.yaml", large_gpu={"resources": {"CPU": 48, "GPU": 4}})
    few = cluster(root, tmp_path, "aws.yaml", small_gpu={"resources": {"CPU": 2}})
    assert growth_of(few) == Growth(total={"CPU": 12, "GPU": 4}, largest={"CPU": 4, "GPU": 1})
    assert growth_of(more) == Growth(
        total={"CPU": 2 * 48 + 2 * 4, "GPU": 2 * 4 + 2}, largest={"CPU": 48, "GPU": 4}
    )


def test_machines_of_the_heads_kind_that_are_workers_count(root: Path, tmp_path: Path) -> None:
    # At most four besides the head, of its kind two with 8 CPUs each.
    head = {"resources": {"CPU": 8}, "max_workers": 2}
    growth = growth_of(cluster(root, tmp_path, "aws.yaml", head=head))
    assert growth is not None
    assert growth.total == {"CPU": 3 * 8 + 2 * 4, "GPU": 4}


def test_of_a_machine_that_is_in_no_table_anything_may_come(root: Path, tmp_path: Path) -> None:
    text = (
        (root / "cluster" / "aws.yaml")
        .read_text(encoding="utf-8")
        .replace("g5.xlarge", "g6.xlarge")
    )
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    growth = growth_of(load_cluster(file)[0])
    assert growth is not None
    assert growth.total == growth.largest == {"CPU": math.inf, "GPU": math.inf}


def test_machines_that_are_there_already_do_not_grow(root: Path, tmp_path: Path) -> None:
    assert growth_of(load_cluster(root / "cluster" / "onprem.yaml")[0]) is None
    assert growth_of(load_cluster(root / "cluster" / "local.yaml")[0]) is None


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = Growth(total={"CPU": 104, "GPU": math.inf}, largest={"CPU": 48, "GPU": 0.5})
    assert Growth.parse(growth.as_text()) == growth
    monkeypatch.setenv(GROWS_TO, growth.as_text())
    assert Growth.here() == growth
    monkeypatch.delenv(GROWS_TO)
    assert Growth.here() is None


@pytest.mark.parametrize("text", ["CPU", "CPU:8", "CPU:8:many", "CPU:8:8;GPU:1:1"])
def test_a_malformed_variable_is_told_with_an_example(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROWS_TO, text)
    with pytest.raises(ConfigError, match="an example is CPU:64:8,GPU:8:1"):
        Growth.here()
