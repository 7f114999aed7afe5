"""Claim: a sweep of trivial trials reaches 90 % of the trials per second of Ray Tune with OptunaSearch alone.

Both sides propose with the same seeded TPE sampler, run two trials at a time in reused actors of one Ray session, and
take as many trials. Ours also keeps the journal, the event log, signatures and names, and computes the objective in the
driver; the peer's study is in memory, as is OptunaSearch's default. Rounds alternate; printed are the medians of trials
per second, from the call to its return, and their ratio.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
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
from orchestrator.store import paths  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.sweep.execution import AfterPart, Outcome, Run  # noqa: E402
from orchestrator.sweep.halt import Halt  # noqa: E402
from orchestrator.sweep.search import SIGNATURE, Scores  # noqa: E402
from orchestrator.sweep.tuning import run_search  # noqa: E402
from orchestrator.sweep.workers import InputsRef  # noqa: E402
from orchestrator.telemetry.events import EventLog  # noqa: E402
from orchestrator.telemetry.session import ray_session  # noqa: E402
from search_spaces.space import Uniform  # noqa: E402

SIDE_BY_SIDE = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    sides: dict[str, Callable[[int, int, Path], None]] = {"ours": ours, "Ray Tune": raw_tune}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with ray_session(2), tempfile.TemporaryDirectory() as scratch:
        for name, side in sides.items():  # the first start of an actor imports everything
            side(4, 0, Path(scratch, f"warm-{name}"))
        for number in range(options.rounds):
            for name, side in sides.items():
                began = perf_counter()
                side(options.trials, number, Path(scratch, f"{name}-{number}"))
                rates[name].append(options.trials / (perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "trials_per_s": {name: round(value, 2) for name, value in medians.items()},
                "rounds": {n: [round(v, 2) for v in values] for n, values in rates.items()},
                "ratio": round(medians["ours"] / medians["Ray Tune"], 3),
                "wanted": 0.9,
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


if __name__ == "__main__":
    main()
