"""Where Ray keeps its files on machines of a cluster: what their shells are told, by a shell."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.autoscaler._private.command_runner import SSHCommandRunner

from orchestrator.cluster import machine_folder
from orchestrator.cluster.machine_folder import (
    guard_command,
    guard_launcher_command,
    guard_launcher_here,
    look_command,
    ray_tmpdir,
    remove_command,
)
from orchestrator.cluster.ray_config import start_command
from orchestrator.config.cluster import ClusterFile, load_cluster
from orchestrator.errors import SetupError
from orchestrator.telemetry.session_folder import SOCKET_BYTES_ON_LINUX, SOCKET_OF_A_CLUSTER
from tests.second_user import STRANGER, only_root


@pytest.fixture
def folder() -> Iterator[Path]:
    """A path below /tmp where nothing is."""
    path = Path("/tmp") / f"sleep-{secrets.token_hex(4)}.me"
    yield path
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def shell(command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", f"({command})"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def taken(kind: str, folder: Path) -> None:
    """Put something at a path, as another user might."""
    if kind == "a link":
        folder.symlink_to("/var")
    elif kind == "a file":
        folder.touch(mode=0o600)
    else:
        folder.mkdir(mode=0o700)
        if kind == "open":
            folder.chmod(0o755)
        else:
            os.chown(folder, STRANGER, -1)


KINDS = ["a link", "a file", "open", pytest.param("a stranger's", marks=only_root)]


def test_it_is_made_closed_and_taken_again(folder: Path) -> None:
    assert shell(look_command(str(folder))).stdout == ""
    assert not folder.exists()
    for _ in range(2):
        done = shell(f"umask 000; {guard_command(str(folder))}; echo on")
        assert (done.stdout, done.stderr) == ("on\n", "")
        assert mode(folder) == 0o700
    assert shell(look_command(str(folder))).stdout == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_user_may_have_put_there_is_refused_and_left_alone(
    kind: str, folder: Path
) -> None:
    taken(kind, folder)
    done = shell(f"{guard_command(str(folder))}; echo on")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{folder} must be a folder of " in done.stderr
    assert shell(look_command(str(folder))).stdout == done.stderr
    assert os.path.lexists(folder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "open"])
def test_the_end_removes_nothing_of_others(kind: str, folder: Path) -> None:
    taken(kind, folder)
    assert shell(remove_command(str(folder), secrets.token_hex(4))).returncode == 0
    assert os.path.lexists(folder)


def test_ray_is_not_started_where_it_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("", encoding="utf-8")
    started = tmp_path / "ray.pid"
    folder.mkdir()
    folder.chmod(0o755)
    command = start_command(str(tmp_path), guard_command(str(folder)), "--no-such-option")
    assert shell(command).returncode == 1
    assert not started.exists()


def test_the_end_removes_it_and_that_of_version_0_1(folder: Path) -> None:
    name = f"x{secrets.token_hex(4)}"
    former = Path("/tmp") / f"sleep-{name}"
    for path in (folder, former):
        (path / "session_1" / "logs").mkdir(parents=True)
    command = remove_command(str(folder), name)
    assert shell(command).returncode == 0
    assert not folder.exists()
    assert former.exists()  # of somebody who has called a folder like this
    (former / "session_latest").symlink_to(former / "session_1")
    shell(command)
    assert not former.exists()


def cluster_of(folder: Path, name: str, user: str) -> ClusterFile:
    file = folder / "c.yaml"
    file.write_text(
        f"cluster_name: {name}\nprovider: {{type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}}\n"
        f"auth: {{ssh_user: {user!r}}}\n",
        encoding="utf-8",
    )
    return load_cluster(file)[0]


def test_it_is_called_by_cluster_and_user_where_sockets_have_room(tmp_path: Path) -> None:
    assert ray_tmpdir(cluster_of(tmp_path, "sleep-gpu", "ubuntu")) == "/tmp/sleep-sleep-gpu.ubuntu"
    found = {
        ray_tmpdir(cluster_of(tmp_path, name, user))
        for name in ("a" * 40, "a" * 39)
        for user in ("x", "some.body@site", "u" * 32)
    }
    assert len(found) == 6
    for path in found:
        assert len(f"{path}/ray{SOCKET_OF_A_CLUSTER}") <= SOCKET_BYTES_ON_LINUX
        assert set(path) <= set("abcdefghijklmnopqrstuvwxyz0123456789/.-")


def test_the_launchers_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their folder is where Ray has them, and where the shell of a head looks for it, too."""
    user = f"user-{secrets.token_hex(4)}"
    monkeypatch.setenv("LOGNAME", user)
    runner = SSHCommandRunner(  # type: ignore[no-untyped-call]
        "", "", None, {"ssh_user": "me"}, "c", None, False
    )
    folder = Path(runner.ssh_control_path).parent
    try:
        guard_launcher_here()
        assert mode(folder) == 0o700
        folder.rmdir()
        done = shell(f"{guard_launcher_command()}; echo on")
        assert (done.stdout, done.stderr) == ("on\n", "")
        assert mode(folder) == 0o700

        folder.chmod(0o755)  # as Ray makes it
        (folder / "c").mkdir()
        guard_launcher_here()
        assert shell(guard_launcher_command()).returncode == 0
        assert (folder / "c").exists()

        for guard in (guard_launcher_here, lambda: shell(guard_launcher_command())):
            (folder / "c").mkdir(exist_ok=True)
            folder.chmod(0o775)  # others may have put a socket there
            guard()
            assert mode(folder) == 0o700
            assert not (folder / "c").exists()

        folder.rmdir()
        folder.symlink_to("/var")
        with pytest.raises(SetupError, match="a symbolic link"):
            guard_launcher_here()
        assert f"{folder} must be" in shell(guard_launcher_command()).stderr
    finally:
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def test_the_launchers_sockets_where_others_could_exchange_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_folder, "_RAYS_SSH_FOLDER", f"{tmp_path}/ray_ssh_")
    tmp_path.chmod(0o777)
    with pytest.raises(SetupError, match=f"{tmp_path} can be written by others.*sockets there"):
        guard_launcher_here()
    assert list(tmp_path.iterdir()) == []
