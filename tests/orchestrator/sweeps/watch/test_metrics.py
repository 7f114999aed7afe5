"""Metrics of a store: what Prometheus' own parser reads from a real HTTP server, counted by hand."""

import json
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.cluster.status import ClusterStatus, Node
from orchestrator.errors import StoreUnreachableError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import sweep_lock
from orchestrator.sweeps.surroundings import TrainingWatch
from orchestrator.sweeps.watch import metric_names
from orchestrator.sweeps.watch.cluster_metrics import ClusterCollector
from orchestrator.sweeps.watch.metrics import StoreCollector
from orchestrator.sweeps.watch.metrics_server import MetricsServer
from orchestrator.telemetry.events import EventLog
from trainables.surroundings import Pulse

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"), writable=True)


@pytest.fixture
def server(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[MetricsServer]:
    monkeypatch.setattr(StoreCollector, "every_s", 3600)  # tests look themselves
    ray = [{"targets": ["10.0.0.7:8080"], "labels": {"job": "ray"}}]
    server = MetricsServer([StoreCollector(store)], "127.0.0.1", 0, lambda: ray)
    yield server
    server.close()


def scrape(collector_of: Store) -> Samples:
    """Return what a new server says of a store."""
    server = MetricsServer([StoreCollector(collector_of)], "127.0.0.1", 0, list)
    try:
        return samples(server)
    finally:
        server.close()


def samples(server: MetricsServer) -> Samples:
    with urllib.request.urlopen(f"{server.address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    prefix = f"{metric_names.PREFIX}_"
    return {
        (sample.name.removeprefix(prefix), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def done(trial: str, objective: float, trained_s: float, **more: Any) -> dict[str, Any]:
    spent = {"trained_s": trained_s, "waited_s": trained_s / 4}
    return {
        "trial": trial,
        "signature": f"sig-{trial}",
        "objective": objective,
        "reused_from": None,
        **spent,
        **more,
    }


def begin(log: EventLog, *trials: str) -> None:
    log.emit("sweep_started", machine="x", n_cpus=2, n_gpus=0)
    log.emit("search_started", n_trials=12, n_finished=0, n_requeued=0, objective="source_val")
    for trial in trials:
        log.emit("trial_started", trial=trial, signature=f"sig-{trial}", params={"x": 1})


@pytest.mark.heavy
def test_a_sweep(store: Store) -> None:
    with EventLog(store, paths.sweep_events("tau")) as log:
        begin(log, "t000", "t001", "t002", "t003")
        log.emit("trial_done", **done("t000", 0.5, 2.0))
        log.emit("trial_done", **done("t001", 0.75, 30.0))
        log.emit("trial_lost", trial="t002", n_times=1)
        failed = {"trial": "t002", "signature": None, "objective": None, "reused_from": None}
        log.emit("trial_failed", **failed, error="DivergedError: the loss is nan\nTrace")
        log.emit("spent", usd=3.5, max_usd=10)
    found = scrape(store)
    assert of(found, "sweep_trials", sweep="tau", state="complete") == 2
    assert of(found, "sweep_trials", sweep="tau", state="failed") == 1
    assert of(found, "sweep_trials_wanted", sweep="tau") == 12
    assert of(found, "sweep_best_objective", sweep="tau") == 0.75
    assert of(found, "sweep_failures", sweep="tau", cause="DivergedError") == 1
    assert of(found, "sweep_lost_processes", sweep="tau") == 1
    assert of(found, "sweep_running", sweep="tau") == 0  # nobody holds its lock
    assert of(found, "sweep_finished", sweep="tau") == 0
    store.write_bytes(paths.sweep_trials("tau"), b"")  # a budget has ended it
    assert of(scrape(store), "sweep_finished", sweep="tau") == 1
    assert of(found, "sweep_training_seconds", sweep="tau") == 32
    assert of(found, "sweep_data_wait_seconds", sweep="tau") == 8
    assert of(found, "sweep_spent_usd", sweep="tau") == 3.5
    assert of(found, "sweep_limit_usd", sweep="tau") == 10
    assert abs(of(found, "sweep_progress_timestamp_seconds", sweep="tau") - time.time()) < 60
    buckets = {
        le: of(found, "training_seconds_bucket", sweep="tau", le=le)
        for le in ("1.0", "5.0", "60.0", "+Inf")
    }
    assert buckets == {"1.0": 0, "5.0": 1, "60.0": 2, "+Inf": 2}
    assert of(found, "training_seconds_sum", sweep="tau") == 32
    assert of(found, "looks_failed_total") == 0


@pytest.mark.heavy
def test_what_a_training_says_of_itself(store: Store) -> None:
    pulse = Pulse(
        loss=0.625,
        steps_per_s=2.5,
        waited=0.125,
        n_steps=70,
        n_steps_before=20,
        details={"rho_y/eeg": 1.5, "k_d/emg": 0.25, "macro_f1/eeg": 0.5},
    )
    with EventLog(store, paths.sweep_events("tau")) as log:
        begin(log, "t000", "t001")
    watched = TrainingWatch(store, "tau", "sig-t000")
    with (
        sweep_lock(store, "tau", Halt()),
        watched.training(batch_size=32, device="cpu") as around,
    ):
        assert around.pulse is not None
        around.pulse(pulse)
        found = scrape(store)
        assert of(found, "sweep_running", sweep="tau") == 1
        assert of(found, "trial_steps", sweep="tau", trial="t000") == 70
        assert of(found, "trial_loss", sweep="tau", trial="t000") == 0.625
        assert of(found, "trial_epochs_per_second", sweep="tau", trial="t000") == 80
        assert of(found, "trial_data_wait_ratio", sweep="tau", trial="t000") == 0.125
        assert of(found, "trial_memory_bytes", sweep="tau", trial="t000", device="cpu") > 2**24
        modality = {"sweep": "tau", "trial": "t000"}
        assert of(found, "modality_ratio", **modality, modality="eeg", head="y") == 1.5
        assert of(found, "modality_coefficient", **modality, modality="emg", head="d") == 0.25
        assert not any(("trial", "t001") in labels for _, labels in found)
    after = scrape(store)
    assert not any(name.startswith(("trial_", "modality_")) for name, _ in after)
    assert list(Path(store.uri, "sweeps", "tau", "live").iterdir()) == []


class Clock:
    """Seconds that a test lets pass."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def look(collector: StoreCollector | ClusterCollector) -> Samples:
    """Let a collector look, and return what it knows then."""
    collector.look()
    prefix = f"{metric_names.PREFIX}_"
    return {
        (sample.name.removeprefix(prefix), tuple(sorted(sample.labels.items()))): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def begin_yesterday(store: Store, *events: str) -> None:
    """Have a sweep begin that has told of nothing since yesterday."""
    with EventLog(store, paths.sweep_events("tau")) as log:
        for event in ("sweep_started", *events):
            log.emit(event, time=YESTERDAY.isoformat())


def test_a_holder_elsewhere_that_has_died_runs_nothing(store: Store) -> None:
    begin_yesterday(store, "labels_read")
    path = paths.sweep_lock("tau")
    with sweep_lock(store, "tau", Halt(), beat_s=60):
        held = json.loads(store.read_bytes(path)) | {"machine": "another"}
    clock = Clock()
    collector = StoreCollector(store, clock=clock)
    running = []
    for beat in (1, 2, 3, 4, 5, 5, 5, 5, 5):
        store.write_bytes(path, json.dumps(held | {"beat": beat}).encode())
        running.append(of(look(collector), "sweep_running", sweep="tau"))
        clock.now += collector.every_s
    assert running == [1] * 8 + [0]


def test_an_arm_that_takes_a_step_brings_its_sweep_further(store: Store) -> None:
    begin_yesterday(store, "labels_read")
    pulse = Pulse(loss=1.0, steps_per_s=1.0, waited=0.1, n_steps=10, n_steps_before=0, details={})
    collector = StoreCollector(store)
    with sweep_lock(store, "tau", Halt()):
        before = of(look(collector), "sweep_progress_timestamp_seconds", sweep="tau")
        assert before == pytest.approx(YESTERDAY.timestamp())
        with TrainingWatch(store, "tau", "sig-of-an-arm").training(32, "cpu") as around:
            assert around.pulse is not None
            around.pulse(pulse)
            found = look(collector)
    assert abs(of(found, "sweep_progress_timestamp_seconds", sweep="tau") - time.time()) < 60
    assert not any(name.startswith("trial_") for name, _ in found)


def test_a_sweep_that_is_prepared_comes_further_until_its_driver_dies(store: Store) -> None:
    begin_yesterday(store)
    collector = StoreCollector(store)
    with sweep_lock(store, "tau", Halt()):
        while_it_prepares = look(collector)
    after = look(collector)
    for found, running in ((while_it_prepares, 1), (after, 0)):
        assert of(found, "sweep_running", sweep="tau") == running
        assert of(found, "sweep_finished", sweep="tau") == 0
        assert abs(of(found, "sweep_progress_timestamp_seconds", sweep="tau") - time.time()) < 60
    assert after.keys() == while_it_prepares.keys()


@pytest.mark.parametrize(
    ("reason", "interrupted"), [("InterruptedSweepError", 1), ("SetupError", 0)]
)
def test_a_sweep_that_somebody_stopped_has_not_died(
    store: Store, reason: str, interrupted: int
) -> None:
    begin_yesterday(store)
    with EventLog(store, paths.sweep_events("tau")) as log:
        log.emit("sweep_stopped", reason=reason, message="")
    collector = StoreCollector(store)
    assert of(look(collector), "sweep_interrupted", sweep="tau") == interrupted
    with EventLog(store, paths.sweep_events("tau")) as log:
        log.emit("sweep_started")
    assert of(look(collector), "sweep_interrupted", sweep="tau") == 0


def test_a_finished_sweep_is_read_once_a_minute(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog(store, paths.sweep_events("tau")) as log:
        begin(log, "t000")
        log.emit("trial_done", **done("t000", 0.5, 2.0))
    store.write_bytes(paths.sweep_trials("tau"), b"")
    clock = Clock()
    collector = StoreCollector(store, clock=clock)
    first = look(collector)
    assert of(first, "sweep_finished", sweep="tau") == 1
    assert of(first, "training_seconds_count", sweep="tau") == 1
    asked: list[str] = []
    size = Store.size

    def noted(self: Store, path: str) -> int | None:
        asked.append(path)
        return size(self, path)

    monkeypatch.setattr(Store, "size", noted)
    for _ in range(11):
        clock.now += collector.every_s
        assert look(collector) == first
    assert asked == []
    store.delete(paths.sweep_trials("tau"))  # it is begun anew
    clock.now += collector.every_s
    assert of(look(collector), "sweep_finished", sweep="tau") == 0
    assert asked


def test_a_sweep_that_cannot_be_read_takes_nothing_from_the_others(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("before", "tau", "vast"):
        with EventLog(store, paths.sweep_events(name)) as log:
            begin(log)
    with EventLog(store, paths.ingest_events("ucddb")) as log:
        log.emit("recording_done", status="ok")
    collector = StoreCollector(store)
    first = look(collector)
    store.write_bytes(paths.sweep_lock("tau"), b"no JSON")
    with EventLog(store, paths.sweep_events("vast")) as log:
        log.emit("trial_done", **done("t000", 0.5, 2.0))
    with EventLog(store, paths.ingest_events("ucddb")) as log:
        log.emit("recording_done", status="ok")
    found = look(collector)
    assert "sweeps/tau/lock.json:1:1 is damaged: it is no JSON" in capsys.readouterr().err
    assert of(found, "looks_failed_total") == 1
    assert of(found, "sweep_trials", sweep="vast", state="complete") == 1
    assert of(found, "ingest_recordings", dataset="ucddb", status="ok") == 2
    of_tau = {key: value for key, value in first.items() if ("sweep", "tau") in key[1]}
    assert of_tau.items() <= found.items()
    store.delete(paths.sweep_lock("tau"))
    assert of(look(collector), "looks_failed_total") == 1


def test_a_damaged_line_and_what_a_training_says_cost_only_themselves(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tau", "vast"):
        with EventLog(store, paths.sweep_events(name)) as log:
            begin(log)
    collector = StoreCollector(store)
    look(collector)
    path = paths.sweep_events("tau")
    whole = store.read_bytes(path)
    n_lines = whole.count(b"\n")
    with EventLog(store, path) as log:
        log.emit("trial_done", **done("t000", 0.5, 2.0))
    last = store.read_bytes(path).removeprefix(whole)
    store.write_bytes(path, whole + bytes(12) + b"\n" + last)
    with EventLog(store, paths.sweep_events("vast")) as log:
        log.emit("trial_done", **done("t000", 0.5, 2.0))
    found = look(collector)
    said = f"sweeps/tau/events.jsonl:{n_lines + 1} is damaged: it holds 12 zero bytes"
    assert said in capsys.readouterr().err
    assert of(found, "sweep_trials", sweep="vast", state="complete") == 1
    found = look(collector)  # and goes on after it
    assert of(found, "sweep_trials", sweep="tau", state="complete") == 1
    assert of(found, "looks_failed_total") == 1
    with sweep_lock(store, "tau", Halt()):
        store.write_bytes(paths.live_metrics("tau", "s"), b'{"at": 1}')
        found = look(collector)
    assert "live/s.json:1:1 is damaged: it has no 'n_steps'" in capsys.readouterr().err
    assert of(found, "sweep_trials", sweep="vast", state="complete") == 1


@pytest.mark.heavy
def test_scores_and_data_sets(store: Store) -> None:
    with EventLog(store, paths.score_events("abc")) as log:
        log.emit("scoring_started", n_tiles=5, n_pairs=50)
        for _ in range(2):
            time.sleep(0.01)
            log.emit("tile_scored", tile="0", n_pairs=10)
    with EventLog(store, paths.ingest_events("ucddb")) as log:
        log.emit("ingest_started", n_recordings=3)
        for status in ("ok", "ok", "quarantined"):
            log.emit("recording_done", status=status)
    found = scrape(store)
    assert of(found, "scoring_tiles_left", score="abc") == 3
    assert of(found, "scoring_pairs", score="abc") == 20
    assert of(found, "scoring_pairs_per_second", score="abc") > 0
    assert of(found, "ingest_recordings", dataset="ucddb", status="ok") == 2
    assert of(found, "ingest_recordings", dataset="ucddb", status="quarantined") == 1


@pytest.mark.heavy
def test_many_causes_are_added_up(store: Store) -> None:
    with EventLog(store, paths.sweep_events("tau")) as log:
        begin(log)
        for i in range(25):
            name = f"Kind{chr(65 + i)}Error"
            log.emit(
                "trial_failed",
                trial=f"t{i:03d}",
                signature=None,
                objective=None,
                reused_from=None,
                error=f"{name}: no",
            )
    found = scrape(store)
    causes = {
        dict(labels)["cause"]: n for (name, labels), n in found.items() if name == "sweep_failures"
    }
    assert len(causes) == 11
    assert causes["other"] == 15


@pytest.mark.heavy
def test_targets_are_this_server_and_those_of_ray(server: MetricsServer) -> None:
    with urllib.request.urlopen(f"{server.address}/targets", timeout=10) as answer:
        found = json.load(answer)
    here = server.address.removeprefix("http://")
    assert found == [
        {"targets": [here], "labels": {"job": "sleep-orchestrator"}},
        {"targets": ["10.0.0.7:8080"], "labels": {"job": "ray"}},
    ]


@pytest.mark.heavy
def test_a_store_that_is_away_leaves_what_was_known_and_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog(store, paths.sweep_events("tau")) as log:
        begin(log)
    collector = StoreCollector(store)
    server = MetricsServer([collector], "127.0.0.1", 0, list)
    try:

        def away(self: Store, folder: str) -> list[str]:
            raise StoreUnreachableError("no answer")

        monkeypatch.setattr(Store, "folders", away)
        collector.look()
        found = samples(server)
    finally:
        server.close()
    assert of(found, "looks_failed_total") == 1
    assert of(found, "sweep_trials_wanted", sweep="tau") == 12


def test_the_page_lists_every_metric(root: Path) -> None:
    page = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    assert metric_names.reference() in page, "run `make reference`"


def test_a_panel_that_adds_states_up_counts_no_trial_twice(root: Path) -> None:
    """Reused trials are among the complete ones."""
    dashboard = json.loads(
        (root / "cluster" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    )
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    stacked = [query for query in queries if query.startswith("sum by (state) (")]
    assert stacked
    assert [query for query in stacked if 'state!="reused"' not in query] == []


def node(state: str) -> Node:
    return Node(address="10.0.0.7", state=state, said=None, is_head=False, cpus=1, gpus=0)


def test_machines_of_a_cluster_by_what_became_of_them() -> None:
    of_lab: dict[str, Any] = {
        "cluster_name": "lab",
        "provider": "aws",
        "address": None,
        "launched_at": None,
        "ends_at": None,
    }
    nodes = tuple(map(node, ["alive", "alive", "lost"]))
    began = {"launched_at": "2026-01-01T10:00:00+00:00"}
    states = iter(
        [
            ClusterStatus(**of_lab | began, state="up", nodes=nodes),
            ClusterStatus(**of_lab | began, state="down"),
            ClusterStatus(
                **of_lab | began | {"ends_at": "2100-01-01T10:00:00+00:00"}, state="down"
            ),
            ClusterStatus(
                **of_lab | began | {"ends_at": "2026-01-01T11:00:00+00:00"}, state="down"
            ),
            ClusterStatus(**of_lab, state="down"),
            ClusterStatus(**of_lab, state="unreachable"),
        ]
    )
    collector = ClusterCollector("lab", lambda: next(states))
    is_up = ("cluster_up", (("cluster", "lab"),))
    assert look(collector) == {
        is_up: 1,
        ("cluster_nodes", (("cluster", "lab"), ("state", "alive"))): 2,
        ("cluster_nodes", (("cluster", "lab"), ("state", "ended"))): 0,
        ("cluster_nodes", (("cluster", "lab"), ("state", "lost"))): 1,
    }
    assert look(collector) == {is_up: 0}, "it is gone, and nobody took it down"
    assert look(collector) == {is_up: 0}, "and before its time"
    assert look(collector) == {}, "its time was over"
    assert look(collector) == {}, "it was taken down"
    assert look(collector) == {is_up: 0}
    assert look(collector) == {is_up: 0}, "an error: there is no further answer"
