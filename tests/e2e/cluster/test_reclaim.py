"""Spot machines that are taken away under trials: with Amazon's notice, and without any."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.store import paths
from tests.e2e.servers.cloud import BUCKET, Cloud
from trainables.snapshot import Snapshot

if TYPE_CHECKING:
    from tests.e2e.conftest import Tiny, Tools

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="five minutes: make test-cluster"),
]

NAME, N_STEPS, INTERVAL_S = "two", 2200, 10.0


class Sweep:
    """What the store knows of the sweep while it runs."""

    def __init__(self, cloud: Cloud) -> None:
        self._s3 = cloud.s3.client

    def read(self, path: str) -> Any:
        return self._s3.get_object(Bucket=BUCKET, Key=f"spot/{path}")

    def live(self) -> dict[str, dict[str, Any]]:
        """Return what each running trial last said, by signature."""
        prefix = f"spot/{paths.live_metrics(NAME, '')}".removesuffix(".json")
        listed = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())
        found = {}
        for key in (item["Key"] for item in listed):
            try:
                body = self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            except self._s3.exceptions.NoSuchKey:  # it has just ended
                continue
            if body:  # Ceph 16 may give nothing of an object that is being replaced
                found[Path(key).stem] = json.loads(body)
        return found

    def saved(self, signature: str) -> tuple[int, datetime]:
        """Return the step of a trial's checkpoint, and when it was written."""
        found = self.read(paths.trial_checkpoint(NAME, signature))
        snapshot: Snapshot[Any] = Snapshot.from_bytes(found["Body"].read())
        return snapshot.progress.n_steps, found["LastModified"]

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.read(paths.sweep_events(NAME))["Body"].read().decode().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def runs_a_trial(cloud: Cloud, instance: str) -> bool:
    """Whether a machine has a process that Ray Tune gave a trial."""
    titles = cloud.net.run(cloud.bodies.machines[instance], "ps -eo args=").stdout
    return "ray::ImplicitFunc" in titles


def test_a_trial_leaves_a_machine_that_goes_and_outlives_one_that_is_gone(
    cloud: Cloud, tiny: "Tiny", tools: "type[Tools]", tmp_path: Path
) -> None:
    cli = cloud.cli
    file = cloud.file(
        "spot",
        available_node_types__small_gpu__min_workers=2,
        available_node_types__small_gpu__resources={"CPU": 1},  # so each has one trial
        available_node_types__large_gpu__max_workers=0,
    )
    cli("launch", file, "--yes").ok()
    try:
        cli("ingest", tiny.dataset, "--data", tiny.data, "--store", f"s3://{BUCKET}/spot").ok()
        content: dict[str, Any] = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8"))
        content |= {"name": NAME, "arms": []}
        content["search"] |= {"n_trials": 2, "max_concurrent": 2, "n_steps": N_STEPS}
        sweep_file = tmp_path / "sweep.yaml"
        sweep_file.write_text(yaml.safe_dump(content), encoding="utf-8")
        sweep = Sweep(cloud)
        job = cli.start("submit", sweep_file, "--cluster", file)
        tools.wait_for(
            lambda: len(sweep.live()) == 2 or job.poll() is not None,
            timeout_s=240,
            what="two trials train",
        )
        assert job.poll() is None, job.communicate()
        going, other = (i for i in cloud.alive("spot") if runs_a_trial(cloud, i["InstanceId"]))
        before = sweep.live()
        announced = time.monotonic()
        cloud.metadata.announce(going["PrivateIpAddress"])
        tools.wait_for(lambda: bool(sweep.events("trial_left")), timeout_s=60, what="a trial left")
        took_s = time.monotonic() - announced
        (left,) = sweep.events("trial_left")
        signatures = {e["trial"]: e["signature"] for e in sweep.events("trial_started")}
        leaver = signatures.pop(left["trial"])
        (stayer,) = signatures.values()
        at_step, _ = sweep.saved(leaver)
        assert at_step >= before[leaver]["n_steps"]
        cloud.ec2.terminate_instances(InstanceIds=[going["InstanceId"]])

        def goes_on(signature: str) -> bool:
            said = sweep.live().get(signature)
            return job.poll() is not None or (said is not None and said["n_steps_before"] > 0)

        tools.wait_for(lambda: goes_on(leaver), timeout_s=180, what="it goes on elsewhere")
        assert job.poll() is None, job.communicate()
        # Not one step is taken again.
        assert sweep.live()[leaver]["n_steps_before"] == at_step
        assert len(sweep.events("trial_left")) == 1

        killed = datetime.now(UTC)
        cloud.net.power_off(cloud.bodies.machines[other["InstanceId"]])
        at_step, saved = sweep.saved(stayer)
        lost_s = (killed - saved).total_seconds()
        assert lost_s < INTERVAL_S + 3
        tools.wait_for(lambda: goes_on(stayer), timeout_s=240, what="the other goes on elsewhere")
        assert sweep.live()[stayer]["n_steps_before"] == at_step
        out, err = job.communicate(timeout=400)
        assert job.returncode == 0, out + err
        status = json.loads(cli("status", NAME, "--cluster", file, "--json").ok().out)
        assert (status["state"], status["n_complete"], status["n_failed"]) == ("finished", 2, 0)
        print(f"left {took_s:.1f} s after the notice; {lost_s:.1f} s lost without one")
    finally:
        cli("down", file, "--verify").ok()
