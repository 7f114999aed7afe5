"""A data set staged by a job of a cluster, from store to bucket, with the command of docs/predict.md."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.predict.files import output_names

if TYPE_CHECKING:
    from tests.e2e.cluster.conftest import Cluster, MakeCluster
    from tests.e2e.conftest import Cli, Done, S3Server, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.cluster, pytest.mark.full, pytest.mark.timeout(600)]

BUCKET = "staged-by-a-job"


def command_of_the_page(root: Path, cluster: "Cluster") -> list[str]:
    """Return the command of docs/predict.md without the program, with this cluster, sweep, data set and bucket."""
    page = (root / "docs" / "predict.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ray job submit .*$", page, re.M)
    for written, here in (
        ("http://127.0.0.1:8265", cluster.job_server),
        (" tau ", " small "),
        ("sleep-edf", "tiny"),
        ("s3://sleep-lab/runs", f"s3://{BUCKET}/runs"),
        ("s3://sleep-lab/staged", f"s3://{BUCKET}/staged"),
    ):
        assert line.count(written) == 1
        line = line.replace(written, here)
    program, *command = shlex.split(line)
    assert program == "ray"
    return command


def submit(cli: "Cli", command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *command],
        cwd=cli.cwd,
        env=dict(cli.env),
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        timeout=300,
    )


def objects(client: Any) -> dict[str, Any]:
    """Return when each object of the staged nights was written, without what Arrow leaves for a folder."""
    found = client.list_objects_v2(Bucket=BUCKET, Prefix="staged/").get("Contents", ())
    times = {item["Key"].removeprefix("staged/"): item["LastModified"] for item in found}
    return {name: time for name, time in times.items() if name}


def test_a_job_stages_a_data_set_once(
    root: Path,
    tiny: "Tiny",
    tiny_done: "Done",
    s3_server: "S3Server",
    make_cluster: "MakeCluster",
    make_cli: "Callable[[Path], Cli]",
    tmp_path: Path,
    tools: "type[Tools]",
) -> None:
    client = s3_server.client
    client.create_bucket(Bucket=BUCKET)
    for name, content in tools.tree(tiny_done.store, "epochs", "sweeps").items():
        client.put_object(Bucket=BUCKET, Key=f"runs/{name}", Body=content)
    cluster: Cluster = make_cluster(s3_server.env, n_nodes=2)
    cli = make_cli(tmp_path).having(**cluster.driver_env)
    command = command_of_the_page(root, cluster)

    done = submit(cli, command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"s3://{BUCKET}/staged" in done.stdout
    nights = sorted(path.stem for path in tiny.data.glob("*.edf"))
    assert len(nights) == tiny.n_recordings
    staged = objects(client)
    assert sorted(staged) == sorted(name for night in nights for name in output_names(night))
    for night in nights:
        key = f"staged/{night}_summary.json"
        summary = json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        assert summary["model"]["name"].startswith("small:t")

    again = submit(cli, command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("staged before") == tiny.n_recordings
    assert objects(client) == staged

    local = submit(cli, [*command[: command.index("--out")], "--out", str(tmp_path / "staged")])
    assert local.returncode == 1
    assert "the cluster has 2 nodes" in " ".join(local.stdout.split())
    assert not (tmp_path / "staged").exists()
