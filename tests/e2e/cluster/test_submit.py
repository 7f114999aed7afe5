"""A sweep as a job, from both commands, on a cluster where the wheel is installed and on one where it is sent along."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
import yaml

if TYPE_CHECKING:
    from tests.e2e.cluster.conftest import Cluster, MakeCluster
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

IN_FULL = "1" in (os.environ.get("REQUIRE_RGW"), os.environ.get("TEST_CLUSTER"))

pytestmark = [pytest.mark.e2e, pytest.mark.cluster, pytest.mark.timeout(600)]
in_full = pytest.mark.skipif(
    not IN_FULL, reason="four minutes: make test-cluster, or REQUIRE_RGW=1"
)


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *options, str(root)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path) -> Path:
    """Make a virtual environment with all that the project needs, and without the project; return its ``bin``."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but .pth files in it, such as that of our own sources, are not read.
    needed = Path(sys.executable).parents[1] / site.relative_to(folder)
    (site / "needed.pth").write_text(f"{needed}\n", encoding="utf-8")
    return folder / "bin"


def run(python: Path, code: str) -> "subprocess.CompletedProcess[str]":
    command = [str(python / "python"), "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", encoding="utf-8"
    )


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment where the project is not installed."""
    python = environment(tmp_path_factory.mktemp("without") / "venv")
    assert run(python, "import ray, torch").returncode == 0
    assert "No module named 'orchestrator.cli'" in run(python, "import orchestrator.cli").stderr
    return python


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment where the wheel is installed, and nothing leads to the sources."""
    python = environment(tmp_path_factory.mktemp("installed") / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(python / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    where = run(python, "import orchestrator; print(orchestrator.__file__)").stdout
    assert str(python.parent) in where
    return python


@dataclass
class Lab:
    """A store with epochs, outside of every job's folder, and a sweep file."""

    store: Path
    sweep: Path

    def trials(self) -> list[str]:
        rows = pq.read_table(self.store / "sweeps" / "job" / "trials.parquet").to_pylist()
        return [row["state"] for row in rows if row["kind"] == "trial"]


@pytest.fixture
def lab(tiny: "Tiny", tiny_done: "Done", tmp_path: Path) -> Lab:
    store = tmp_path / "store"
    shutil.copytree(tiny_done.store, store, ignore=shutil.ignore_patterns("sweeps", "reviews"))
    content = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
    content |= {"name": "job", "arms": []}
    content["search"]["n_trials"] = 2
    sweep = tmp_path / "submitted" / "sweep.yaml"
    sweep.parent.mkdir()
    sweep.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Lab(store, sweep)


def commands_of_the_page(root: Path, cluster: "Cluster", lab: Lab) -> tuple[list[str], list[str]]:
    """Return the two commands of docs/sweeps.md, without the program, with this cluster, store and file."""
    *_, block = re.findall(
        r"^```console\n(.*?)^```",
        (root / "docs" / "sweeps.md").read_text(encoding="utf-8"),
        re.M | re.S,
    )
    for written, here in (
        ("http://127.0.0.1:8265", cluster.job_server),
        ("s3://sleep-lab/runs", str(lab.store)),
        ("sweeps/tau.yaml", lab.sweep.name),
    ):
        assert block.count(written) == 2
        block = block.replace(written, here)
    ours, rays = (shlex.split(line) for line in block.splitlines())
    assert (ours.pop(0), rays.pop(0)) == ("orchestrator", "ray")
    return ours, rays


@in_full
def test_on_a_cluster_where_the_wheel_is_installed(
    root: Path,
    installed: Path,
    lab: Lab,
    make_cluster: "MakeCluster",
    make_cli: "Callable[[Path], Cli]",
    tools: "type[Tools]",
) -> None:
    cluster: Cluster = make_cluster({}, n_nodes=1, python=installed)
    cli = make_cli(lab.sweep.parent).having(**cluster.driver_env)
    ours, rays = commands_of_the_page(root, cluster, lab)

    def ray(command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [installed / "python", "-m", "ray.scripts.scripts", *command],
            cwd=cli.cwd,
            env=dict(cli.env),
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )

    refused = ray(rays[: rays.index("--store")])  # the default store would be ./runs
    assert refused.returncode == 1
    assert "this job's own working directory" in " ".join(refused.stdout.split())
    done = ray(rays)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "next: orchestrator review job" in done.stdout
    assert "next: orchestrator review job" in cli(*ours).ok().out

    wrong = lab.sweep.with_name("wrong.yaml")
    wrong.write_text(
        lab.sweep.read_text(encoding="utf-8").replace("dataset: tiny", "dataset: tinny"),
        encoding="utf-8",
    )
    result = cli(
        "submit", wrong, "--address", cluster.job_server, "--store", lab.store, "--as", "w"
    )
    assert result.code == 2, result
    assert "mean 'tiny'?" in result.out
    unauthorised = make_cli(lab.sweep.parent).having(RAY_AUTH_MODE="disabled")
    unauthorised("submit", lab.sweep, "--address", cluster.job_server, "--store", lab.store).fails(
        6, "no job can be submitted at", "RAY_AUTH_TOKEN"
    )
    cluster.stop()
    tools.wait_for(lambda: not cluster.remains(), timeout_s=90, what="all processes end")
    assert lab.trials() == ["complete"] * 2


@pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="a minute: make test-cluster")
def test_on_a_cluster_that_gets_the_wheel_with_the_job(
    without: Path,
    wheel: Path,
    lab: Lab,
    make_cluster: "MakeCluster",
    make_cli: "Callable[[Path], Cli]",
) -> None:
    cluster: Cluster = make_cluster({}, n_nodes=2, python=without)
    cli = make_cli(lab.sweep.parent).having(**cluster.driver_env)
    command = ("submit", lab.sweep, "--address", cluster.job_server, "--wheel", wheel)
    result = cli(*command, "--store", lab.store)
    assert result.code == 2, result
    assert "2 nodes" in result.out
    done = cli.having(ORCHESTRATOR_STORE_SHARED="1")(*command, "--store", lab.store).ok()
    assert "next: orchestrator review job" in done.out
    cluster.stop()
    assert lab.trials() == ["complete"] * 2
    events = (
        (lab.store / "sweeps" / "job" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert json.loads(events[-1])["event"] == "sweep_finished"


def test_what_is_too_large_to_send_is_refused(cli: "Cli", tiny: "Tiny", tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    for name, size in (("night.edf", 80), ("model.pt", 40), ("notes.txt", 1), (".git/pack", 90)):
        with (folder / name).open("wb") as file:
            file.truncate(size * 2**20)
    options = ("--address", "http://127.0.0.1:1", "--store", "s3://bucket/prefix")
    cli("submit", tiny.sweep, *options, "--working-dir", folder).fails(
        2, "121 MiB", "may have 100 MiB", "night.edf (80 MiB), model.pt (40 MiB), notes.txt (1 MiB)"
    )
    cli("submit", tiny.sweep, *options, "--wheel", tiny.dataset).fails(2, "as a wheel")
    cli("submit", tiny.sweep, *options).fails(6, "no job can be submitted at http://127.0.0.1:1")
