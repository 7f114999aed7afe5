"""Claim: 60 trials over tau and learning rate take a quarter of the time of a search that scores in every trial.

The real table of ``datasets/ucddb.yaml`` (twelve nights adapt to a thirteenth, batches of 32 epochs): 20 values of the
tau quantile times 3 learning rates, 30 steps each, all enqueued, on one Ray session with two trials at a time. Encoder
and epochs are there before the clock starts. Three sides:

- ours: ``orchestrator sweep``, with score table, journal, ledger and final table; equal selections are trained once;
- scores once: Ray Tune, where the driver encodes and scores first (POT, a pair at a time), and each trial finetunes;
- scores in every trial: Ray Tune, where each trial encodes and scores for itself. Its trials all do the same up to the
  finetuning, so only some are run (``--trials``), spread evenly over the 60, and the time is scaled to 60.

Printed: seconds, ratios, how many distinct selections there were, and whether each trial's objective equals that of
the side that scores once to the last bit.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.telemetry.session import prepare_ray_environment

prepare_ray_environment()

import ot  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
from ray import tune  # noqa: E402
from scipy.spatial.distance import cdist  # noqa: E402

from orchestrator.config.sweep import load_sweep  # noqa: E402
from orchestrator.labels import LabelGate, Split  # noqa: E402
from orchestrator.methods.pretrain.trial.encoder import ensure_encoder  # noqa: E402
from orchestrator.methods.selective.config.search import FirstTrial, RateRange  # noqa: E402
from orchestrator.methods.selective.config.sweep import SelectiveSweep  # noqa: E402
from orchestrator.methods.selective.plan import plan_sweep  # noqa: E402
from orchestrator.methods.selective.run.batches import batch_signals, batch_stages  # noqa: E402
from orchestrator.psg.dataset import load_dataset  # noqa: E402
from orchestrator.psg.ingest import ingest  # noqa: E402
from orchestrator.store.store import Store  # noqa: E402
from orchestrator.sweeps.epochs import unlabelled_epochs  # noqa: E402
from orchestrator.sweeps.objective import key_of  # noqa: E402
from orchestrator.sweeps.runner import run_sweep  # noqa: E402
from orchestrator.telemetry.events import EventLog  # noqa: E402
from orchestrator.telemetry.session import ray_session  # noqa: E402
from trainables import inference, metrics, selective  # noqa: E402
from trainables.settings import FinetuneSettings  # noqa: E402
from trainables.stage_loss import class_weights  # noqa: E402
from trainables.stages import Stage  # noqa: E402
from trainables.weights import classifier_from_bytes  # noqa: E402

ROOT = Path(__file__).parents[1]
TAUS = np.round(np.linspace(0, 0.95, 20), 2)
RATES = (3e-5, 1e-4, 3e-4)
CONFIGURATIONS = [
    {"tau_quantile": float(tau), "learning_rate": rate} for tau in TAUS for rate in RATES
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrays:
    """What a laboratory has in memory before it searches, whatever it searches with."""

    weights: bytes
    source_x: NDArray[np.float32]
    """(n_source_batches, batch_size, 1, 3000)."""
    target_x: NDArray[np.float32]
    """(n_target_batches, batch_size, 1, 3000)."""
    selectable: NDArray[np.intp]
    """Source batches that may be trained on."""
    stages: NDArray[np.int64]
    """(n_selectable, batch_size)."""
    held_out_x: NDArray[np.float32]
    held_out_stages: NDArray[np.int64]
    declared: tuple[Stage, ...]
    learned: tuple[Stage, ...]
    n_steps: int
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="folder of the UCDDB recordings")
    parser.add_argument("--trials", type=int, default=12, help="of the side that scores in each")
    options = parser.parse_args()
    if not options.data:
        print("no --data: nothing is measured")
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder, writable=True)
        sweep = searching_60()
        with ray_session(2):
            ingest(load_dataset(ROOT / "datasets/ucddb.yaml"), options.data, store)
            arrays = arrays_of(store, sweep)
            began = perf_counter()
            table = run_sweep(store, sweep).to_pylist()
            seconds = {"ours": perf_counter() - began}
            trials = [row for row in table if row["kind"] == "trial"]
            ours = {configuration_of(row): row["objective"] for row in trials}
            ref = [ray.put(arrays)]
            began = perf_counter()
            rewards = [ray.put(scored(arrays))]
            once = searched(ref, rewards, CONFIGURATIONS)
            seconds["scores once"] = perf_counter() - began
            some = CONFIGURATIONS[:: len(CONFIGURATIONS) // options.trials]
            began = perf_counter()
            searched(ref, None, some)
            scaled = (perf_counter() - began) * len(CONFIGURATIONS) / len(some)
            seconds["scores in every trial"] = scaled
    equal = [ours[key] == value for key, value in once.items()]
    print(
        json.dumps(
            {
                "load": round(os.getloadavg()[0], 1),
                "source_x_target_batches": [len(arrays.source_x), len(arrays.target_x)],
                "trials": len(trials),
                "trained": len({row["signature"] for row in trials}),
                "seconds": {side: round(value, 1) for side, value in seconds.items()},
                "trials_run_where_each_scores": len(some),
                "ratio": {
                    side: round(value / seconds["ours"], 2)
                    for side, value in seconds.items()
                    if side != "ours"
                },
                "wanted": {"scores in every trial": 4},
                "equal_objectives": f"{sum(equal)} of {len(equal)}",
            },
            indent=1,
        )
    )


def searching_60() -> SelectiveSweep:
    sweep = load_sweep(ROOT / "sweeps/tau-ucddb.yaml")
    assert isinstance(sweep, SelectiveSweep)
    space = sweep.search.space.model_copy(
        update={"learning_rate": RateRange(log_uniform=(1e-5, 1e-2))}
    )
    search = sweep.search.model_copy(
        update={
            "n_trials": len(CONFIGURATIONS),
            "space": space,
            "enqueue_taus": (),
            "enqueue": tuple(FirstTrial.model_validate(given) for given in CONFIGURATIONS),
        }
    )
    return sweep.model_copy(update={"search": search, "arms": ()})


def configuration_of(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["tau_quantile"], row["learning_rate"]


def arrays_of(store: Store, sweep: SelectiveSweep) -> Arrays:
    """Pretrain, and read signals and stages."""
    plan = plan_sweep(sweep, store)
    encoder = ensure_encoder(store, plan.encoder_request())
    chosen = [plan.source_batches[i] for i in plan.selectable]
    held_out = unlabelled_epochs(store, plan.objective_recordings, sweep.modality)
    with EventLog(store, "benchmark.jsonl") as log:
        gate = LabelGate(store, log)
        stages = batch_stages(
            gate, plan.train, chosen, sweep.batch_size, Split.SOURCE_TRAIN, "benchmark"
        )
        known = gate.read(
            [key_of(r) for r in plan.objective_recordings], Split.SOURCE_VALIDATION, "benchmark"
        )
    true = np.array(
        [known[r][e] for r, e in zip(held_out.recording, held_out.epoch_index, strict=True)]
    )
    return Arrays(
        weights=encoder.weights,
        source_x=batch_signals(store, plan.source, plan.source_batches, sweep.modality),
        target_x=batch_signals(store, plan.target_adapt, plan.target_batches, sweep.modality),
        selectable=np.array(plan.selectable),
        stages=stages,
        held_out_x=held_out.x,
        held_out_stages=true.astype(np.int64),
        declared=sweep.stages,
        learned=tuple(Stage[name] for name in encoder.metadata["learned_stages"]),
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
    )


def scored(arrays: Arrays) -> NDArray[np.float64]:
    """Encode all epochs and solve all pairs, as a script with POT does it; return the reward of each source batch."""
    torch.set_num_threads(1)
    model = classifier_from_bytes(arrays.weights)

    def features(x: NDArray[np.float32]) -> NDArray[np.float64]:
        flat = inference.encode(model, x.reshape(-1, *x.shape[2:]), "afr_gap")
        return flat.reshape(*x.shape[:2], -1).astype(np.float64)

    source, target = features(arrays.source_x), features(arrays.target_x)
    spread = source[arrays.selectable].reshape(-1, source.shape[-1]).std(axis=0)
    spread[spread == 0] = 1
    distance = [
        np.mean([ot.emd2([], [], cdist(s / spread, t / spread)) for t in target]) for s in source
    ]
    return np.asarray(1 / np.array(distance))


def searched(
    arrays: list[Any], rewards: list[Any] | None, configurations: list[dict[str, float]]
) -> dict[tuple[float, float], float]:
    """Run configurations with Ray Tune, two at a time; return the objective of each."""

    def trial(config: dict[str, Any]) -> dict[str, float]:
        given: Arrays = ray.get(arrays[0])
        reward = scored(given) if rewards is None else ray.get(rewards[0])
        return {"objective": finetuned(given, reward, **config["given"])}

    results = tune.Tuner(
        tune.with_resources(trial, {"CPU": 1}),
        param_space={"given": tune.grid_search(configurations)},
        tune_config=tune.TuneConfig(max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    ).fit()
    return {
        configuration_of(result.config["given"]): result.metrics["objective"]
        for result in (results[i] for i in range(len(results)))
        if result.config and result.metrics
    }


def finetuned(
    arrays: Arrays, reward: NDArray[np.float64], tau_quantile: float, learning_rate: float
) -> float:
    """Keep the best batches, finetune, and return the macro-F1 on the held-out subjects."""
    torch.set_num_threads(1)
    of_selectable = reward[arrays.selectable]
    n_kept = max(1, int(np.ceil(round((1 - tau_quantile) * len(of_selectable), 9))))
    kept = np.sort(np.argsort(-of_selectable, kind="stable")[:n_kept])
    model = classifier_from_bytes(arrays.weights)
    selective.finetune(
        model,
        arrays.source_x[arrays.selectable[kept]],
        arrays.stages[kept],
        declared=arrays.learned,
        class_weights=class_weights(arrays.stages.reshape(-1), arrays.declared),
        settings=FinetuneSettings(n_steps=arrays.n_steps, learning_rate=learning_rate),
        seed=arrays.seed,
    )
    probability = inference.predict(model, arrays.held_out_x, declared=arrays.learned)
    counted = np.isin(arrays.held_out_stages, list(arrays.declared))
    of_declared = np.full_like(probability, -1)
    of_declared[:, list(arrays.declared)] = probability[:, list(arrays.declared)]
    predicted = of_declared.argmax(axis=1)
    return metrics.macro_f1(arrays.held_out_stages[counted], predicted[counted], arrays.declared)


if __name__ == "__main__":
    main()
