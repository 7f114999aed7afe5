"""What tests share: the environment, the real recordings, one Ray cluster, and a way to make things once."""

import fcntl
import logging
import os
import pickle
import shutil
import signal

# Read by ray and the BLAS libraries when they are imported, so before anything else.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    AWS_EC2_METADATA_DISABLED="true",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what `make test` has no time for, unless all of it is wanted."""
    if os.environ.get("FULL_TESTS") == "1":
        return
    skip = pytest.mark.skip(reason="run by CI and make test-long: set FULL_TESTS=1")
    for item in items:
        if item.get_closest_marker("full") is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture
def plain_signals() -> Iterator[None]:
    """Signals do what they do in a terminal, though `nohup` ignores them or a job scheduler holds them back."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    held_back = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real recordings; CONTRIBUTING.md says what it holds."""
    folder = os.environ.get("SLEEP_TEST_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder).resolve()
    if os.environ.get("REQUIRE_TEST_DATA") == "1":
        pytest.fail(f"REQUIRE_TEST_DATA=1, but SLEEP_TEST_DATA={folder!r} is not a folder")
    pytest.skip("needs the real recordings: set SLEEP_TEST_DATA")


Once = Callable[[str, Callable[[Path], Any]], Any]
"""Called with a name and with what fills an empty folder; returns what that has returned."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes something expensive once for all processes of pytest-xdist: the first one that asks; others wait for it.

    Nobody may change what was made: who wants to, copies it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def make(name: str, fill: Callable[[Path], Any]) -> Any:
        folder, made = shared / f"once-{name}", shared / f"once-{name}.pickle"
        with (shared / f"once-{name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to fill it
                folder.mkdir()
                made.write_bytes(pickle.dumps(fill(folder)))
            return pickle.loads(made.read_bytes())

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One Ray cluster with two CPUs for the whole session."""
    import ray

    from orchestrator.telemetry.session_folder import session_folder

    with session_folder() as folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=512 * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _temp_dir=str(folder),
        )
        yield ray
        ray.shutdown()
