"""A cluster of this machine alone: launched, used and ended next to another Ray."""

import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.telemetry.session_folder import cluster_folder
from tests.e2e.servers.doors import http_code
from tests.second_user import IS_ROOT, as_stranger

if TYPE_CHECKING:
    from tests.e2e.cluster.conftest import MakeCluster
    from tests.e2e.conftest import Cli, Done, MakeCli, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.cluster, pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture
def cli(make_cli: "MakeCli", tmp_path: Path) -> "Cli":
    return make_cli(tmp_path).having(ORCHESTRATOR_HOME=str(tmp_path / "state"))


@pytest.fixture
def file(root: Path, tmp_path: Path, cli: "Cli", tools: "type[Tools]") -> Iterator[Path]:
    """cluster/local.yaml with ports that are free, and a name that no other test has; ended in the end."""
    content = yaml.safe_load((root / "cluster" / "local.yaml").read_text(encoding="utf-8"))
    content["cluster_name"] = f"local-{secrets.token_hex(3)}"
    ports = {"port": tools.free_ports(1), "dashboard_port": tools.free_ports(1)}
    content["provider"] |= {**ports, "cpus": 2}
    file = tmp_path / "local.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    yield file
    cli("down", file)


def change(file: Path, section: str, **values: Any) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content[section] |= values
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def rays_folder(cli: "Cli", file: Path) -> Path:
    """Return where Ray has its files of the cluster."""
    name = yaml.safe_load(file.read_text(encoding="utf-8"))["cluster_name"]
    return cluster_folder(Path(cli.env["ORCHESTRATOR_HOME"]) / "clusters" / name)


def processes(tools: "type[Tools]", cli: "Cli", file: Path) -> list[str]:
    """Return the command lines of this machine that name the cluster's folder."""
    lines = [tools.command_line(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [line for line in lines if f"{rays_folder(cli, file)}/" in line]


def test_launch_use_and_end_next_to_another_ray(
    file: Path,
    tmp_path: Path,
    cli: "Cli",
    tiny: "Tiny",
    tiny_done: "Done",
    tools: "type[Tools]",
    make_cluster: "MakeCluster",
) -> None:
    other = make_cluster({}, n_nodes=1)
    assert " is up; it ends at" in cli("launch", file, "--yes").ok().out
    assert "nothing was changed" in cli("launch", file, "--yes").ok().out
    assert processes(tools, cli, file)
    folder = rays_folder(cli, file)
    assert (folder / "session_latest").is_dir()
    if IS_ROOT:
        assert "Permission denied" in as_stranger(f"ls {folder}")
        planted = folder / "session_latest" / "runtime_resources" / "planted"
        assert "Permission denied" in as_stranger(f"touch {planted}")
    taken = cli("exec", file, "--", "sh", "-c", "echo $RAY_ADDRESS").ok()
    assert str(yaml.safe_load(file.read_text(encoding="utf-8"))["provider"]["port"]) in taken.out

    store = tmp_path / "runs"
    shutil.copytree(tiny_done.store, store, ignore=shutil.ignore_patterns("sweeps"))
    content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content["search"] |= {"n_trials": 100}
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(content), encoding="utf-8")
    job = cli.start("submit", sweep, "--cluster", file, "--store", store)

    log = store / "sweeps" / "small" / "events.jsonl"

    def runs() -> bool:
        return job.poll() is not None or (
            log.exists() and '"trial_done"' in log.read_text(encoding="utf-8")
        )

    tools.wait_for(runs, timeout_s=240, what="a trial is done")
    assert job.poll() is None, job.communicate()
    assert json.loads(cli("status", "small", "--json").ok().out)["n_complete"] > 0
    status = json.loads(cli("status", "--cluster", file, "--json").ok().out)
    assert [node["state"] for node in status["nodes"]] == ["alive"]
    assert "RUNNING" in [j["status"] for j in status["jobs"]]
    assert "verified: nothing of it is left" in cli("down", file, "--verify").ok().out
    assert not folder.exists()
    assert processes(tools, cli, file) == []
    out, err = job.communicate(timeout=120)
    assert job.returncode == 7, out + err
    assert "does not answer any more" in err
    assert "was not running; nothing was changed" in cli("down", file).ok().out
    assert http_code(f"{other.job_server}/api/version", other.env["RAY_AUTH_TOKEN"]) == 200
    # The job that was cut off goes on from another session.
    status = json.loads(cli("status", "small", "--json").ok().out)
    assert status["state"] == "stopped"


@pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="a minute: make test-cluster")
def test_its_time_to_live_ends_it(file: Path, cli: "Cli", tools: "type[Tools]") -> None:
    change(file, "orchestrator", ttl_hours=40 / 3600)
    assert "it ends at" in cli("launch", file, "--yes").ok().out
    tools.wait_for(lambda: not processes(tools, cli, file), timeout_s=120, what="it has ended")
    assert "down" in cli("status", "--cluster", file).ok().out


def test_a_port_that_is_taken(file: Path, cli: "Cli", tools: "type[Tools]") -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        change(file, "provider", dashboard_port=taken)
        said = f"provider.dashboard_port is {taken}: something listens there already"
        cli("launch", file, "--dry-run", "--online").fails(7, said)
        cli("launch", file, "--yes").fails(7, said)
    assert processes(tools, cli, file) == []
