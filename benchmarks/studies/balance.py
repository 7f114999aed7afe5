"""What balance does to a weak modality, and the gradient reversal to a discriminator, on made-up recordings.

Two questions, each over seeds of a generator setting that was fixed before the first result:

1. One dominant modality (EEG) and weak but informative ones: does balance (SleepMG) make the weak ones better by
   themselves, and the whole better, than NaiveMG? With the ratios and coefficients that show why.
2. Subjects differ in gain, and signals are left in microvolts: does the gradient reversal make the discriminator worse
   on held-out epochs of the training subjects, above chance?

Whatever comes out is the finding. Two processes of one thread each; about ten minutes.

    python benchmarks/studies/balance.py [--save]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats

from orchestrator.config.montage import load_montage
from orchestrator.labels import LabelGate, Split
from orchestrator.psg import feed
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.ingest import ingest
from orchestrator.psg.synthetic import write_domain
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.session import ray_session
from trainables.epochs import MultimodalEpochs
from trainables.fold import Fold, predict, predict_domains, train_fold
from trainables.metrics import macro_f1
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.stages import Stage

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ALL = tuple(Stage)

# The generator: ten channels of ISRUC-S3, 60 epochs a subject. EOG at half its contrast, so that EEG leads.
MONTAGE, HOURS, DOMINANCE = "isruc-s3", 0.5, {"eog": 0.5}
MODALITIES = ("eeg", "eog", "emg", "ecg")
WEAK = "emg"
BALANCE_SEEDS = tuple(range(101, 111))
N_TRAIN, N_TEST = 4, 2  # subjects; one more validates
GRL_SEEDS = (201, 202, 203, 204, 205)
N_GRL, SPREAD, HELD_OUT = 6, 2.0, 0.25  # subjects, spread between them, share of epochs held out
GRL_WEIGHT = 0.3

TRAINING = FoldSettings(n_passes=8, batch_size=32, patience=8, learning_rate=1e-3)
SGD = replace(TRAINING, optimizer="sgd", learning_rate=1e-2)
OFF = ModulationSettings(mod_y=False, mod_d=False)
ON = ModulationSettings()
ARMS: dict[str, SleepMGSettings] = {
    "NaiveMG": SleepMGSettings(modulation=OFF, training=TRAINING),
    "SleepMG, alpha 0.2": SleepMGSettings(modulation=ON, training=TRAINING),
    "SleepMG, alpha 0.8": SleepMGSettings(
        modulation=replace(ON, alpha_y=0.8, alpha_d=0.8), training=TRAINING
    ),
    "inverted, alpha 0.8": SleepMGSettings(
        modulation=replace(ON, alpha_y=0.8, alpha_d=0.8, invert=True), training=TRAINING
    ),
    "NaiveMG, SGD": SleepMGSettings(modulation=OFF, training=SGD),
    "SleepMG, SGD, gradients, alpha 0.8": SleepMGSettings(
        modulation=replace(ON, alpha_y=0.8, alpha_d=0.8, apply_to="gradient"), training=SGD
    ),
    f"{WEAK} alone": SleepMGSettings(
        network=NetworkSettings(multimodal=False), modulation=OFF, training=TRAINING
    ),
}
COMPARED = {  # each against the arm without balance and with the same optimiser
    "SleepMG, alpha 0.2": "NaiveMG",
    "SleepMG, alpha 0.8": "NaiveMG",
    "inverted, alpha 0.8": "NaiveMG",
    "SleepMG, SGD, gradients, alpha 0.8": "NaiveMG, SGD",
}


def main() -> int:
    """Run both studies, print them, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/balance.*")
    parser.add_argument("--quick", action="store_true", help="other seeds, one pass: does it run?")
    options = parser.parse_args()
    balance_seeds, grl_seeds = ((1,), (2,)) if options.quick else (BALANCE_SEEDS, GRL_SEEDS)
    n_passes = 1 if options.quick else None
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder, balance_seeds, grl_seeds)
        run = partial(run_job, folder, n_passes)
        jobs: list[tuple[str, int, Any]] = [
            ("balance", seed, arm) for seed in balance_seeds for arm in ARMS
        ]
        jobs += [("grl", seed, weight) for seed in grl_seeds for weight in (0.0, GRL_WEIGHT)]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(run, jobs))
    report = markdown(rows)
    print(report)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "balance.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "balance.md").write_text(report, encoding="utf-8")
    return 0


