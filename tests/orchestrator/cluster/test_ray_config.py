"""What Ray's launcher is given: what its own schema takes, without a secret, and with nothing of another Ray's."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft7Validator

from orchestrator.cluster.ray_config import forget_command, ray_config, start_command
from orchestrator.config.cluster import load_cluster
from orchestrator.errors import ConfigError

CLUSTER = Path(__file__).parents[3] / "cluster"
SCHEMA = json.loads(
    Path(ray.__path__[0], "autoscaler", "ray-schema.json").read_text(encoding="utf-8")
)


def config_of(file: Path, token: Path, wheel: Path | None = None) -> dict[str, Any]:
    cluster, source = load_cluster(file)
    return ray_config(cluster, source.data, token, wheel)


@pytest.mark.parametrize("name", ["aws", "aws-cpu", "onprem"])
def test_rays_own_schema_takes_it(name: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cr3t", encoding="utf-8")
    config = config_of(CLUSTER / f"{name}.yaml", token)
    for kind in config.get("available_node_types", {}).values():
        kind.setdefault("resources", {})  # Ray fills them in from the instance type
    assert list(Draft7Validator(SCHEMA).iter_errors(config)) == []
    text = json.dumps(config)
    assert "s3cr3t" not in text
    assert str(token) in text
    assert "orchestrator" not in config
    assert "ray stop" not in text  # it would end every Ray of a machine
    assert "0.0.0.0" not in text


def test_it_is_installed_where_it_is_not_there(tmp_path: Path) -> None:
    wheel = tmp_path / "sleep_orchestrator-0.1.0-py3-none-any.whl"
    config = config_of(CLUSTER / "aws.yaml", tmp_path / "token", wheel)
    folder = "/home/ubuntu/.sleep-orchestrator/sleep-gpu"
    assert config["file_mounts"][f"{folder}/{wheel.name}"] == str(wheel)
    assert any(f"{folder}/{wheel.name}" in command for command in config["setup_commands"])
    assert f"{folder}/venv/bin:$PATH" in json.dumps(config["initialization_commands"])


def test_machines_get_the_ray_that_runs_here(tmp_path: Path) -> None:
    """One that joins weeks later, too, when there may be a newer one."""
    config = config_of(CLUSTER / "aws.yaml", tmp_path / "token", tmp_path / "x.whl")
    (install,) = (command for command in config["setup_commands"] if "pip install" in command)
    assert install.endswith(f"x.whl ray=={ray.__version__}")


def test_commands_of_the_users_own_start_ray_with_the_token(tmp_path: Path) -> None:
    start = "ray start --head --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
    file = tmp_path / "c.yaml"
    file.write_text(
        "cluster_name: lab\nprovider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\n"
        f"auth: {{ssh_user: sleep}}\nhead_start_ray_commands: ['{start}']\n",
        encoding="utf-8",
    )
    config = config_of(file, tmp_path / "token")
    (command,) = config["head_start_ray_commands"]
    guard = ". /home/sleep/.sleep-orchestrator/lab/env; export RAY_TMPDIR=/tmp/sleep-lab.sleep; mkdir -m 700 "
    assert command.startswith(guard)
    assert command.endswith(f"; {start}")


@pytest.mark.parametrize(("left_s", "waits_s"), [(3, 3), (-100, 1)], ids=["later", "over"])
def test_ray_is_ended_at_the_end_of_its_time(left_s: int, waits_s: int) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=left_s)
    command = start_command("/folder", "true", "--head", ends_at=ends_at)
    wanted = r"timeout --signal=TERM --kill-after=60 (\$\(\(.*?> 1 \? left : 1 \)\)) python3 -m ray"
    found = re.search(wanted, command)
    assert found is not None, command
    said = subprocess.run(
        ["bash", "-c", f"echo {found[1]}"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert waits_s <= int(said.stdout) <= waits_s + 1


def test_what_a_cluster_left_on_a_machine_is_removed_and_nothing_of_others(tmp_path: Path) -> None:
    folder = tmp_path / ".sleep-orchestrator" / "sleep-lab"
    folder.mkdir(parents=True)
    (folder / "token").write_text("s3cr3t", encoding="utf-8")
    key, config = tmp_path / "ray_bootstrap_key.pem", tmp_path / "ray_bootstrap_config.yaml"
    key.write_text("private", encoding="utf-8")

    def forget() -> None:
        command = forget_command("~/.sleep-orchestrator/sleep-lab", "sleep-lab")
        subprocess.run(
            ["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, check=True
        )

    config.write_text(json.dumps({"cluster_name": "another", "max_workers": 2}), encoding="utf-8")
    forget()
    assert key.exists()
    assert not (folder / "token").exists()
    config.write_text(json.dumps({"cluster_name": "sleep-lab", "max_workers": 2}), encoding="utf-8")
    forget()
    assert not key.exists()
    assert not config.exists()


def test_commands_of_one_kind_come_after_those_of_all(tmp_path: Path) -> None:
    """Ray runs a kind's own instead of the cluster's."""
    content = yaml.safe_load((CLUSTER / "aws.yaml").read_text(encoding="utf-8"))
    content |= {"initialization_commands": ["all-1"], "setup_commands": ["all-2"]}
    content["available_node_types"]["small-gpu"] |= {
        "initialization_commands": ["own-1"],
        "worker_setup_commands": ["own-2"],
    }
    file = tmp_path / "aws.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    cluster, source = load_cluster(file)
    wheel = tmp_path / "sleep_orchestrator-0.1.0-py3-none-any.whl"
    config = ray_config(cluster, source.data, tmp_path / "token", wheel, ["off"])
    own, other = (config["available_node_types"][name] for name in ("small-gpu", "large-gpu"))
    first = config["initialization_commands"]
    assert own["initialization_commands"] == [*first, "own-1"]
    assert first[-2:] == ["off", "all-1"]
    assert own["worker_setup_commands"] == [*config["setup_commands"], "own-2"]
    assert any(wheel.name in command for command in own["worker_setup_commands"])
    assert not other.get("initialization_commands")


def test_what_only_rays_schema_knows_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should our model ever let something pass that Ray does not take."""
    from orchestrator.config import cluster

    stricter = {**SCHEMA, "properties": {**SCHEMA["properties"], "upscaling_speed": {"maximum": 1}}}
    monkeypatch.setattr(cluster, "_ray_schema", lambda: stricter)
    with pytest.raises(ConfigError, match=r"aws\.yaml:11:.*Ray's launcher does not take this"):
        load_cluster(CLUSTER / "aws.yaml")
    assert (
        yaml.safe_load((CLUSTER / "aws.yaml").read_text(encoding="utf-8"))["upscaling_speed"] == 4
    )
