"""A cluster of one node on this machine, next to any other Ray: started and ended by its own process id."""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.cluster.job_server import answers
from orchestrator.cluster.ray_config import MARK
from orchestrator.cluster.ssh import as_exports, free_port, is_open
from orchestrator.cluster.state import ClusterState, Running
from orchestrator.config.cluster import ThisMachine
from orchestrator.errors import SetupError
from orchestrator.telemetry.processes import having, in_session, started_at
from orchestrator.telemetry.session_folder import cluster_folder, remove

_START_S = 90.0
_END_S = 30.0
_LAST_S = 3.0


@dataclass(frozen=True, slots=True)
class OnThisMachine:
    """See :class:`orchestrator.cluster.launch.Provider`."""

    provider: ThisMachine
    ttl_hours: float | None
    state: ClusterState

    @property
    def python(self) -> str:
        """The one that runs here."""
        return sys.executable

    def start(self) -> Running:
        """Start the node, and wait for its job server."""
        token_file = self.state.make_token()
        ray_folder = cluster_folder(self.state.folder)
        now = datetime.now(UTC)
        ends_at = None if self.ttl_hours is None else now + timedelta(hours=self.ttl_hours)
        with self.state.log_file.open("ab") as log:
            process = subprocess.Popen(
                [*self._ended_in_time(), *self._command(ray_folder)],
                env=self._environment(token_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in this terminal, or its end, is no matter of the cluster
            )
        running = Running(
            provider=self.provider.type,
            address=f"http://127.0.0.1:{self.provider.dashboard_port}",
            launched_at=now.isoformat(timespec="seconds"),
            ends_at=None if ends_at is None else ends_at.isoformat(timespec="seconds"),
            pid=process.pid,
            process_started=started_at(process.pid),
            ray_folder=str(ray_folder),
        )
        self.state.note(running)
        deadline = time.monotonic() + _START_S
        while not answers(running.address, token_file):
            if process.poll() is not None:
                raise SetupError(f"Ray did not start on this machine: {self.state.last_words()}.")
            if time.monotonic() > deadline:
                raise SetupError(
                    f"Ray started on this machine, but its job server does not answer at {running.address} after "
                    f"{_START_S:g} s. Its output is in {self.state.log_file}."
                )
            time.sleep(0.2)
        return running

    def check(self) -> None:
        """Refuse a port that is taken, and a folder for Ray's files that is another user's."""
        cluster_folder(self.state.folder)
        taken = [
            f"provider.{key} is {port}: something listens there already. Give another one."
            for key, port in (
                ("port", self.provider.port),
                ("dashboard_port", self.provider.dashboard_port),
            )
            if not self.is_up() and is_open(port)
        ]
        if taken:
            raise SetupError(" ".join(taken))

    def can_change(self, key: tuple[str, ...]) -> bool:
        """Nothing can: Ray reads all of it at its start."""
        return False

    def update(self) -> None:
        """Do nothing: there is nothing that can change."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command here, with the cluster's address and token."""
        own = {"RAY_ADDRESS": f"127.0.0.1:{self.provider.port}"}
        return subprocess.call(command, env=self._environment(self.state.token_file) | own)

    def hand_over(self, values: Mapping[str, str]) -> str:
        """Leave them in the cluster's folder."""
        file = (
            self.state.folder / f"secrets-{secrets.token_hex(8)}"
        )  # another job may be on its way
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as out:
            out.write(as_exports(values))
        return f". {shlex.quote(str(file))}"

    def is_up(self) -> bool:
        """Tell whether the node that was launched still runs."""
        running = self.state.running()
        return running is not None and running.complete and _is_ours(running)

    def end(self) -> bool:
        """End the node and everything that it started, and nothing else."""
        running = self.state.running()
        if running is not None and _is_ours(running) and running.pid is not None:
            os.kill(running.pid, signal.SIGTERM)  # Ray ends its own processes then
        there = bool(self._processes(running))
        self._await(lambda: running is None or not _is_ours(running), _END_S)
        self._await(lambda: not self._processes(running), _LAST_S)
        for pid in self._processes(
            running
        ):  # Ray's agents would outlive the node by a minute and a half
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._await(lambda: not self._processes(running), _LAST_S)
        for folder in self._rays_folders(running):
            remove(folder)
        return there

    def remaining(self, *, only_billed: bool = False) -> list[str]:
        """Return the processes that still run, and the folders that are still there."""
        running = self.state.running()
        left = self._processes(running)
        folders = [] if only_billed else self._rays_folders(running)
        return [
            *(f"process {pid} on this machine" for pid in sorted(left)),
            *(f"{folder} on this machine" for folder in folders),
        ]

    @staticmethod
    def _await(condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _processes(self, running: Running | None) -> set[int]:
        found = having(MARK, str(self.state.folder))
        if running is None or (pid := running.pid) is None:
            return found
        # While anything of a session is left, the id of its leader is given to no other process.
        if started_at(pid) in (None, running.process_started):
            found |= in_session(pid)
        return found

    def _ended_in_time(self) -> list[str]:
        if self.ttl_hours is None:
            return []
        if (timeout := shutil.which("timeout") or shutil.which("gtimeout")) is None:
            raise SetupError(
                "ttl_hours needs the program `timeout` of GNU coreutils, which is not on the PATH. Install it (macOS: "
                "`brew install coreutils`), or leave ttl_hours out."
            )
        return [timeout, "--signal=TERM", "--kill-after=60", f"{self.ttl_hours}h"]

    def _command(self, ray_folder: Path) -> list[str]:
        limits = {"--num-cpus": self.provider.cpus, "--num-gpus": self.provider.gpus}
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            *("--disable-usage-stats", "--node-ip-address", "127.0.0.1"),
            *("--port", str(self.provider.port), "--dashboard-host", "127.0.0.1"),
            *("--dashboard-port", str(self.provider.dashboard_port)),
            *("--temp-dir", str(ray_folder)),
            # Wherever there is room, so that no other Ray is in the way.
            *("--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", "0"),
            *("--metrics-export-port", "0", "--min-worker-port", "0", "--max-worker-port", "0"),
            *(text for flag, n in limits.items() if n is not None for text in (flag, str(n))),
        ]

    def _rays_folders(self, running: Running | None) -> list[Path]:
        """Return the folders for Ray's files of this cluster that are there, also where nothing is noted of it."""
        if running is not None and running.ray_folder is not None:
            folder = Path(running.ray_folder)
        elif running is not None:  # of version 0.1
            folder = Path("/tmp") / f"sleep-{os.getuid()}-{self.state.folder.name}"
        else:
            folder = cluster_folder(self.state.folder)
        is_there = os.path.lexists(folder) and folder.lstat().st_uid == os.geteuid()
        return [folder] if is_there else []

    def _environment(self, token_file: Path) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return {
            **kept,
            MARK: str(self.state.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token_file),
        }


def _is_ours(running: Running) -> bool:
    return running.pid is not None and started_at(running.pid) == running.process_started
