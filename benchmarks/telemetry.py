"""Claims about telemetry: what `orchestrator metrics` takes from a sweep of 2,000 trials, and how long a scrape takes.

Trials do nothing, so that the sweep is as fast as it can be, and its driver, its workers and the exporter share the
CPUs. A sweep that is followed and scraped every second alternates with one that nobody follows; the share is that of
the difference of the medians. Where the machine is not still, the exporter's own CPU seconds say more: a share of one
CPU's. A trial's own part is timed alone: what it writes into the store every five seconds, as a share of these.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.long_sweep import search
from orchestrator.store.store import Store
from orchestrator.sweeps.surroundings import LOCAL_S, TrainingWatch
from orchestrator.telemetry.session import ray_session
from trainables.surroundings import Pulse

SCRAPE_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "sweep": followed(folder, options.trials, options.rounds),
            "trial": pulse(Store.open(str(folder / "pulse"))),
        }
    print(json.dumps(found, indent=1))


def followed(folder: Path, n_trials: int, n_rounds: int) -> dict[str, Any]:
    taken: dict[str, list[float]] = {"alone": [], "followed": []}
    cpu_s: list[float] = []
    scrapes: list[float] = []
    for number in range(n_rounds):
        for side, seconds in taken.items():
            store = Store.open(str(folder / f"{side}-{number}"), writable=True)
            with ray_session(2, store):
                search(store, 4, seconds=0.0, name="warm")
                if side == "alone":
                    seconds.append(timed(store, n_trials))
                else:
                    with exporter(store, scrapes) as pid:
                        before = cpu_of(pid)
                        seconds.append(timed(store, n_trials))
                        cpu_s.append(cpu_of(pid) - before)
    alone, watched = (statistics.median(values) for values in taken.values())
    return {
        "trials": n_trials,
        "seconds": {side: [round(v, 2) for v in values] for side, values in taken.items()},
        "share": round((watched - alone) / alone, 4),
        "exporter_cpu_share": round(statistics.median(cpu_s) / watched, 4),
        "scrape_ms": {
            "median": round(1000 * statistics.median(scrapes), 2),
            "p95": round(1000 * sorted(scrapes)[int(0.95 * len(scrapes))], 2),
            "slowest": round(1000 * max(scrapes), 2),
            "n": len(scrapes),
        },
        "wanted": {"share": 0.01, "scrape_ms": 50},
    }


def timed(store: Store, n_trials: int) -> float:
    began = perf_counter()
    search(store, n_trials, seconds=0.0, name="long")
    return perf_counter() - began


@contextmanager
def exporter(store: Store, scrapes: list[float]) -> Iterator[int]:
    """Serve a store's metrics from another process, scrape them now and then, and give the process' id."""
    command = Path(sys.executable).with_name("orchestrator")
    process = subprocess.Popen(
        [command, "metrics", "--store", store.uri, "--port", "0"],
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(SCRAPE_S):
            began = perf_counter()
            with urllib.request.urlopen(address) as answer:
                answer.read()
            scrapes.append(perf_counter() - began)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield process.pid
    finally:
        ended.set()
        thread.join()
        process.terminate()
        process.wait()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has taken, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def pulse(store: Store) -> dict[str, float]:
    """Time what a running trial writes of itself."""
    details = {
        f"{what}/{m}": 1.0 for what in ("rho_y", "k_y") for m in ("eeg", "eog", "emg", "ecg")
    }
    said = Pulse(
        loss=1.0, steps_per_s=1.0, waited=0.1, n_steps=10, n_steps_before=0, details=details
    )
    taken = []
    with TrainingWatch(store, "probe", "0" * 64).training(32, "cpu") as around:
        assert around.pulse is not None
        for _ in range(500):
            began = time.perf_counter()
            around.pulse(said)
            taken.append(time.perf_counter() - began)
    median = statistics.median(taken)
    return {"write_ms": round(1000 * median, 3), "share": round(median / LOCAL_S, 6)}


if __name__ == "__main__":
    main()