def make_data(folder: str, balance_seeds: Sequence[int], grl_seeds: Sequence[int]) -> None:
    """Write the recordings of all seeds and convert them as any others."""
    write: Callable[..., object] = partial(
        write_domain, shift=0, hours=HOURS, montage=load_montage(MONTAGE)
    )
    for seed in balance_seeds:
        n_subjects = N_TRAIN + 1 + N_TEST
        write(f"{folder}/data", n_subjects=n_subjects, seed=seed, dominance=DOMINANCE)
    for seed in grl_seeds:
        write(f"{folder}/data", n_subjects=N_GRL, seed=seed, spread=SPREAD)
    with ray_session():
        dataset = load_dataset(ROOT / "datasets" / "synthetic-isruc-s3.yaml")
        ingest(dataset, f"{folder}/data", Store.open(f"{folder}/store", writable=True))


def load(
    folder: str, seed: int, modalities: Sequence[str], scale: Literal["recording", "microvolts"]
) -> MultimodalEpochs:
    """Return the epochs of one seed; subjects in the order of their numbers."""
    store = Store.open(f"{folder}/store")
    recordings = [
        r
        for r in feed.stored_recordings(store, "synthetic-isruc-s3")
        if f"-seed{seed}-" in r.subject
    ]
    usable = [feed.usable_epochs(store, r) for r in recordings]
    with EventLog(store, f"events-{seed}.jsonl") as log:
        keys = [(r.dataset, r.subject, r.recording) for r in recordings]
        stages = LabelGate(store, log).read(keys, Split.FOLD_TRAIN, "study")
    x = {
        m: np.concatenate(
            [
                feed.read_signals(store, r, m, e, scale)
                for r, e in zip(recordings, usable, strict=True)
            ]
        )
        for m in modalities
    }
    n = sum(map(len, usable))
    return MultimodalEpochs(
        x=x,
        present=np.ones((n, len(x)), bool),
        subject=np.repeat(np.arange(len(recordings)), [len(e) for e in usable]),
        stages=np.concatenate([s[e] for s, e in zip(stages, usable, strict=True)]).astype(np.int64),
    )


def run_job(folder: str, n_passes: int | None, job: tuple[str, int, Any]) -> dict[str, Any]:
    """Train one arm with one seed; return what it reached."""
    torch.set_num_threads(1)
    study, seed, arm = job
    found = (
        balance(folder, seed, arm, n_passes)
        if study == "balance"
        else grl(folder, seed, arm, n_passes)
    )
    print(f"{study} {seed} {arm}", file=sys.stderr, flush=True)
    return {"study": study, "seed": seed, "arm": arm, **found}


def _shortened(settings: SleepMGSettings, n_passes: int | None) -> SleepMGSettings:
    if n_passes is None:
        return settings
    return replace(settings, training=replace(settings.training, n_passes=n_passes))


def balance(folder: str, seed: int, arm: str, n_passes: int | None) -> dict[str, Any]:
    """Return macro-F1 on the test subjects, of all modalities together and of each by itself, and rho and k."""
    modalities = (WEAK,) if arm == f"{WEAK} alone" else MODALITIES
    epochs = load(folder, seed, modalities, "recording")
    rows = np.arange(len(epochs.stages))
    test = rows[epochs.subject >= N_TRAIN + 1]
    fold = Fold.of(epochs, rows[epochs.subject < N_TRAIN], rows[epochs.subject == N_TRAIN], ALL)
    settings = _shortened(ARMS[arm], n_passes)
    outcome = train_fold(epochs, fold, declared=ALL, settings=settings, seed=seed)
    found = predict(outcome.model, epochs, test, declared=ALL)
    true = epochs.stages[test]
    details = [entry["details"] for entry in outcome.training.history]
    own = dict(zip(outcome.model.groups, found.own_stage, strict=True))
    return {
        "macro_f1": macro_f1(true, found.probability.argmax(axis=1), ALL),
        "own_macro_f1": {group: macro_f1(true, stages, ALL) for group, stages in own.items()},
        "domain_accuracy": details[-1].get("domain_accuracy"),
        "n_steps": outcome.training.n_steps,
        **{
            name: {
                m: statistics.fmean(d[f"{name}/{m}"] for d in details)
                for m in modalities
                if f"{name}/{m}" in details[0]
            }
            for name in ("score_y", "rho_y", "k_y", "score_d", "rho_d", "k_d")
        },
    }


