"""A sweep as a job on a cluster: what is sent there, and what comes back."""

import asyncio
import contextlib
import math
import os
import shlex
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import (
    ConfigError,
    OrchestratorError,
    SetupError,
    StoreUnreachableError,
)
from orchestrator.store.placement import SHARED

MAX_PACKAGE_BYTES = 100 * 2**20
"""Ray's dashboard refuses more."""

SWEEP_FILE = "sweep.yaml"

NOT_SENT = (".git", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")
"""Folders of a working directory that stay where they are."""

AGAIN_S = 20.0
"""How long a job server may not answer."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A sweep to submit."""

    sweep_file: Path
    store_uri: str
    """Absolute, as the cluster sees it."""
    options: tuple[str, ...] = ()
    """Further options of ``orchestrator sweep``."""
    wheel: Path | None = None
    """Of this project, for a cluster where it is not installed but what it needs is."""
    working_dir: Path | None = None
    """A folder of the user's to send along."""
    python: str = "python"
    """How the cluster calls Python."""
    before: str | None = None
    """A command of the shell that it is started from."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further environment; in the logs of Ray, so that nothing in it may be secret."""

    @property
    def entrypoint(self) -> str:
        """The command that runs there."""
        command = (self.python, "-m", "orchestrator", "sweep", SWEEP_FILE)
        run = shlex.join((*command, "--store", self.store_uri, *self.options))
        return run if self.before is None else f"{self.before}; {run}"


def submit(job: Job, find: Callable[[], str], say: Say) -> int:
    """Run a sweep on a cluster, print its output as it comes, and return its exit code.

    Parameters
    ----------
    job : Job
    find : callable
        Gives the address of the cluster's dashboard, such as ``http://127.0.0.1:8265``. Asked again where that does not
        answer any more.
    say : callable
        Takes a line of output.

    Raises
    ------
    ConfigError
        The package is too large, or a file of it cannot be used.
    StoreUnreachableError
        No job server answers at `address`, or it refuses the token.
    SetupError
        The job could not be started there, or the job server is gone.
    """
    from ray.exceptions import RayError

    address = find()
    with package(job) as folder:
        client = _client(address)
        try:
            job_id: str = client.submit_job(
                entrypoint=job.entrypoint, runtime_env=_runtime_env(folder, job.settings)
            )
        except (RuntimeError, RayError) as error:
            raise _refused(address, error) from error
    say(f"job {job_id} at {address}; it goes on when this command ends")
    info = follow(lambda: _client(find()), job_id, address, say)
    code: int | None = info.driver_exit_code
    if code is None:
        raise SetupError(f"job {job_id} {info.status}: {info.message}")
    return code


@contextmanager
def package(job: Job) -> Iterator[Path]:
    """Make the folder that is sent: the sweep file, and what the job names besides.

    Raises
    ------
    ConfigError
        It is too large, with what takes the most; or the wheel is none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "job"
        folder.mkdir()
        if job.working_dir is not None:
            check_size(job.working_dir)
            shutil.copytree(
                job.working_dir,
                folder,
                ignore=shutil.ignore_patterns(*NOT_SENT),
                dirs_exist_ok=True,
            )
        if job.wheel is not None:
            _unpack(job.wheel, folder)
        shutil.copyfile(job.sweep_file, folder / SWEEP_FILE)
        yield folder


def check_size(folder: Path) -> None:
    """Refuse a folder that is too large to send, and name what takes the most.

    Raises
    ------
    ConfigError
        With the largest files in it.
    """
    files = sorted(_sent(folder), key=lambda item: -item[1])
    total = sum(size for _, size in files)
    if total <= MAX_PACKAGE_BYTES:
        return
    named = ", ".join(f"{path.relative_to(folder)} ({_mib(size)})" for path, size in files[:5])
    raise ConfigError(
        f"{folder} has {_mib(total)}; a job's working directory may have {_mib(MAX_PACKAGE_BYTES)}. The largest files: "
        f"{named}. Data belong into the store; without --working-dir only the sweep file is sent."
    )


def _sent(folder: Path) -> Iterator[tuple[Path, int]]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_SENT]
        for name in files:
            path = Path(root, name)
            yield path, path.stat().st_size


def _unpack(wheel: Path, folder: Path) -> None:
    """Put the content of a wheel where a job's Python looks first. Ray would install it with all that it needs."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if "orchestrator/__main__.py" not in archive.namelist():
                raise ConfigError(f"{wheel} is no wheel of sleep-orchestrator.")
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{wheel} cannot be read as a wheel: {error}.") from error


def _runtime_env(folder: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    declared = os.environ.get(SHARED)  # about the store, which the job cannot know
    variables = {**settings, **({SHARED: declared} if declared else {})}
    return {"working_dir": str(folder), **({"env_vars": variables} if variables else {})}


def _client(address: str) -> Any:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, RayError) as error:
        raise _refused(address, error) from error


def _refused(address: str, error: Exception) -> StoreUnreachableError:
    text = " ".join(str(error).split())
    return StoreUnreachableError(
        f"no job can be submitted at {address}: {text[:300]}. Give the address of the cluster's dashboard, such as "
        "http://127.0.0.1:8265, and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN if it wants a token."
    )


def follow(connect: Callable[[], Any], job_id: str, address: str, say: Say) -> Any:
    """Print what a job writes until it ends, also across a job server that does not answer for a while.

    Parameters
    ----------
    connect : callable
        Gives a ``ray.job_submission.JobSubmissionClient``; asked again where one does not answer any more.
    job_id : str
    address : str
        Of the job server, for messages.
    say : callable
        Takes a line of output.

    Returns
    -------
    ray.job_submission.JobDetails

    Raises
    ------
    SetupError
        The job server is gone.
    """
    import aiohttp

    client = connect()
    n_said = 0

    async def tail() -> None:
        nonlocal n_said
        n_heard = 0
        async for text in client.tail_job_logs(job_id):  # each time from the beginning
            news = text[max(0, n_said - n_heard) :]
            n_heard += len(text)
            n_said = max(n_said, n_heard)
            for line in news.splitlines():
                say(line)

    deadline = math.inf
    while True:
        before, began = n_said, time.monotonic()
        trouble = "its log ended before the job did"
        try:
            asyncio.run(tail())
            info = client.get_job_info(job_id)
            if info.status.is_terminal():
                return info
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            trouble = " ".join(str(error).split())[:200]
        now = time.monotonic()
        if n_said > before or now - began > AGAIN_S:  # it has answered meanwhile
            deadline = math.inf
        deadline = min(deadline, now + AGAIN_S)
        if now >= deadline:
            raise SetupError(
                f"the job server at {address} does not answer any more ({trouble}). Unless the cluster has ended, job "
                f"{job_id} goes on there; the same command takes the sweep up wherever it is."
            )
        time.sleep(AGAIN_S / 20)
        with contextlib.suppress(OrchestratorError):
            client = connect()


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB"
