"""The Ray session of a command: the cluster it runs in, or one of its own on this machine."""

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.telemetry.growth import Growth
from orchestrator.telemetry.limits import n_usable_cpus, object_store_bytes
from orchestrator.telemetry.ray_address import check_answers, cluster_address
from orchestrator.telemetry.session_folder import session_folder
from orchestrator.telemetry.termination import ended_in_time, starting_ray

if TYPE_CHECKING:
    from orchestrator.store.store import Store

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# Settings of this command that its workers on other nodes need too, where they do not inherit them.
_FOR_WORKERS = (
    *_ONE_THREAD,
    "GOMP_SPINCOUNT",
    "MALLOC_ARENA_MAX",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    "RAY_CHDIR_TO_TRIAL_DIR",
)


@contextlib.contextmanager
def ray_session(
    n_cpus: int | None = None, store: "Store | None" = None, out: "Store | None" = None
) -> Iterator[None]:
    """Have Ray running inside the block.

    A running session is used as it is (tests share one; inside a Ray job ``RAY_ADDRESS`` leads to the
    cluster). Otherwise Ray starts on this machine and stops at the end of the block. It listens on all
    interfaces, which is not configurable, so it is guarded by a token that only this session knows. Its files lie where
    no other user of the machine can look (:func:`orchestrator.telemetry.session_folder.session_folder`).

    Parameters
    ----------
    n_cpus : int, optional
        CPUs of a session started here; all that this process may use by default.
    store : Store, optional
        Refused where it is a local folder and the cluster has several nodes.
    out : Store, optional
        Where tasks write besides; refused likewise.
    """
    prepare_ray_environment()
    import ray

    if ray.is_initialized():
        configure_data()
        yield
        return
    files = session_folder() if cluster_address() is None else contextlib.nullcontext()
    with ended_in_time(), files as folder:
        try:
            _start(n_cpus, folder)
            configure_data()
            _check_are_shared({"--store": store, "--out": out})
            yield
        finally:
            ray.shutdown()


def _check_are_shared(stores: "Mapping[str, Store | None]") -> None:
    """Refuse local folders, by the options that name them, on a cluster of several nodes."""
    import ray

    from orchestrator.store.placement import check_is_shared  # here: pyarrow is no matter of --help

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    for option, store in stores.items():
        if store is not None:
            check_is_shared(store, sum(node["Alive"] for node in nodes), option)


def _start(n_cpus: int | None, folder: Path | None) -> None:
    """Start Ray on this machine with its files in a folder; without one, connect to the cluster of the environment."""
    import ray

    if folder is None:
        address = cluster_address()
        assert address is not None
        check_answers(address)
        options: dict[str, Any] = {"runtime_env": {"env_vars": _worker_env()}}
    else:
        options = {
            "address": "local",
            "num_cpus": n_cpus or n_usable_cpus(),
            "include_dashboard": False,
            "object_store_memory": object_store_bytes(),
            "_temp_dir": str(folder),
        }
    with starting_ray():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def prepare_ray_environment() -> None:
    """Set what Ray reads from the environment. Call before anything imports ray: it reads some at import.

    What the user has set stays. Workers of a session on this machine inherit it as it is at their start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # How often Ray Train looks whether its workers are done: its default is every two seconds.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    # Each trial runs in a new thread of a reused process; glibc would give every thread an arena and keep them all.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    # Pretraining has two threads, and one that waits for the other keeps its core busy for as long as GNU's OpenMP lets
    # it. Where something else runs, both lose: of two pretrainings at once on two cores, a step took 2.1 s, and 0.26 s
    # of one alone. With this shorter wait it takes 0.49 s and 0.28 s.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if "RAY_AUTH_MODE" not in os.environ and cluster_address() is None:
        # Ray's default would write its token to the home directory, which need not be writable.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for name in _ONE_THREAD:  # workers share the cores; each parallelises over its own items
        os.environ.setdefault(name, "1")


def _worker_env() -> dict[str, str]:
    """Return what workers of a cluster get, but for what the job itself sets: Ray refuses a variable that both set."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    taken = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: os.environ[name] for name in _FOR_WORKERS if name not in taken}


def configure_data() -> None:
    """Set up Ray Data in this process: no progress bar but ours, no half-hour wait for a hang, all CPUs at once."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A machine that an autoscaler adds takes minutes to come up.
    context.execution_no_progress_timeout_s = 120 if Growth.here() is None else 1200
    context.execution_options.preserve_order = False
    # The reservation learns what the cluster has only after a second, and till then runs one task at a time: the
    # whole of a small job. It is there to bound the memory of outputs, and ours are rows of a few numbers.
    context.op_resource_reservation_enabled = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
