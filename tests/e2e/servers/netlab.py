"""Several machines on one: each has its own network address, process table, host name, ``/tmp``, home and real sshd.

They are namespaces of the kernel, so root is needed, and on Debian ``apt-get install openssh-server rsync iproute2``.
Programs are shared with this machine; of its files, a machine sees what is passed as `shared`, read-only, and otherwise
empty folders for ``/tmp`` and the home.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path("/root")

# Mounts first, because what is mounted has to be found before the home and /tmp are covered.
_BOOT = r"""
set -e
mount --make-rprivate /
hostname {name}
stash={folder}/stash; mkdir -p $stash; mount -t tmpfs -o size=1m tmpfs $stash
i=0
for path in {shared}; do
  i=$((i+1)); if [ -d "$path" ]; then mkdir $stash/$i; else touch $stash/$i; fi; mount --rbind "$path" $stash/$i
done
for own in home tmp etc; do mkdir $stash/$own; mount --bind {folder}/$own $stash/$own; done
mount -t tmpfs tmpfs /run; mkdir -p /run/sshd /run/lock
mount -t tmpfs -o size=1g,mode=1777 tmpfs /dev/shm
cp $stash/etc/hosts /run/hosts; mount --bind /run/hosts /etc/hosts
: > /run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf  # a look-up fails at once instead of hanging
mkdir /run/sshd-files; cp $stash/etc/* /run/sshd-files/; chmod 600 /run/sshd-files/*key
mkdir /run/stash; mount --move $stash /run/stash; stash=/run/stash
mount --bind $stash/home {home}
mount --bind $stash/tmp /tmp; chmod 1777 /tmp
i=0
for path in {shared}; do
  i=$((i+1))
  if [ -d $stash/$i ]; then mkdir -p "$path"; else mkdir -p "$(dirname "$path")"; touch "$path"; fi
  mount --rbind $stash/$i "$path"; mount -o remount,bind,ro "$path" 2>/dev/null || true
done
cd {home}
env -i HOME={home} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
  /usr/sbin/sshd -D -e -f /run/sshd-files/sshd_config &
while :; do wait -n || true; sleep 0.2; done  # the first process of a machine takes in orphans
"""

_SSHD = """ListenAddress {ip}
Port 22
HostKey /run/sshd-files/host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile {home}/.ssh/authorized_keys
StrictModes no
MaxStartups 100
MaxSessions 100
"""


def is_possible() -> str:
    """Return why there can be no machines here; empty if there can."""
    missing = [
        name for name in ("ip", "sshd", "rsync", "unshare", "nsenter") if not shutil.which(name)
    ]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.getuid() != 0:
        return "needs root"
    probe = f"probe{os.getpid()}"
    commands = (
        ["ip", "netns", "add", probe],
        ["ip", "netns", "del", probe],
        ["unshare", "-mpf", "--mount-proc", "true"],
    )
    for command in commands:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"not permitted: {shlex.join(command)}"
    return ""


@dataclass
class Machine:
    """One of them."""

    name: str
    ip: str
    namespace: str
    link: str
    """The end of its cable on this machine."""
    process: "subprocess.Popen[bytes] | None" = None


@dataclass
class Netlab:
    """Machines at one switch, with this machine as its gateway."""

    folder: Path
    tag: str
    """Of all names, at most six letters."""
    subnet: str
    """First three bytes of the addresses; the gateway is ``.1``."""
    shared: Sequence[Path]
    prefix: int = 24
    machines: dict[str, Machine] = field(default_factory=dict)
    _n_made: int = 0

    @property
    def gateway(self) -> str:
        return f"{self.subnet}.1"

    @property
    def key(self) -> Path:
        """Private key that all machines take."""
        return self.folder / "id"

    def start(self) -> None:
        """Make the switch and the keys."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in (self.key, self.folder / "host_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        _run("ip", "link", "add", self._switch, "type", "bridge")
        _run("ip", "addr", "add", f"{self.gateway}/{self.prefix}", "dev", self._switch)
        _run("ip", "link", "set", self._switch, "up")

    def add(
        self, ip: str, *, public_key: str | None = None, env: Mapping[str, str] | None = None
    ) -> Machine:
        """Connect a new machine and boot it; `env` is what its login shells have."""
        self._n_made += 1
        name = f"m{self._n_made}"
        machine = Machine(
            name=name,
            ip=ip,
            namespace=f"{self.tag}-{name}",
            link=f"v{self.tag}{self._n_made}",
        )
        _run("ip", "netns", "add", machine.namespace)
        self.machines[name] = machine
        peer = ("peer", "name", "eth0", "netns", machine.namespace)
        _run("ip", "link", "add", machine.link, "type", "veth", *peer)
        _run("ip", "link", "set", machine.link, "master", self._switch, "up")
        for arguments in (
            ("addr", "add", f"{ip}/{self.prefix}", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.gateway),
        ):
            _run("ip", "-n", machine.namespace, *arguments)
        own = self.folder / name
        for part in ("home/.ssh", "tmp", "etc"):
            (own / part).mkdir(parents=True)
        (own / "home/.ssh").chmod(0o700)
        keys = public_key or (self.folder / "id.pub").read_text(encoding="utf-8")
        (own / "home/.ssh/authorized_keys").write_text(keys, encoding="utf-8")
        path = ":".join(str(p / "bin") for p in self.shared if (p / "bin").is_dir())
        settings = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in (env or {}).items())
        (own / "home/.bashrc").write_text(
            f'export PATH="{path}:$PATH"\n{settings}', encoding="utf-8"
        )
        (own / "home/.profile").write_text(". ~/.bashrc\n", encoding="utf-8")
        shutil.copy(self.folder / "host_key", own / "etc/host_key")
        (own / "etc/sshd_config").write_text(_SSHD.format(ip=ip, home=HOME), encoding="utf-8")
        self.boot(machine)
        return machine

    def boot(self, machine: Machine) -> None:
        """Start a machine; its disk is as it was."""
        own = self.folder / machine.name
        hosts = "".join(f"{m.ip} {m.name}\n" for m in self.machines.values())
        (own / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}", encoding="utf-8")
        script = own / "boot.sh"
        shared = " ".join(shlex.quote(str(path)) for path in self.shared)
        script.write_text(
            _BOOT.format(name=machine.name, folder=own, shared=shared, home=HOME), encoding="utf-8"
        )
        alone = ("unshare", "-m", "-p", "-u", "-i", "-f", "--kill-child=SIGKILL", "--mount-proc")
        with (own / "boot.log").open("wb") as log:
            machine.process = subprocess.Popen(
                ["ip", "netns", "exec", machine.namespace, *alone, "bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not _takes_ssh(machine.ip):
            log_text = (own / "boot.log").read_text(encoding="utf-8")
            assert machine.process.poll() is None, f"{machine.name} did not boot: {log_text}"
            assert time.monotonic() < deadline, f"{machine.name}: sshd does not answer: {log_text}"
            time.sleep(0.05)

    def run(self, machine: Machine, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script in a login shell on a machine."""
        inside = ("-m", "-n", "-p", "-u", "-i")
        clean = ("env", "-i", f"HOME={HOME}", "TERM=dumb", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        return subprocess.run(
            [
                *("nsenter", "-t", str(self._first_process(machine)), *inside, *clean),
                *("bash", "-c", f"cd; . ~/.bashrc; {script}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            encoding="utf-8",
        )

    def cut(self, machine: Machine) -> None:
        """Pull its cable."""
        _run("ip", "link", "set", machine.link, "down")

    def mend(self, machine: Machine) -> None:
        """Plug its cable in again."""
        _run("ip", "link", "set", machine.link, "up")

    def power_off(self, machine: Machine) -> None:
        """Cut it and end all of its processes: nobody gets a last word from it."""
        self.cut(machine)
        self._kill(machine)

    def remove(self, machine: Machine) -> None:
        """End it and throw it away."""
        self._kill(machine)
        self.machines.pop(machine.name, None)
        subprocess.run(["ip", "link", "del", machine.link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True, check=False)

    def stop(self) -> None:
        """End all of it."""
        for machine in list(self.machines.values()):
            self.remove(machine)
        subprocess.run(["ip", "link", "del", self._switch], capture_output=True, check=False)

    @property
    def _switch(self) -> str:
        return f"br{self.tag}"

    def _first_process(self, machine: Machine) -> int:
        assert machine.process is not None
        pid = machine.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()[0])

    def _kill(self, machine: Machine) -> None:
        if machine.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    machine.process.pid, signal.SIGKILL
                )  # takes the first process, and so all of them
            machine.process.wait()
            machine.process = None


def _takes_ssh(ip: str) -> bool:
    try:
        socket.create_connection((ip, 22), 0.2).close()
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
