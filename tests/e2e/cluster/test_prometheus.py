"""A real Prometheus scrapes a running sweep; the alerts and the queries of the dashboard are put to it."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pytest
import yaml

mpl.use("Agg")
from matplotlib import pyplot as plt

from orchestrator.telemetry.processes import in_session

if TYPE_CHECKING:
    from tests.e2e.conftest import MakeCli, Tiny, Tools

REQUIRED = {"REQUIRE_PROMETHEUS", "TEST_CLUSTER"} & os.environ.keys()

pytestmark = [pytest.mark.e2e, pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def prometheus_folder(root: Path) -> Path:
    return root / "cluster" / "prometheus"


def needs(program: str) -> None:
    if shutil.which(program) is None:
        if REQUIRED:
            pytest.fail(f"{program} is not on the PATH")
        pytest.skip(f"{program} is not on the PATH")


def test_rules_do_what_they_say(prometheus_folder: Path) -> None:
    needs("promtool")
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run(
            ["promtool", *command],
            cwd=prometheus_folder,
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_and_a_line_on_the_page(prometheus_folder: Path, root: Path) -> None:
    rules = yaml.safe_load((prometheus_folder / "rules.yml").read_text(encoding="utf-8"))["groups"][
        0
    ]["rules"]
    alerts = {rule["alert"] for rule in rules}
    tests = yaml.safe_load((prometheus_folder / "rules.test.yml").read_text(encoding="utf-8"))[
        "tests"
    ]
    assert alerts == {
        case["alertname"] for t in tests for case in t["alert_rule_test"] if case["exp_alerts"]
    }
    page = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [alert for alert in alerts if f"`{alert}`" not in page] == []


def panels(root: Path) -> list[dict[str, Any]]:
    dashboard = json.loads(
        (root / "cluster" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    )
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def test_the_dashboard_is_one_that_grafana_imports(root: Path) -> None:
    dashboard = json.loads(
        (root / "cluster" / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    )
    assert dashboard["schemaVersion"] >= 36
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    ids = [panel["id"] for panel in panels(root)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(root):
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"


@dataclass
class Server:
    """A Prometheus that runs."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def range(self, query: str, begin: float, end: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(
            "/api/v1/query_range", query=query, start=f"{begin}", end=f"{end}", step="2"
        )["result"]
        return found


