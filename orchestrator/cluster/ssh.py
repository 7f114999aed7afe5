"""The machines of a cluster by SSH: a command on one, and a tunnel to its job server."""

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster.state import Running
from orchestrator.config.cluster import Auth
from orchestrator.errors import SetupError
from orchestrator.telemetry.processes import started_at

_CONNECT_S = 15

SSH_FAILED = 255
"""Exit code of ssh where it did not reach a machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ssh:
    """How the machines of a cluster are reached."""

    auth: Auth
    known_hosts: Path
    """Keys of the machines: noted when one is seen first, and compared ever after."""

    def command(self, host: str, *options: str) -> list[str]:
        """Return ``ssh`` with its options, up to the host."""
        key = self.auth.ssh_private_key
        proxy = self.auth.ssh_proxy_command
        return [
            *("ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"),
            *(
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                f"UserKnownHostsFile={self.known_hosts}",
            ),
            *(
                "-o",
                "LogLevel=ERROR",
                "-o",
                "ServerAliveInterval=10",
                "-o",
                "ServerAliveCountMax=3",
            ),
            *(
                ()
                if key is None
                else ("-i", str(Path(key).expanduser()), "-o", "IdentitiesOnly=yes")
            ),
            *(() if proxy is None else ("-o", f"ProxyCommand={proxy}")),
            *options,
            f"{self.auth.ssh_user}@{host}",
        ]

    def run(
        self, host: str, script: str, timeout_s: float = 60.0, told: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a script of bash on a machine; its exit code is 255 where the machine is not reached.

        Parameters
        ----------
        host, script : str
        timeout_s : float
        told : str
            What the script reads: secrets are on no command line.
        """
        command = [*self.command(host), f"bash -c {shlex.quote(script)}"]
        try:
            return subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                check=False,
                input=told,
            )
        except subprocess.TimeoutExpired:
            said = f"no answer within {timeout_s:g} s"
            return subprocess.CompletedProcess(command, SSH_FAILED, stdout="", stderr=said)

    def hand_over(self, host: str, folder: str, values: Mapping[str, str]) -> str:
        """Put values on a machine where only the cluster's user reads them.

        Parameters
        ----------
        host : str
        folder : str
            Of the cluster, on the machine.
        values : mapping
            Environment variables.

        Returns
        -------
        str
            A shell command that sets them.

        Raises
        ------
        SetupError
            The machine is not reached.
        """
        file = f"{folder}/secrets-{secrets.token_hex(8)}"  # another job may be on its way
        done = self.run(host, f"umask 077; cat > {file}", told=as_exports(values))
        if refused := unreachable([(host, done)]):
            raise SetupError(f"no SSH to {', '.join(refused)}.")
        return f". {file}"

    def last_lines(self, host: str, file: str) -> str:
        """Return the end of a file on a machine; what ssh says where there is none."""
        done = self.run(host, f"tail -n 5 {file}")
        return done.stdout or done.stderr

    def call(self, host: str, script: str) -> int:
        """Run a script of bash on a machine in this terminal, and return its exit code."""
        terminal = ("-t",) if sys.stdin.isatty() else ()
        return subprocess.call([*self.command(host, *terminal), f"bash -c {shlex.quote(script)}"])

    def tunnel(self, host: str, remote_port: int, local_port: int, log: Path) -> int:
        """Lead a port of the loopback address here to one of the loopback address there, until the process ends.

        Returns
        -------
        int
            Id of the process, which outlives this one.

        Raises
        ------
        SetupError
            It did not come up.
        """
        forward = f"127.0.0.1:{local_port}:127.0.0.1:{remote_port}"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command(host, "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _CONNECT_S + 5
        while not is_open(local_port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise SetupError(
                    f"no SSH tunnel to {self.auth.ssh_user}@{host}; what ssh said is in {log}."
                )
            time.sleep(0.1)
        return process.pid


def as_exports(values: Mapping[str, str]) -> str:
    """Return environment variables as a shell reads them."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def check_key(auth: Auth) -> None:
    """Refuse a key that is not there.

    Raises
    ------
    SetupError
        With what the file says.
    """
    key = auth.ssh_private_key
    if key is not None and not Path(key).expanduser().exists():
        raise SetupError(f"auth.ssh_private_key is {key}: no such file on this machine.")


def end_tunnel(running: Running) -> None:
    """End the tunnel of a cluster, unless it has ended and its id is another's by now."""
    if running.pid is not None and started_at(running.pid) == running.process_started:
        os.kill(running.pid, signal.SIGTERM)


def is_open(port: int) -> bool:
    """Tell whether something listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unreachable(results: Sequence[tuple[str, "subprocess.CompletedProcess[str]"]]) -> list[str]:
    """Return the machines whose command failed, each with what it said."""
    return [
        f"{host} ({' '.join(done.stderr.split())[-200:] or f'exit {done.returncode}'})"
        for host, done in results
        if done.returncode != 0
    ]
