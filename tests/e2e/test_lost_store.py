"""A store that fails in the middle of a sweep: keys that expire, a disk that fills up. Nothing is lost."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, S3Server, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

N_TRIALS = 14
MIB = 2**20


def write_sweep(path: Path, tiny: "Tiny") -> Path:
    head, mark, _ = tiny.sweep.read_text(encoding="utf-8").partition("  n_trials:")
    assert mark
    search = f"  n_trials: {N_TRIALS}\n  n_steps: 40\n"
    path.write_text(head.replace("name: small", f"name: {path.stem}") + search, encoding="utf-8")
    return path


def assert_complete(rows: list[dict[str, Any]]) -> None:
    trials = [row for row in rows if row["kind"] == "trial"]
    assert [row["trial"] for row in trials] == [f"t{i:03d}" for i in range(N_TRIALS)]
    assert {row["state"] for row in rows} == {"complete"}


def test_keys_that_expire_in_the_middle(
    cli: "Cli", s3_server: "S3Server", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    if not s3_server.is_rgw:
        pytest.skip("moto's server takes any secret")
    client = s3_server.client
    client.create_bucket(Bucket="expiring")
    for name, content in tools.tree(
        tiny_done.store, "epochs", "encoders", "features", "scores"
    ).items():
        client.put_object(Bucket="expiring", Key=name, Body=content)
    run = cli.having(**s3_server.env)
    sweep_file = write_sweep(cli.cwd / "expiring.yaml", tiny)

    def predictions() -> dict[str, Any]:
        found = client.list_objects_v2(Bucket="expiring", Prefix="sweeps/expiring/predictions/")
        return {item["Key"]: item["LastModified"] for item in found.get("Contents", [])}

    process = run.start("sweep", sweep_file, "--cpus", "2", "--store", "s3://expiring")
    tools.wait_for(
        lambda: len(predictions()) >= 4 or process.poll() is not None,
        timeout_s=180,
        what="some trials are finished",
    )
    s3_server.tell("deny")
    try:
        out, err = process.communicate(timeout=120)
    finally:
        s3_server.tell("allow")
    assert process.returncode == 6, out + err
    assert "Traceback" not in out + err
    assert "AWS_ACCESS_KEY_ID" in err, err
    before = predictions()
    assert 4 <= len(before) < N_TRIALS

    run("sweep", sweep_file, "--store", "s3://expiring").ok()
    after = predictions()
    assert {name: after[name] for name in before} == before, "a finished trial was run again"
    client.download_file("expiring", "sweeps/expiring/trials.parquet", str(cli.cwd / "trials"))
    assert_complete(pq.read_table(cli.cwd / "trials").to_pylist())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_in_the_middle(
    cli: "Cli", small_disk: Path, tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store, sweep_file = small_disk / "runs", write_sweep(cli.cwd / "filling.yaml", tiny)
    shutil.copytree(tiny_done.store, store, ignore=shutil.ignore_patterns("sweeps"))
    events = store / "sweeps" / "filling" / "events.jsonl"

    def told(event: str) -> int:
        lines = (
            events.read_text(encoding="utf-8").splitlines(keepends=True) if events.exists() else []
        )
        return sum(json.loads(line)["event"] == event for line in lines if line.endswith("\n"))

    process = cli.start("sweep", sweep_file, "--cpus", "2", "--store", store)
    tools.wait_for(
        lambda: told("trial_done") >= 2 or process.poll() is not None,
        timeout_s=180,
        what="some trials are finished",
    )
    (small_disk / "foreign").write_bytes(bytes(200 * MIB))
    tools.wait_for(
        lambda: told("held_for_space") == 1 or process.poll() is not None,
        timeout_s=60,
        what="the sweep waits for space",
    )
    assert process.poll() is None, process.communicate()
    assert told("trial_started") < N_TRIALS
    (small_disk / "foreign").unlink()
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, out + err
    assert "trials begin again when it has 256 MiB" in err
    assert told("space_again") == 1
    assert_complete(pq.read_table(events.with_name("trials.parquet")).to_pylist())
