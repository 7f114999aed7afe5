"""What end-to-end tests share: the command as a process, small recordings, an S3 server."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import edfio
import numpy as np
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from tests.conftest import Once

COMMAND = Path(sys.executable).with_name("orchestrator")
RGW = Path(__file__).parent / "servers" / "rgw.sh"

# What a user's shell would not have: settings of these tests, of the caller's cloud, of a Ray around us.
_NOT_INHERITED = ("AWS_", "RAY_", "ORCHESTRATOR_", "OMP_", "OPENBLAS_", "MKL_", "TUNE_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A command that ended."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def ok(self) -> "Result":
        """Return this result; fail the test unless the command did what it was asked to."""
        assert self.code == 0, self
        return self

    def fails(self, code: int, *parts: str) -> "Result":
        """Return this result; fail the test unless the command ended with one paragraph that says `parts`."""
        assert self.code == code, self
        assert "Traceback" not in self.out + self.err, self
        paragraph = self.err[self.err.index("Error: ") :]
        assert "\n\n" not in paragraph.rstrip("\n"), self
        for part in parts:  # where a line is wrapped depends on the length of paths
            assert part in " ".join(paragraph.split()), f"no {part!r} in: {paragraph}"
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Cli:
    """Runs the installed command as a user would, in a folder of its own."""

    cwd: Path
    env: Mapping[str, str]

    def __call__(self, *arguments: str | Path, timeout_s: float = 600) -> Result:
        """Run a command to its end."""
        started = time.monotonic()
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            kill_group(process)
            raise
        return Result(
            arguments=tuple(map(str, arguments)),
            code=process.returncode,
            out=out,
            err=err,
            seconds=time.monotonic() - started,
        )

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own, so that all of it can be ended."""
        # A shell starts background jobs with Ctrl-C ignored, `nohup` ignores a closed terminal, and a child would
        # inherit that from us.
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
            signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        }
        try:
            return subprocess.Popen(
                [COMMAND, *map(str, arguments)],
                cwd=self.cwd,
                env=dict(self.env),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                encoding="utf-8",
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def having(self, **variables: str) -> "Cli":
        """Return one with more environment variables."""
        return Cli(cwd=self.cwd, env={**self.env, **variables})


def kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill a started command and all it started, as a crash of the machine would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


TERMINATED_IN_S = 15
"""In which a command ends after SIGTERM."""

MakeCli = Callable[[Path], Cli]


@pytest.fixture(scope="session")
def make_cli(tmp_path_factory: pytest.TempPathFactory) -> MakeCli:
    """From a working directory to the command, in an environment without the caller's clouds and clusters."""
    assert COMMAND.exists(), f"{COMMAND} is missing: install the project into this environment"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    home = tmp_path_factory.mktemp("home")  # one for all: matplotlib makes its font cache there
    env = {**inherited, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    return lambda folder: Cli(cwd=folder, env=env)


@pytest.fixture
def cli(make_cli: MakeCli, tmp_path: Path) -> Cli:
    """The command, with an empty folder as working directory."""
    return make_cli(tmp_path)


TINY_DATASET = """\
name: tiny
title: Noise with stages
licence: none (generated)
recordings:
  - files: "*.edf"
    subject: '^s[0-9]+'
    stages:
      from: annotations
channels:
  eeg: [[EEG]]
"""

TINY_SWEEP = """\
name: small
method: selective
stages: [W, N2]
source:
  dataset: tiny
  exclude: [s06]
  validation: [s04, s05]
target:
  dataset: tiny
  subjects: [s06]
batch_size: 8
pretrain:
  n_passes: 1
  batch_size: 16
  patience: 1
search:
  n_trials: 8
  n_steps: 2
  max_concurrent: 1
  sampler: {name: tpe, options: {n_startup_trials: 3}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiny:
    """A data set of a few small recordings, its dataset file and a sweep over it."""

    data: Path
    dataset: Path
    sweep: Path
    n_recordings: int


def write_edf(
    path: Path,
    *,
    seed: int,
    n_epochs: int = 40,
    n_annotated: int | None = None,
    channel: str = "EEG",
) -> None:
    """Write an EDF+ of noise at 100 Hz whose stages alternate: N2 is slower and larger than W.

    Parameters
    ----------
    n_annotated : int, optional
        Epochs with a stage; those of the signal by default.
    """
    rng = np.random.default_rng(seed)
    texts = ["Sleep stage W", "Sleep stage 2"]
    signal_uv = rng.normal(0, 20, n_epochs * 3000)
    slow_uv = np.convolve(signal_uv, np.ones(25) / 6, mode="same")
    for epoch in range(1, n_epochs, 2):
        signal_uv[epoch * 3000 : (epoch + 1) * 3000] = slow_uv[epoch * 3000 : (epoch + 1) * 3000]
    edfio.Edf(
        [edfio.EdfSignal(signal_uv, 100, label=channel, physical_dimension="uV")],
        annotations=[
            edfio.EdfAnnotation(30 * epoch, 30, texts[epoch % 2])
            for epoch in range(n_annotated or n_epochs)
        ],
    ).write(path)


def write_tiny(folder: Path, n_recordings: int = 6, n_epochs: int = 40) -> Tiny:
    """Write recordings of subjects s01, s02 ... with their files."""
    data = folder / "recordings"
    data.mkdir()
    for i in range(1, n_recordings + 1):
        write_edf(data / f"s{i:02d}.edf", seed=i, n_epochs=n_epochs)
    (folder / "tiny.yaml").write_text(TINY_DATASET, encoding="utf-8")
    (folder / "small.yaml").write_text(TINY_SWEEP, encoding="utf-8")
    return Tiny(
        data=data,
        dataset=folder / "tiny.yaml",
        sweep=folder / "small.yaml",
        n_recordings=n_recordings,
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Six subjects of 20 minutes; tests must not change the folder."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Nights:
    """Recordings that take a second or more each, so that an ingest can be caught in the middle."""

    data: Path
    dataset: Path
    name: str
    """Of the data set."""
    n_recordings: int


@pytest.fixture(scope="session")
def nights(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """The real nights where the machine has them, else generated ones; tests must not change the folder."""
    folder = os.environ.get("SLEEP_TEST_DATA", "")
    if os.environ.get("REQUIRE_TEST_DATA") == "1" or (folder and Path(folder).is_dir()):
        real = Path(folder, "ucddb")
        n_recordings = len(list(real.glob("ucddb*.edf")))
        assert n_recordings == 13, f"SLEEP_TEST_DATA={folder!r} does not hold the 13 nights"
        return Nights(
            data=real.resolve(),
            dataset=root / "datasets" / "ucddb.yaml",
            name="ucddb",
            n_recordings=n_recordings,
        )
    generated = write_tiny(tmp_path_factory.mktemp("nights"), n_recordings=8, n_epochs=600)
    return Nights(
        data=generated.data,
        dataset=generated.dataset,
        name="tiny",
        n_recordings=generated.n_recordings,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A local store and the commands that filled it, undisturbed."""

    store: Path
    results: tuple[Result, ...]


@pytest.fixture(scope="session")
def nights_done(nights: Nights, make_cli: MakeCli, once: "Once") -> Done:
    """A store with the nights ingested; tests must not change what is in it, but may add."""

    def fill(folder: Path) -> Done:
        result = make_cli(folder)("ingest", nights.dataset, "--data", nights.data).ok()
        return Done(store=folder / "runs", results=(result,))

    done: Done = once("nights-done", fill)
    return done


@pytest.fixture(scope="session")
def ucddb_done(
    test_data: Path, nights_done: Done, make_cli: MakeCli, root: Path, once: "Once"
) -> Done:
    """The real nights, swept and reviewed by README's commands, in a shorter sweep. Minutes, so it is done once."""

    def fill(_: Path) -> Done:
        run = make_cli(nights_done.store.parent)
        text = (root / "sweeps" / "tau-ucddb.yaml").read_text(encoding="utf-8")
        for published, shorter in (("n_passes: 8", "n_passes: 1"), ("n_trials: 12", "n_trials: 6")):
            assert text.count(published) == 1
            text = text.replace(published, shorter)
        file = nights_done.store.parent / "tau-ucddb.yaml"
        file.write_text(text, encoding="utf-8")
        sweep = run("sweep", file).ok()
        review = run("review", "tau-ucddb").ok()
        return Done(store=nights_done.store, results=(*nights_done.results, sweep, review))

    done: Done = once("ucddb-done", fill)
    return done


@pytest.fixture(scope="session")
def tiny_done(tiny: Tiny, make_cli: MakeCli, once: "Once") -> Done:
    """The small recordings, ingested and swept; tests must not change the store."""

    def fill(folder: Path) -> Done:
        run = make_cli(folder)
        ingest = run("ingest", tiny.dataset, "--data", tiny.data).ok()
        return Done(store=folder / "runs", results=(ingest, run("sweep", tiny.sweep).ok()))

    done: Done = once("tiny-done", fill)
    return done


def tree(store: Path, *folders: str) -> dict[str, bytes]:
    """Return the content of all files in some folders of a store, without the event logs, which hold times."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for folder in folders
        for path in sorted((store / folder).rglob("*"))
        if path.is_file() and path.name != "events.jsonl"
    }


def wait_for(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Return as soon as a condition holds; fail the test if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {timeout_s:g} s: {what}"
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Return the ids of all processes that a process started, directly or not."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        mine = children.get(todo.pop(), [])
        found.update(mine)
        todo += mine
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_driver(process: "subprocess.Popen[str]") -> None:
    """Kill the command's own process alone, and see that Ray's processes end by themselves."""
    # Not the two agents of a node: they write nothing of ours, and try for a minute to tell the dead cluster.
    started = {pid for pid in descendants(process.pid) if "agent" not in command_line(pid).lower()}
    assert started, "Ray was not running"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    wait_for(
        lambda: not any(map(is_running, started)),
        timeout_s=30,
        what="workers and daemons of the killed command end",
    )


def end_when(
    moment: Callable[["subprocess.Popen[str]"], bool],
    process: "subprocess.Popen[str]",
) -> str:
    """End the command's group at a moment, see that it and all of Ray end in time, and return what the command says."""
    wait_for(
        lambda: moment(process) or process.poll() is not None, timeout_s=120, what="the moment"
    )
    assert process.poll() is None, process.communicate()
    started = descendants(process.pid)
    assert started, "Ray was not running"
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert process.returncode == 130, out + err
    assert seconds < TERMINATED_IN_S, out + err
    assert "Traceback" not in out + err
    wait_for(lambda: not any(map(is_running, started)), timeout_s=30, what="all of Ray ends")
    return " ".join(err.split())


def kill_tree(process: "subprocess.Popen[str]") -> None:
    """Kill the command and all processes that it started at once, as a power cut would."""
    pids = descendants(process.pid)
    process.kill()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


class Tools:
    """The functions of this file: a test file can ask for a fixture, but not import its conftest."""

    tree = staticmethod(tree)
    wait_for = staticmethod(wait_for)
    kill_group = staticmethod(kill_group)
    kill_driver = staticmethod(kill_driver)
    kill_tree = staticmethod(kill_tree)
    end_when = staticmethod(end_when)
    write_edf = staticmethod(write_edf)
    descendants = staticmethod(descendants)
    command_line = staticmethod(command_line)
    is_running = staticmethod(is_running)

    @staticmethod
    def free_ports(n: int) -> int:
        """Return the first of `n` neighbouring ports that nobody listens on."""
        return _free_ports(n)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    """Functions that several test files use."""
    return Tools


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Server:
    """An S3 endpoint on the loopback address."""

    endpoint: str
    key: str
    secret: str = field(repr=False)
    is_rgw: bool
    """False: a mock that takes any secret."""
    folder: Path
    """Of its files."""

    @property
    def client(self) -> Any:
        """A client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(request_checksum_calculation="when_required"),
        )

    def tell(self, action: str) -> None:
        """Have the real server ``kill``, ``resume``, ``deny`` or ``allow``."""
        _run([str(RGW), action, str(self.folder)])

    @property
    def env(self) -> dict[str, str]:
        """What a user of such a server sets."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # Ceph 16 does not know the checksums that today's clients send unasked.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real Ceph RGW where it is installed, else moto's server; ``REQUIRE_RGW=1`` insists on the first."""
    folder = tmp_path_factory.mktemp("s3")
    server = S3Server(
        endpoint=f"http://127.0.0.1:{_free_ports(2)}",
        key="test-key",
        secret=secrets.token_hex(16),
        is_rgw=shutil.which("radosgw") is not None,
        folder=folder,
    )
    if not server.is_rgw and os.environ.get("REQUIRE_RGW") == "1":
        pytest.fail("REQUIRE_RGW=1, but radosgw is not on the PATH")
    start = _start_rgw if server.is_rgw else _start_moto
    stop = start(server, folder)
    yield server
    stop()


StartS3 = Callable[[str], S3Server]
"""From an address of this machine to a real S3 server that listens there, too."""


@pytest.fixture(scope="session")
def start_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartS3]:
    """Starts real S3 servers for machines of their own, see tests/e2e/servers/netlab.py."""
    started: list[S3Server] = []

    def start(host: str) -> S3Server:
        assert shutil.which("radosgw"), "a real S3 server is needed: radosgw is not on the PATH"
        server = S3Server(
            endpoint=f"http://{host}:{_free_ports(2)}",
            key="test-key",
            secret=secrets.token_hex(16),
            is_rgw=True,
            folder=tmp_path_factory.mktemp("s3-of-machines"),
        )
        _start_rgw(server, server.folder, host)
        started.append(server)
        return server

    yield start
    for server in started:
        _run([str(RGW), "stop", str(server.folder)])


def _start_rgw(server: S3Server, folder: Path, host: str = "") -> Callable[[], None]:
    port = server.endpoint.rpartition(":")[2]
    command = [str(RGW), "start", str(folder), port, server.key, server.secret]
    _run(command, {"RGW_ALSO_ON": host})
    return lambda: _run([str(RGW), "stop", str(folder)])


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(env or {})},
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr


def _start_moto(server: S3Server, folder: Path) -> Callable[[], None]:
    command = Path(sys.executable).with_name("moto_server")
    port = server.endpoint.rpartition(":")[2]
    with (folder / "moto.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [command, "-H", "127.0.0.1", "-p", port],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "moto.log").read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"{server.endpoint}/moto-api/data.json", timeout=5) as page:
                return isinstance(json.load(page), dict)
        except urllib.error.URLError:
            return False

    def stop() -> None:
        process.kill()
        process.wait()

    wait_for(answers, timeout_s=60, what="moto_server answers")
    return stop


def _free_ports(n: int) -> int:
    """Return the first of `n` neighbouring ports that nobody listens on, below those that connections are given.

    From one of the latter, a server that was killed may not start again: a client that tries to reach it meanwhile may
    be given that very port, and be connected to itself.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        if all(_is_free(port + i) for i in range(n)):
            return port
    raise RuntimeError(f"no {n} neighbouring free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
