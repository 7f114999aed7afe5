"""The wheel holds the three packages with what they need at run time, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.cluster.wheel import make_wheel
from orchestrator.config.cluster import load_cluster
from orchestrator.store.provenance import this_code

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cluster, _ = load_cluster(root / "cluster" / "aws.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # "0" is how pip reads a yes here; no network
        built = make_wheel(cluster, tmp_path_factory.mktemp("cluster"))
    assert built is not None
    return built


def test_wheel_ships_three_packages_all_their_files_and_the_examples(
    wheel: Path, root: Path
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"orchestrator", "search_spaces", "trainables"}
    ours = {
        str(path.relative_to(root))
        for path in (root / "orchestrator").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours - set(names) == set()
    assert "orchestrator/methods/sleepmg/review/sections/balance.html.j2" in ours
    assert "orchestrator/config/montages/basic.yaml" in ours
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_init_of_an_installed_wheel_writes_all_examples_of_the_repository(
    wheel: Path, root: Path, tmp_path: Path
) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(installed)
    code = "import orchestrator; print(orchestrator.__file__); from orchestrator.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "init", str(folder)],
        cwd=installed,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    lines = done.stdout.splitlines()
    assert Path(lines[0]) == installed / "orchestrator" / "__init__.py"
    tracked = subprocess.run(
        ["git", "ls-files", "datasets", "sweeps", "cluster"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    ).stdout.splitlines()
    assert {"datasets/synthetic.yaml", "sweeps/tau.yaml", "cluster/aws.yaml"} <= set(tracked)
    for name in tracked:
        assert f"wrote {name}" in lines
        assert (folder / name).read_bytes() == (root / name).read_bytes()


def test_an_installed_wheel_knows_the_commit_it_was_built_from(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from orchestrator.store.provenance import this_code; print(this_code())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.stdout.strip() == repr(this_code())
