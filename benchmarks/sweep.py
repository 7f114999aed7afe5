"""Claims: a sweep of trivial trials reaches 0.9 times the trials per second of Ray Tune, and 2.8 times Syne Tune's.

The first peer is Ray Tune with OptunaSearch alone.
Both sides propose with the same seeded TPE sampler, run two trials at a time in reused actors of one Ray session, and
take as many trials. Ours also keeps the journal, the event log, signatures and names, and computes the objective in the
driver; the peer's study is in memory, as is OptunaSearch's default. Rounds alternate; printed are the medians of trials
per second, from the call to its return, and their ratio. Syne Tune takes part where ``--syne-tune`` names a Python that
has it: random search, as many workers, a process for each trial, with fewer trials because they take longer.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from orchestrator.telemetry.session import prepare_ray_environment

prepare_ray_environment()

import optuna  # noqa: E402
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

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
from orchestrator.telemetry.events import EventLog  # noqa: E402
from orchestrator.telemetry.session import ray_session  # noqa: E402
from search_spaces.space import Uniform  # noqa: E402

SIDE_BY_SIDE = 2

Side = Callable[[int, int, Path], None]
"""Runs so many trials, with a seed, in a folder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--syne-tune", type=Path, help="a Python that has syne-tune")
    options = parser.parse_args()
    sides: dict[str, Side] = {"ours": ours, "Ray Tune": raw_tune}
    n_trials = dict.fromkeys(sides, options.trials)
    if options.syne_tune:
        sides["Syne Tune"] = partial(syne_tune, options.syne_tune)
        n_trials["Syne Tune"] = max(4, options.trials // 5)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with ray_session(2), tempfile.TemporaryDirectory() as scratch:
        for name, side in sides.items():  # the first start of an actor imports everything
            side(4, 0, Path(scratch, f"warm-{name}"))
        for number in range(options.rounds):
            for name, side in sides.items():
                began = perf_counter()
                side(n_trials[name], number, Path(scratch, f"{name}-{number}"))
                rates[name].append(n_trials[name] / (perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "trials_per_s": {name: round(value, 2) for name, value in medians.items()},
                "rounds": {n: [round(v, 2) for v in values] for n, values in rates.items()},
                "ratio": {
                    name: round(medians["ours"] / value, 3)
                    for name, value in medians.items()
                    if name != "ours"
                },
                "wanted": {"Ray Tune": 0.9, "Syne Tune": 2.8},
            },
            indent=1,
        )
    )


def ours(n_trials: int, seed: int, folder: Path) -> None:
    store = Store.open(str(folder))
    with EventLog(store, paths.sweep_events("probe")) as log:
        sweep = SweepBase(name="probe", method="any", seed=seed)
        run_search(
            Run(store=store, sweep=sweep, log=log, halt=Halt()),
            SearchBase(n_trials=n_trials, max_concurrent=SIDE_BY_SIDE),
            space={"x": Uniform(0, 1)},
            first=[],
            trial=_trial,
            inputs_ref=[ray.put(None)],
            identify=_signature,
            evaluate=lambda params: Scores(values=(-((params["x"] - 0.3) ** 2),)),
        )


def _trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
    return {SIGNATURE: _signature(params)}


def _signature(params: Mapping[str, float]) -> str:
    return repr(params["x"])


def raw_tune(n_trials: int, seed: int, folder: Path) -> None:
    tune.Tuner(
        tune.with_resources(_raw_trial, {"CPU": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space={"x": optuna.distributions.FloatDistribution(0, 1)},
                metric="value",
                mode="max",
                sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed),
            ),
            num_samples=n_trials,
            max_concurrent_trials=SIDE_BY_SIDE,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="probe", storage_path=str(folder), verbose=0),
    ).fit()


def _raw_trial(config: dict[str, Any]) -> dict[str, float]:
    return {"value": -((config["x"] - 0.3) ** 2)}


def syne_tune(python: Path, n_trials: int, seed: int, folder: Path) -> None:
    script = Path(__file__).with_name("peers") / "syne_tune_trivial.py"
    arguments = [str(n_trials), str(SIDE_BY_SIDE), str(seed), str(folder)]
    folder.mkdir(parents=True)  # Syne Tune writes into the working directory, too
    subprocess.run(
        [str(python), str(script), *arguments], check=True, capture_output=True, cwd=folder
    )


if __name__ == "__main__":
    main()
