"""Where a store may lie: outside of a job's own folder, and within reach of every node."""

import os
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.store import DEFAULT, VARIABLE
from orchestrator.store.store import Store

SHARED = "ORCHESTRATOR_STORE_SHARED"
"""Set to 1, it declares that the store's folder is the same on every node."""

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray in the driver of a submitted job


def open_store(uri: str | Path | None = None, *, writable: bool = False) -> Store:
    """Open the store that a command means.

    Parameters
    ----------
    uri : str or Path, optional
        By default that of the environment variable ORCHESTRATOR_STORE, or else the folder ``runs``.
    writable : bool
        Also prove that it can be written to, and that what is written stays.

    Raises
    ------
    ConfigError, StoreUnreachableError, SetupError
        See :meth:`Store.open` and :func:`check_outlives_job`.
    """
    store = Store.open(str(uri or os.environ.get(VARIABLE) or DEFAULT), writable=writable)
    if writable:
        check_outlives_job(store)
    return store


def in_job() -> bool:
    """Tell whether this process is the driver of a job that was submitted to Ray."""
    return _JOB in os.environ


def check_outlives_job(store: Store, option: str = f"--store or {VARIABLE}") -> None:
    """Refuse a store in the working directory of a job: Ray removes that directory some time after the job.

    Parameters
    ----------
    store : Store
    option : str
        What names another one.

    Raises
    ------
    ConfigError
    """
    if not (in_job() and store.is_local):
        return
    folder = Path.cwd().resolve()
    if Path(store.uri).is_relative_to(folder):
        raise ConfigError(
            f"{store.uri} lies in this job's own working directory, which Ray removes. Give {option} an "
            "s3://bucket/prefix, or a folder that every node sees."
        )


def check_is_shared(store: Store, n_nodes: int, option: str = "--store") -> None:
    """Refuse a local folder as the store of a cluster: each node would have one of its own.

    Parameters
    ----------
    store : Store
    n_nodes : int
        Of the cluster.
    option : str
        What names another one.

    Raises
    ------
    ConfigError
    """
    if store.is_local and n_nodes > 1 and os.environ.get(SHARED) != "1":
        raise ConfigError(
            f"{store.uri} is a local folder, and the cluster has {n_nodes} nodes, each with a folder of its own. Give "
            f"{option} s3://bucket/prefix; or set {SHARED}=1 if that folder is the same on every node."
        )
