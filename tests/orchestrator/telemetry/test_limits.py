"""What a process may use, read from the files that a kernel shows in a container, on a cluster's node, on a laptop."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator import doctor
from orchestrator.sweeps.workers import Room
from orchestrator.telemetry import limits
from orchestrator.telemetry.limits import (
    SMALLEST_STORE,
    free_memory,
    has_memory_limit,
    n_usable_cpus,
    object_store_bytes,
)

GIB = 2**30
PLENTY = 1000 * GIB
UNLIMITED_V1 = "9223372036854771712"

V1_IN_DOCKER = {
    # the host's path, which does not exist below the container's mount
    "proc/self/cgroup": "4:memory:/docker/3f2a\n2:cpu,cpuacct:/docker/3f2a\n0::/system.slice",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}",
    "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
}
V2_IN_DOCKER = {
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/memory.max": f"{4 * GIB}",
    "sys/fs/cgroup/memory.current": f"{3 * GIB}",
    "sys/fs/cgroup/memory.stat": f"file 7\ninactive_file {GIB}\n",
    "sys/fs/cgroup/cpu.max": "250000 100000",
}
NESTED = {  # a job of SLURM: the step may take more than the job
    "proc/self/cgroup": "0::/system.slice/job_7/step_0",
    "sys/fs/cgroup/system.slice/memory.max": "max",
    "sys/fs/cgroup/system.slice/memory.current": f"{90 * GIB}",
    "sys/fs/cgroup/system.slice/job_7/memory.max": f"{8 * GIB}",
    "sys/fs/cgroup/system.slice/job_7/memory.current": f"{6 * GIB}",
    "sys/fs/cgroup/system.slice/job_7/memory.stat": "inactive_file 0",
    "sys/fs/cgroup/system.slice/job_7/cpu.max": "150000 100000",
    "sys/fs/cgroup/system.slice/job_7/step_0/memory.max": f"{16 * GIB}",
    "sys/fs/cgroup/system.slice/job_7/step_0/memory.current": f"{5 * GIB}",
    "sys/fs/cgroup/system.slice/job_7/step_0/cpu.max": "max 100000",
}
UNLIMITED = {
    "proc/self/cgroup": "4:memory:/user\n3:cpu:/user\n0::/",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}",
    "sys/fs/cgroup/memory/user/memory.limit_in_bytes": UNLIMITED_V1,
    "sys/fs/cgroup/memory/user/memory.usage_in_bytes": f"{GIB}",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
}
EXCEEDED = V2_IN_DOCKER | {"sys/fs/cgroup/memory.current": f"{6 * GIB}"}


@pytest.fixture
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=PLENTY)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.usefixtures("_large_machine")
@pytest.mark.parametrize(
    ("files", "free", "n_cpus"),
    [
        (V1_IN_DOCKER, 2 * GIB, 2),
        (V2_IN_DOCKER, 2 * GIB, 2),
        (V2_IN_DOCKER | {"sys/fs/cgroup/cpu.max": "50000 100000"}, 2 * GIB, 1),
        (NESTED, 2 * GIB, 1),
        (UNLIMITED, PLENTY, 64),
        (EXCEEDED, 0, 2),
        (dict.fromkeys(V2_IN_DOCKER, "") | {"proc/self/cgroup": "0::/"}, PLENTY, 64),
        ({}, PLENTY, 64),
    ],
    ids=["v1", "v2", "half a CPU", "nested", "unlimited", "exceeded", "empty", "no cgroups"],
)
def test_the_tightest_cgroup_counts(
    files: dict[str, str], free: int, n_cpus: int, tmp_path: Path
) -> None:
    write_all(tmp_path, files)
    assert free_memory(tmp_path) == free
    assert has_memory_limit(tmp_path) == (free != PLENTY)
    assert n_usable_cpus(tmp_path) == n_cpus


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    write_all(tmp_path, UNLIMITED)
    available = psutil.virtual_memory().available
    assert free_memory(tmp_path) == pytest.approx(available, rel=0.5)
    assert n_usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("free", "shared", "platform", "expected"),
    [
        (10 * GIB, 100 * GIB, "linux", 2 * GIB),
        (PLENTY, 100 * GIB, "linux", 8 * GIB),
        (PLENTY, GIB, "linux", GIB),
        (10 * GIB, 64 * 2**20, "linux", 2 * GIB),  # Docker's: Ray takes the disk
        (PLENTY, None, "darwin", 2 * GIB),
        (GIB, 100 * GIB, "linux", SMALLEST_STORE),
    ],
)
def test_the_object_store_fits_where_it_lies(
    free: int, shared: int | None, platform: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "free_memory", lambda _: free)
    monkeypatch.setattr(limits, "free_shared_memory", lambda _: shared)
    monkeypatch.setattr(sys, "platform", platform)
    assert object_store_bytes() == expected


def test_a_system_that_knows_neither_cgroups_nor_linux_names_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As macOS: no /proc, no /dev/shm, no CPU affinity, and a sysconf that knows no free pages."""

    def sysconf(name: str) -> int:
        raise ValueError(f"unrecognized configuration name {name!r}")

    nothing = Path("/nothing/of/the/kind")
    monkeypatch.setattr(os, "sysconf", sysconf)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for function in (free_memory, n_usable_cpus, object_store_bytes):
        monkeypatch.setattr(function, "__defaults__", (nothing,))
    assert n_usable_cpus() == os.cpu_count()
    assert free_memory() > 0
    assert object_store_bytes() >= SMALLEST_STORE
    assert "GiB free" in doctor._memory().detail
    assert doctor._processors().detail.startswith(str(os.cpu_count()))
    assert Room.of_this_machine(None).total["CPU"] == os.cpu_count()


@pytest.mark.heavy
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounts, as root"
)
def test_a_container_s_limit_is_seen_where_the_kernel_shows_it(tmp_path: Path) -> None:
    """The doctor's own process, with a stand-in for a container's cgroup mounted over the machine's."""
    group = {
        "memory.max": f"{3 * GIB}",
        "memory.current": f"{2 * GIB}",
        "memory.stat": "",
        "cpu.max": "100000 100000",
    }
    write_all(tmp_path, {**group, "memory/memory.limit_in_bytes": UNLIMITED_V1})
    code = "from orchestrator import doctor; print(doctor._memory().detail, doctor._processors().detail, sep='|')"
    mount = f"mount --bind {tmp_path} /sys/fs/cgroup && exec {sys.executable} -c {code!r}"
    mounted = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount]
    if subprocess.run([*mounted[:-1], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    done = subprocess.run(mounted, capture_output=True, text=True, check=True, encoding="utf-8")
    memory, cpus = done.stdout.split("|")
    assert memory.startswith("1.0 GiB free, as far as a cgroup lets this process")
    assert cpus.startswith("1 CPU")


def write_all(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