@pytest.fixture
def start_prometheus(
    tmp_path: Path, prometheus_folder: Path, tools: "type[Tools]"
) -> Iterator[Callable[[str], Server]]:
    """From the address of `orchestrator metrics` to a Prometheus with the shipped files, but quicker."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(metrics: str) -> Server:
        config = yaml.safe_load((prometheus_folder / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        (discovery,) = job["http_sd_configs"]
        assert discovery["url"].endswith("/targets")
        discovery |= {"url": f"{metrics}/targets", "refresh_interval": "1s"}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        rules = (prometheus_folder / "rules.yml").read_text(encoding="utf-8")
        assert "> 1800" in rules
        (tmp_path / "rules.yml").write_text(
            rules.replace("> 1800", "> 20").replace("for: 5m", "for: 0s"), encoding="utf-8"
        )
        port = tools.free_ports(1)
        url = f"http://127.0.0.1:{port}"
        with (tmp_path / "prometheus.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [
                        "prometheus",
                        f"--config.file={tmp_path}/prometheus.yml",
                        f"--storage.tsdb.path={tmp_path}/tsdb",
                        f"--web.listen-address=127.0.0.1:{port}",
                    ],
                    stdout=log,
                    stderr=log,
                )
            )
        server = Server(url)

        def is_ready() -> bool:
            assert processes[-1].poll() is None, (tmp_path / "prometheus.log").read_text(
                encoding="utf-8"
            )
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                    return True
            except OSError:
                return False

        tools.wait_for(is_ready, timeout_s=30, what="Prometheus is ready")
        return server

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="four minutes: make test-cluster")
def test_a_running_sweep_in_a_real_prometheus(
    root: Path,
    tiny: "Tiny",
    make_cli: "MakeCli",
    tmp_path: Path,
    start_prometheus: Callable[[str], Server],
    tools: "type[Tools]",
) -> None:
    needs("prometheus")
    folder = tmp_path / "lab"
    folder.mkdir()
    cli = make_cli(folder).having(ORCHESTRATOR_HOME=str(folder / "state"))
    cluster = folder / "local.yaml"
    content = yaml.safe_load((root / "cluster" / "local.yaml").read_text(encoding="utf-8"))
    content["provider"] |= {
        "port": tools.free_ports(1),
        "dashboard_port": tools.free_ports(1),
        "cpus": 2,
    }
    cluster.write_text(yaml.safe_dump(content), encoding="utf-8")
    store = str(folder / "runs")
    cli("launch", cluster, "--yes").ok()
    metrics = None
    try:
        options = ("--montage", "isruc-s3", "--subjects", "6", "--hours", "0.25")
        cli("synth", "data", *options).ok()
        cli("ingest", root / "datasets" / "synthetic-isruc-s3.yaml", "--data", "data").ok()
        cli("ingest", tiny.dataset, "--data", tiny.data).ok()
        cli("sweep", tiny.sweep).ok()  # of what has ended, and of scores
        port = tools.free_ports(1)
        metrics = cli.start("metrics", "--store", store, "--cluster", cluster, "--port", str(port))
        address = f"http://127.0.0.1:{port}"
        began = time.time()
        prometheus = start_prometheus(address)
        sweep = folder / "sweep.yaml"
        sweep.write_text(yaml.safe_dump(_sweep()), encoding="utf-8")
        job = cli.start("submit", sweep, "--cluster", cluster, "--store", store)

        def has(query: str) -> Callable[[], bool]:
            return lambda: bool(prometheus.ask("/api/v1/query", query=query)["result"])

        tools.wait_for(
            has("sleep_orchestrator_modality_ratio"),
            timeout_s=240,
            what="a trial says how it is doing",
        )
        slowest = _slowest_scrape(address)
        time.sleep(25)  # while it trains, and tells of no trial that is done
        assert "SweepStalled" not in _firing(prometheus)
        with _held(folder / "state" / "clusters" / content["cluster_name"], tools):
            tools.wait_for(
                lambda: "SweepStalled" in _firing(prometheus),
                timeout_s=120,
                what="the alert for a stalled sweep fires",
            )
        missing, drawn = _draw(prometheus, root, began, tmp_path)
        job.kill()
        job.communicate()
    finally:
        if metrics is not None:
            tools.kill_group(metrics)
        cli("down", cluster, "--verify").ok()
    assert missing == []
    assert slowest < 0.05, f"a scrape took {slowest:.3f} s"
    kept = os.environ.get("DASHBOARD_PLOTS")
    if kept:
        shutil.copytree(drawn, kept, dirs_exist_ok=True)


@contextmanager
def _held(state: Path, tools: "type[Tools]") -> Iterator[None]:
    """Have the processes of trials stand still inside the block."""
    node = json.loads((state / "running.json").read_text(encoding="utf-8"))["pid"]
    trials = [
        pid for pid in in_session(node) if tools.command_line(pid).startswith("ray::ImplicitFunc")
    ]
    assert trials
    for pid in trials:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in trials:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _sweep() -> dict[str, Any]:
    """Return a sweep whose trials train for minutes."""
    return {
        "name": "watched",
        "method": "sleepmg",
        "stages": ["W", "N2", "N3"],
        "dataset": "synthetic-isruc-s3",
        "modalities": ["eeg", "eog"],
        "folds": {"kind": "k_fold", "n_folds": 2},
        "training": {"n_passes": 60, "batch_size": 32, "patience": 60},
        "search": {
            "n_trials": 4,
            "max_concurrent": 1,
            "space": {"alpha_y": {"uniform": [0, 1]}},
        },
    }


def _firing(prometheus: Server) -> set[str]:
    alerts = prometheus.ask("/api/v1/alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def _slowest_scrape(address: str) -> float:
    took = []
    for _ in range(20):
        began = time.perf_counter()
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            answer.read()
        took.append(time.perf_counter() - began)
    return sorted(took)[-2]  # one may meet a look at the store


def _draw(prometheus: Server, root: Path, began: float, folder: Path) -> tuple[list[str], Path]:
    """Plot each panel's queries; return the panels without data, and where the plots are."""
    drawn = folder / "plots"
    drawn.mkdir()
    missing = []
    for panel in panels(root):
        if panel["type"] == "row":
            continue
        figure, axes = plt.subplots(figsize=(6, 3))
        n_series = 0
        for target in panel["targets"]:
            series = prometheus.range(target["expr"].replace("$sweep", ".*"), began, time.time())
            n_series += len(series)
            for one in series:
                times = [point[0] - began for point in one["values"]]
                name = " ".join(
                    f"{v}"
                    for k, v in one["metric"].items()
                    if k not in ("__name__", "instance", "job")
                )
                axes.plot(
                    times,
                    [float(point[1]) for point in one["values"]],
                    label=name[:40] or panel["title"],
                )
        axes.set_title(panel["title"])
        axes.set_xlabel("s")
        if 0 < n_series <= 8:
            axes.legend(fontsize=6)
        figure.tight_layout()
        figure.savefig(drawn / f"{panel['id']:02d}.png", dpi=80)
        plt.close(figure)
        if not n_series:
            missing.append(panel["title"])
    return missing, drawn
