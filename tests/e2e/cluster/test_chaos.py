"""Everything dies at least once in the middle of a sweep, and the result is that of an undisturbed one.

Each round is a seeded plan of kills over four sweeps of twelve configurations on a cluster of three nodes with their
store on S3. ``CHAOS_ROUNDS`` says how many, ``CHAOS_RECORD`` names a folder in which passed rounds are kept and not
run again. Without the former it is a single round with shorter trials of one sweep, in which all but a train worker die
(``tests/ray/test_workers.py`` kills one).
"""

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import yaml
from botocore.config import Config
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

if TYPE_CHECKING:
    from tests.e2e.cluster.conftest import Cluster, MakeCluster
    from tests.e2e.conftest import Cli, Done, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.chaos, pytest.mark.timeout(1200)]

RGW = Path(__file__).parents[1] / "servers" / "rgw.sh"
BUCKET = "chaos"
IN_FULL = "CHAOS_ROUNDS" in os.environ
SEEDS = (
    range(int(os.environ["CHAOS_ROUNDS"])) if IN_FULL else (15,)
)  # whose plan kills in one sweep
WANTED = IN_FULL or os.environ.get("REQUIRE_RGW") == "1"
OUTAGE_S = 5.0

SELECTIVE = {
    "method": "selective",
    "stages": ["W", "N2"],
    "source": {"dataset": "tiny", "exclude": ["s06"], "validation": ["s04", "s05"]},
    "target": {"dataset": "tiny", "subjects": ["s06"]},
    "batch_size": 8,
    "pretrain": {"n_passes": 1, "batch_size": 16, "patience": 1},
    "arms": ["no_adapt"],
}
SLEEPMG = {
    "method": "sleepmg",
    "stages": ["W", "N2", "N3"],
    "dataset": "synthetic-isruc-s3",
    "modalities": ["eeg", "eog"],
    "folds": {"kind": "k_fold", "n_folds": 2},
}
TWO_WORKERS = {"workers": 2, "cpus_per_worker": 0.5}
ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)


def sleepmg_search(alphas: tuple[float, ...], **more: Any) -> dict[str, Any]:
    space = {"alpha_y": {"uniform": [0, 1]}}
    enqueue = [{"alpha_y": alpha} for alpha in alphas]
    return {"n_trials": len(alphas), "space": space, "enqueue": enqueue, **more}


SWEEPS: dict[str, dict[str, Any]] = {
    "selective": {
        **SELECTIVE,
        "search": {
            "n_trials": 5,
            "n_steps": 200 if IN_FULL else 60,
            "enqueue_taus": [0.0, 0.3, 0.5, 0.7, 0.9],
        },
    },
    "sleepmg": {
        **SLEEPMG,
        "training": {"n_passes": 3, "batch_size": 32, "patience": 3},
        "search": sleepmg_search(ALPHAS),
    },
    "selective-2": {
        **SELECTIVE,
        **TWO_WORKERS,
        "search": {
            "n_trials": 1,
            "n_steps": 60 if IN_FULL else 20,
            "max_concurrent": 1,
            "enqueue_taus": [0.5],
        },
    },
    "sleepmg-2": {
        **SLEEPMG,
        **TWO_WORKERS,
        "training": {"n_passes": 2, "batch_size": 32, "patience": 2},
        "search": sleepmg_search((0.2,), max_concurrent=1),
    },
}
"""In the order in which they run: 6 + 6 configurations, one of each with two workers."""

SAMPLED: dict[str, Any] = {
    **SELECTIVE,
    "search": {"n_trials": 12, "n_steps": 100, "enqueue_taus": [0.0, 0.5]},
}
"""Most of its trials are proposed by the sampler, from what the earlier ones gave."""


@dataclass(frozen=True)
class Kill:
    """What is killed, in which sweep, after how many of its trials, and how long after that."""

    victim: str
    sweep: str
    after: int
    delay_s: float


def planned(seed: int) -> list[Kill]:
    """Return a plan in which every kind of process dies once, after the first trial and before the last one."""
    rng = random.Random(seed)
    kills = []
    for victim in ("driver", "trial actor", "raylet", "S3 server"):
        sweep = rng.choice(["selective", "sleepmg"])
        first = 1 if sweep == "selective" else 0
        kills.append(Kill(victim, sweep, rng.randint(first, 3), rng.uniform(0, 2)))
    if IN_FULL:
        two_workers = rng.choice(["selective-2", "sleepmg-2"])
        kills.append(Kill("train worker", two_workers, 0, rng.uniform(0, 6)))
    return kills


