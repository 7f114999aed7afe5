"""Claims about long sweeps: what the driver of 5,000 trials takes, and what state on S3 costs.

The driver takes less than 1.5 GB and ``status`` of its sweep less than a second: trivial trials in a session of two
CPUs; memory is the driver's largest resident set, imports included.

State on S3 takes less than 5 % of a sweep of 200 trials of one second: a local store alternates with ``--s3``, a URI
such as ``s3://bucket/prefix`` with its endpoint and keys in the environment, two trials at a time; the share is that of
the difference of the medians.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from orchestrator.telemetry.session import prepare_ray_environment

prepare_ray_environment()

import ray  # noqa: E402

from orchestrator.config.sweep_sections import SearchBase, SweepBase  # noqa: E402
from orchestrator.method import (  # noqa: E402
    AfterPart,
    InputsRef,
    Scores,
)
from orchestrator.store import paths  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.sweeps.execution import Run  # noqa: E402
from orchestrator.sweeps.halt import Halt  # noqa: E402
from orchestrator.sweeps.reports import SIGNATURE, Outcome  # noqa: E402
from orchestrator.sweeps.search.tuning import run_search  # noqa: E402
from orchestrator.sweeps.watch.status import sweep_status  # noqa: E402
from orchestrator.telemetry.events import EventLog  # noqa: E402
from orchestrator.telemetry.session import ray_session  # noqa: E402
from search_spaces.space import Uniform  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--s3", help="where to keep the state for the second claim")
    parser.add_argument("--rounds", type=int, default=1, help="of the second claim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {}
        if options.s3:
            found["state on S3"] = state_on_s3(options.s3, options.rounds, Path(folder))
        else:
            found["state on S3"] = "no --s3: not measured"
            with ray_session(2):
                found["long"] = long(options.trials, Store.open(str(Path(folder, "long"))))
    print(json.dumps(found, indent=1))


def long(n_trials: int, store: Store) -> dict[str, Any]:
    began = perf_counter()
    search(store, n_trials, seconds=0.0, name="long")
    taken = perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    began = perf_counter()
    status = sweep_status(store, "long")
    return {
        "trials": status.n_complete,
        "seconds": round(taken, 1),
        "driver_gb": round(memory, 3),
        "status_s": round(perf_counter() - began, 3),
        "wanted": {"driver_gb": 1.5, "status_s": 1},
    }


def state_on_s3(uri: str, n_rounds: int, folder: Path) -> dict[str, Any]:
    taken: dict[str, list[float]] = {"local": [], "S3": []}
    for number in range(n_rounds):
        for side in taken:
            where = str(folder / str(number)) if side == "local" else f"{uri}/{number}"
            store = Store.open(where, writable=True)
            with ray_session(2, store):
                search(store, 4, seconds=0.0, name="warm")
                began = perf_counter()
                search(store, 200, seconds=1.0, name="slow")
                taken[side].append(perf_counter() - began)
    local, s3 = (statistics.median(values) for values in taken.values())
    return {
        "seconds": {side: [round(v, 1) for v in values] for side, values in taken.items()},
        "share": round((s3 - local) / s3, 4),
        "wanted": 0.05,
    }


def search(store: Store, n_trials: int, *, seconds: float, name: str) -> None:
    with EventLog(store, paths.sweep_events(name)) as log:
        sweep = SweepBase(name=name, method="any")
        log.emit("sweep_started", machine="", n_cpus=2, n_gpus=0)
        run_search(
            Run(store=store, sweep=sweep, log=log, halt=Halt()),
            SearchBase(n_trials=n_trials, max_concurrent=2),
            space={"x": Uniform(0, 1)},
            first=[],
            trial=_trial,
            inputs_ref=[ray.put(seconds)],
            identify=_signature,
            evaluate=lambda params: Scores(values=(-((params["x"] - 0.3) ** 2),)),
        )


def _trial(inputs_ref: InputsRef, params: Mapping[str, Any], after_part: AfterPart) -> Outcome:
    time.sleep(ray.get(inputs_ref[0]))
    return {SIGNATURE: _signature(params)}


def _signature(params: Mapping[str, Any]) -> str:
    return repr(params["x"])


if __name__ == "__main__":
    main()
