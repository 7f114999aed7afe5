"""The Ray session of a command."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.telemetry.session import prepare_ray_environment, ray_session
from orchestrator.telemetry.session_folder import SOCKET_OF_A_SESSION
from tests.second_user import IS_ROOT, as_stranger

NAMES = (
    "RAY_USAGE_STATS_ENABLED",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    "RAY_CHDIR_TO_TRIAL_DIR",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_ADDRESS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "GOMP_SPINCOUNT",
)


@pytest.fixture
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the test sets
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_bare_environment")
def test_a_session_of_ones_own_has_a_token_of_its_own_and_one_thread_a_worker() -> None:
    prepare_ray_environment()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
    prepare_ray_environment()
    assert os.environ["RAY_AUTH_TOKEN"] != token


@pytest.mark.usefixtures("_bare_environment")
def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    prepare_ray_environment()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.usefixtures("_bare_environment")
def test_a_cluster_keeps_its_own_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    prepare_ray_environment()
    assert "RAY_AUTH_MODE" not in os.environ


def test_preparing_the_environment_does_not_import_ray() -> None:
    code = (
        "import sys; from orchestrator.telemetry.session import prepare_ray_environment\n"
        "prepare_ray_environment(); print('ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout == "False\n"


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch has another OpenMP here")
def test_a_thread_of_torch_that_waits_lets_others_have_its_core() -> None:
    code = (
        "from orchestrator.telemetry.session import prepare_ray_environment\n"
        "prepare_ray_environment()\n"
        "import torch"
    )
    environment = {k: v for k, v in os.environ.items() if k not in NAMES}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert "GOMP_SPINCOUNT = '1000'" in said.stderr


@pytest.mark.ray
def test_a_running_session_is_used_and_left_running(ray_cluster: Any) -> None:
    with ray_session():
        assert ray_cluster.is_initialized()
    assert ray_cluster.is_initialized()
    assert ray_cluster.get(ray_cluster.put(1)) == 1


@pytest.mark.ray
def test_a_session_of_ones_own_is_closed_to_others_and_leaves_nothing(tmp_path: Path) -> None:
    """Under a temporary folder whose path is too long for sockets, too."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    code = (
        "from orchestrator.telemetry.session import ray_session\n"
        "with ray_session(1):\n"
        "    import ray\n"
        "    from ray._private.worker import _global_node as node\n"
        "    assert ray.get(ray.remote(lambda: 1).remote()) == 1\n"
        "    print(node.get_session_dir_path(), flush=True)\n"
        "    input()\n"
    )
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_TMPDIR", "RAY_ADDRESS")
    }
    session = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**env, "TMPDIR": str(long)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert session.stdout is not None
    folder = Path(session.stdout.readline().strip())
    try:
        own = folder.parents[1]
        assert own.name == f"sleep-{os.geteuid()}"
        assert stat.S_IMODE(own.lstat().st_mode) == 0o700
        assert len(SOCKET_OF_A_SESSION) >= max(
            len(str(path)) - len(str(folder.parent)) for path in folder.glob("sockets/*")
        )
        if IS_ROOT:
            for command in (f"ls {own}", f"touch {folder}/runtime_resources/planted"):
                assert "Permission denied" in as_stranger(command)
    finally:
        session.communicate("\n")
    assert session.returncode == 0
    assert not folder.parent.exists()


OUT_OF_REACH = """
import os, signal
from orchestrator.telemetry.session import ray_session

def ours(*_):
    print("told", flush=True)

signal.signal(signal.SIGTERM, ours)
with ray_session(1):
    import ray

    assert signal.getsignal(signal.SIGTERM) is ours
    os.killpg(0, signal.SIGTERM)
    print(ray.get(ray.remote(lambda: "alive").remote()), flush=True)
"""


@pytest.mark.ray
def test_a_signal_to_our_process_group_does_not_reach_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_REACH],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout == "told\nalive\n"