def sweeps_to_run() -> list[str]:
    """Return the names of all sweeps, or of those in which something dies in a round that is the only one."""
    killed = {kill.sweep for seed in SEEDS for kill in planned(seed)}
    return [name for name in SWEEPS if IN_FULL or name in killed]


@dataclass
class S3:
    """A real S3 server that can be killed and started again with its objects."""

    folder: Path
    env: dict[str, str]

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(
                request_checksum_calculation="when_required", retries={"max_attempts": 5}
            ),
        )

    def objects(self, prefix: str) -> dict[str, tuple[str, Any]]:
        """Return key -> (ETag, time of writing) of all objects under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {
            item["Key"]: (item["ETag"], item["LastModified"])
            for page in pages
            for item in page.get("Contents", ())
        }

    def script(self, action: str, *arguments: str) -> None:
        done = subprocess.run(
            [RGW, action, self.folder, *arguments],
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, tools: "type[Tools]") -> Iterator[S3]:
    if not WANTED:
        pytest.skip("five minutes: make test-chaos, or REQUIRE_RGW=1")
    assert shutil.which("radosgw"), "a real S3 server is needed: radosgw is not on the PATH"
    port, key, secret = tools.free_ports(2), "chaos-key", secrets.token_hex(16)
    server = S3(
        tmp_path_factory.mktemp("chaos-s3"),
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # Ceph 16 does not know the checksums that today's clients send unasked.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        },
    )
    server.script("start", str(port), key, secret)
    server.client.create_bucket(Bucket=BUCKET)
    yield server
    server.script("stop")


@dataclass
class Undisturbed:
    """The sweeps on one machine with a local store, where nothing died."""

    store: Path
    files: dict[str, Path]


@pytest.fixture(scope="module")
def undisturbed(
    s3: S3,  # first: without a server there is nothing to compare with
    tiny_done: "Done",
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    make_cli: "Callable[[Path], Cli]",
) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    cli = make_cli(folder)
    # Its encoder and scores are those that the selective sweeps need, too.
    shutil.copytree(tiny_done.store, folder / "runs", ignore=shutil.ignore_patterns("sweeps"))
    if any(name.startswith("sleepmg") for name in sweeps_to_run()):
        options = ("--montage", "isruc-s3", "--subjects", "6", "--hours", "0.25")
        cli("synth", "data", *options).ok()
        cli("ingest", root / "datasets" / "synthetic-isruc-s3.yaml", "--data", "data").ok()
    files = {name: folder / f"{name}.yaml" for name in sweeps_to_run()}
    for name, file in files.items():
        file.write_text(yaml.safe_dump({"name": name, **SWEEPS[name]}), encoding="utf-8")
        cli("sweep", file, "--cpus", "2").ok()
    return Undisturbed(folder / "runs", files)


class Round:
    """One plan, carried out."""

    def __init__(
        self,
        cluster: "Cluster",
        s3: S3,
        cli: "Cli",
        prefix: str,
        done: Undisturbed,
        files: dict[str, Path],
    ) -> None:
        self.cluster = cluster
        self.s3 = s3
        self.prefix = prefix
        self.files = files
        self.cli = cli.having(**s3.env, **cluster.driver_env)
        self.log: list[str] = []
        self.finished_at_kills: list[dict[str, tuple[str, Any]]] = []
        self.rng = random.Random(prefix)
        self.started: list[subprocess.Popen[str]] = []
        for path in sorted(
            done.store.rglob("*")
        ):  # everything that is there before the first trial
            relative = path.relative_to(done.store)
            if path.is_file() and relative.parts[0] in ("epochs", "encoders", "scores", "features"):
                s3.client.upload_file(str(path), BUCKET, f"{prefix}/{relative}")

    def run(self, plan: list[Kill]) -> None:
        try:
            for name, file in self.files.items():
                self._run_sweep(name, file, [kill for kill in plan if kill.sweep == name])
        finally:
            for process in self.started:
                process.kill()
                process.wait()

    def _run_sweep(self, name: str, file: Path, kills: list[Kill]) -> None:
        due: dict[Kill, float] = {}
        process = self._start(file)
        started = time.monotonic()
        while True:
            code = process.poll()
            if code == -signal.SIGKILL:
                process, started = self._start(file), time.monotonic()
            elif code is not None:
                assert code == 0, f"sweep {name} ended with {code}:\n{self._output(file)}"
                break
            n_finished = len(self._finished(name)) if kills else 0
            for kill in list(kills):
                if n_finished < kill.after or not self._is_there(kill, started):
                    continue
                if time.monotonic() < due.setdefault(kill, time.monotonic() + kill.delay_s):
                    continue
                written = self._written()
                if not self._carry_out(kill, process):
                    continue  # it ended by itself meanwhile; there will be another one
                self.finished_at_kills.append(written)
                kills.remove(kill)
            time.sleep(0.2)
        assert not kills, f"never came to {kills}: the sweep was too quick"

    def _start(self, file: Path) -> "subprocess.Popen[str]":
        command = f"exec {self.cli_path} sweep {file} --store s3://{BUCKET}/{self.prefix} >>{file.stem}.log 2>&1"
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.cli.cwd,
            env=dict(self.cli.env),
            text=True,
            encoding="utf-8",
        )
        self.started.append(process)
        return process

    @property
    def cli_path(self) -> str:
        return str(Path(sys.executable).with_name("orchestrator"))

    def _output(self, file: Path) -> str:
        return (self.cli.cwd / f"{file.stem}.log").read_text(encoding="utf-8")

    def _finished(self, name: str) -> set[str]:
        """Return what was trained, without the arm ``no_adapt``."""
        found = self.s3.objects(f"{self.prefix}/sweeps/{name}/predictions/")
        return set(sorted(found)[1:]) if not name.startswith("sleepmg") else set(found)

    def _written(self) -> dict[str, tuple[str, Any]]:
        found = self.s3.objects(f"{self.prefix}/")
        return {k: v for k, v in found.items() if "/predictions/" in k or k.endswith("fold.json")}

    def _victims(self, kill: Kill) -> list[int]:
        titles = {"trial actor": "ray::ImplicitFunc", "train worker": "ray::RayTrainWorker"}
        return self.cluster.processes(titles[kill.victim])

    def _is_there(self, kill: Kill, started: float) -> bool:
        if kill.victim in ("trial actor", "train worker"):
            return bool(self._victims(kill))
        # A driver that starts while S3 is away says so and ends, which is another test.
        return kill.victim != "S3 server" or time.monotonic() > started + 10

    def _carry_out(self, kill: Kill, driver: "subprocess.Popen[str]") -> bool:
        """Kill it; return whether it was there to be killed."""
        if kill.victim == "S3 server":
            self.s3.script("kill")
            time.sleep(OUTAGE_S)
            self.s3.script("resume")
            self.log.append(f"{kill}: 5 s without S3")
            return True
        if kill.victim == "raylet":
            pid = self.cluster.lose_node(self.rng.choice([1, 2]))
        else:
            pids = [driver.pid] if kill.victim == "driver" else self._victims(kill)
            if not pids:
                return False
            pid = self.rng.choice(pids)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
        self.log.append(f"{kill}: killed {pid}")
        return True


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sweep_survives_everything(
    seed: int,
    s3: S3,
    undisturbed: Undisturbed,
    make_cluster: "MakeCluster",
    cli: "Cli",
    tools: "type[Tools]",
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    record = (
        Path(os.environ["CHAOS_RECORD"]) / f"{seed}.json" if "CHAOS_RECORD" in os.environ else None
    )
    if record is not None and record.exists():
        pytest.skip(f"passed before: {record.read_text(encoding='utf-8')}")
    began = time.monotonic()
    cluster = make_cluster(s3.env)
    prefix = f"round-{seed}"
    round_ = Round(cluster, s3, cli, prefix, undisturbed, undisturbed.files)
    plan = planned(seed)
    round_.run(plan)
    seconds = time.monotonic() - began

    written = round_._written()
    for before in round_.finished_at_kills:
        again = [key for key in before if written.get(key) != before[key]]
        assert again == [], "finished trials were lost or trained again"
    for name in undisturbed.files:
        check_results(s3, prefix, name, undisturbed, tmp_path)
    left = cluster.processes("ray::ImplicitFunc.", "ray::RayTrainWorker", "ray::TrainController")
    assert left == [], "trials are running after their sweeps"
    cluster.stop()
    # Those of a raylet that was killed notice by and by.
    tools.wait_for(lambda: not cluster.remains(), timeout_s=90, what="all processes end")
    summary = {"seed": seed, "seconds": round(seconds), "kills": round_.log}
    print(json.dumps(summary, indent=1))
    record_property("chaos", json.dumps(summary))
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(summary, indent=1), encoding="utf-8")


@pytest.mark.skipif(not IN_FULL, reason="three minutes: make test-chaos")
def test_with_a_sampler_nothing_is_lost_or_proposed_twice(
    s3: S3,
    undisturbed: Undisturbed,
    make_cluster: "MakeCluster",
    cli: "Cli",
    tmp_path: Path,
) -> None:
    file = tmp_path / "sampled.yaml"
    file.write_text(yaml.safe_dump({"name": "sampled", **SAMPLED}), encoding="utf-8")
    round_ = Round(make_cluster(s3.env), s3, cli, "sampled", undisturbed, {"sampled": file})
    victims = ("trial actor", "driver", "raylet", "S3 server", "driver", "trial actor")
    round_.run([Kill(victim, "sampled", 1 + i, 0.3 * i) for i, victim in enumerate(victims)])
    written = round_._written()
    for before in round_.finished_at_kills:
        assert [key for key in before if written.get(key) != before[key]] == []
    trials = check_counts(s3, "sampled", "sampled", [f"t{i:03d}" for i in range(12)], tmp_path)
    tried = {tuple(t.params.values()) for t in trials if t.state is TrialState.COMPLETE}
    assert len(tried) == 12, "a configuration was proposed twice"


def check_counts(
    s3: S3, prefix: str, name: str, wanted: list[str], folder: Path
) -> list[optuna.trial.FrozenTrial]:
    """Check that each trial is complete once and nothing is left open; return all trials of the study."""
    file = folder / f"{prefix}-{name}.journal"
    s3.client.download_file(BUCKET, f"{prefix}/sweeps/{name}/optuna.journal", str(file))
    storage = JournalStorage(JournalFileBackend(str(file)))
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    states = [trial.state for trial in trials]
    assert TrialState.RUNNING not in states
    assert TrialState.WAITING not in states
    complete = [t.user_attrs["trial"] for t in trials if t.state is TrialState.COMPLETE]
    assert sorted(complete) == wanted
    return trials


def check_results(s3: S3, prefix: str, name: str, undisturbed: Undisturbed, folder: Path) -> None:
    """Compare a sweep with the undisturbed one: exactly with one worker, to 1e-5 with two."""
    reference = undisturbed.store / "sweeps" / name
    here = folder / name
    here.mkdir(parents=True, exist_ok=True)
    table = "trials.parquet"
    s3.client.download_file(BUCKET, f"{prefix}/sweeps/{name}/{table}", str(here / table))
    tolerance = 1e-5 if "workers" in SWEEPS[name] else 0
    rows, wanted = (
        {row["trial"]: row for row in pq.read_table(f / "trials.parquet").to_pylist()}
        for f in (here, reference)
    )
    assert rows.keys() == wanted.keys()
    for trial, row in rows.items():
        assert row["state"] == "complete", row
        assert row["signature"] == wanted[trial]["signature"]
        if not tolerance:
            assert row == wanted[trial]
        compare_predictions(
            s3, f"{prefix}/sweeps/{name}", reference, row["signature"], tolerance, here
        )

    named = sorted(trial for trial, row in rows.items() if row["kind"] == "trial")
    check_counts(s3, prefix, name, named, folder)


def compare_predictions(
    s3: S3, key: str, reference: Path, signature: str, tolerance: float, folder: Path
) -> None:
    file = folder / f"{signature}.parquet"
    s3.client.download_file(BUCKET, f"{key}/predictions/{signature}.parquet", str(file))
    expected_file = reference / "predictions" / file.name
    if not tolerance:
        assert file.read_bytes() == expected_file.read_bytes()
        return
    found, expected = pq.read_table(file), pq.read_table(expected_file)
    for column in (c for c in expected.column_names if c.startswith("p_")):
        np.testing.assert_allclose(
            found[column].to_numpy(), expected[column].to_numpy(), rtol=0, atol=tolerance
        )