def grl(folder: str, seed: int, weight: float, n_passes: int | None) -> dict[str, Any]:
    """Return the discriminator's accuracy on held-out epochs of the training subjects, and chance."""
    epochs = load(folder, seed, MODALITIES, "microvolts")
    rows = np.arange(len(epochs.stages))
    learned = rows[epochs.subject < N_GRL - 1]
    held_out = np.random.default_rng(seed).random(len(learned)) < HELD_OUT
    fold = Fold.of(epochs, learned[~held_out], rows[epochs.subject == N_GRL - 1], ALL)
    settings = SleepMGSettings(
        adversary=AdversarySettings(grl_weight=weight), modulation=OFF, training=TRAINING
    )
    outcome = train_fold(
        epochs, fold, declared=ALL, settings=_shortened(settings, n_passes), seed=seed
    )
    named = predict_domains(outcome.model, epochs, learned[held_out])
    # Subjects are numbered from 0 without a gap, as domains are.
    accuracy = float((named == epochs.subject[learned[held_out]]).mean())
    return {
        "accuracy": accuracy,
        "chance": 1 / fold.n_domains,
        "above_chance": accuracy - 1 / fold.n_domains,
        "n_held_out": int(held_out.sum()),
        "validation_macro_f1": max(e["validation"] for e in outcome.training.history),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return both studies as tables."""
    of = {(row["study"], row["arm"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows if row["study"] == "balance"})

    def values(arm: str, get: Callable[[dict[str, Any]], float]) -> list[float]:
        return [get(of["balance", arm, seed]) for seed in seeds]

    def fused(row: dict[str, Any]) -> float:
        return float(row["macro_f1"])

    def weak(row: dict[str, Any]) -> float:
        return float(row["own_macro_f1"].get(WEAK, row["macro_f1"]))

    lines = [
        "# What balance does",
        "",
        f"`benchmarks/studies/balance.py`: montage {MONTAGE}, {N_TRAIN} training, 1 validation and {N_TEST} test "
        f"subjects of 60 epochs, EOG at half its contrast, {len(seeds)} seeds ({seeds[0]} to {seeds[-1]}), "
        f"{of['balance', 'NaiveMG', seeds[0]]['n_steps']} steps. Macro-F1 on the test subjects, mean ± SD over seeds.",
        "",
        f"| arm | together | {WEAK} by itself | "
        + " | ".join(f"k_y {m}" for m in MODALITIES)
        + " |",
        "|---|---|---|" + "---|" * len(MODALITIES),
    ]
    for arm in ARMS:
        k = [[of["balance", arm, seed]["k_y"].get(m) for seed in seeds] for m in MODALITIES]
        cells = ["-" if None in of_m else f"{statistics.fmean(of_m):.2f}" for of_m in k]
        lines.append(
            f"| {arm} | {_spread(values(arm, fused))} | {_spread(values(arm, weak))} | "
            + " | ".join(cells)
            + " |"
        )
    lines += [
        "",
        f"| difference over seeds | together | p | {WEAK} by itself | p |",
        "|---|---|---|---|---|",
    ]
    for arm, without in COMPARED.items():
        cells = []
        for get in (fused, weak):
            differences = [
                a - b for a, b in zip(values(arm, get), values(without, get), strict=True)
            ]
            cells += [_spread(differences, "+"), _p(differences)]
        lines.append(f"| {arm} minus {without} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "p: two-sided Wilcoxon signed-rank test over seeds, not corrected for the number of rows.",
        "",
    ]
    lines += ["Ratios of NaiveMG (1: as good as the others), mean over seeds and passes: "]
    for name in ("rho_y", "rho_d"):
        means = {
            m: statistics.fmean(values("NaiveMG", lambda row, m=m, name=name: row[name][m]))  # type: ignore[misc]
            for m in MODALITIES
        }
        lines.append(f"{name} " + ", ".join(f"{m} {value:.2f}" for m, value in means.items()) + ".")
    lines += [
        "",
        "# What the gradient reversal does",
        "",
        f"{N_GRL - 1} training subjects with spread {SPREAD:g} in gain and spectra, signals in microvolts, modulation "
        f"off. Discriminator accuracy on {HELD_OUT:.0%} held-out epochs of the training subjects, minus chance.",
        "",
        f"| seed | lambda 0 | lambda {GRL_WEIGHT:g} | difference | stages, macro-F1 (lambda 0, {GRL_WEIGHT:g}) |",
        "|---|---|---|---|---|",
    ]
    differences = []
    for seed in sorted({row["seed"] for row in rows if row["study"] == "grl"}):
        free, reversed_ = (of["grl", weight, seed] for weight in (0.0, GRL_WEIGHT))
        differences.append(reversed_["above_chance"] - free["above_chance"])
        lines.append(
            f"| {seed} | {free['above_chance']:+.3f} | {reversed_['above_chance']:+.3f} | {differences[-1]:+.3f} | "
            f"{free['validation_macro_f1']:.3f}, {reversed_['validation_macro_f1']:.3f} |"
        )
    lines += ["", f"Mean difference {statistics.fmean(differences):+.3f}.", ""]
    return "\n".join(lines)


def _spread(values: Sequence[float], sign: str = "") -> str:
    sd = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.3f}{sd}"


def _p(differences: Sequence[float]) -> str:
    if not any(differences):
        return "-"
    return f"{stats.wilcoxon(differences).pvalue:.3f}"


if __name__ == "__main__":
    sys.exit(main())
