"""Claims: balance costs a step of SleepMG at most 5 %; a NaiveMG step beats one that loops over channels by 1.3.

In one process with one thread, on random epochs in the montage of ISRUC-S3 (6 EEG, 2 EOG, 1 EMG, 1 ECG), batches of 32.
Rounds alternate between

- ``plain``: a step by hand that calls textbook one-dimensional layers once for each channel;
- ``naive``: the same network here, loss and update by hand: no scores, no records;
- ``NaiveMG``: our step with all modulation off, which records scores and ratios;
- ``SleepMG``: our step with classifier and discriminator modulated.

Printed are the medians and their ratios, and how long fetching a batch takes as a share of a step.
"""

import argparse
import json
import platform
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.balanced_step import BalancedStep
from trainables.epochs import MultimodalBatch, MultimodalEpochs
from trainables.fold import Fold, batch_of, build_model
from trainables.models.discriminator import reverse_gradient
from trainables.settings import FoldSettings, ModulationSettings, SleepMGSettings
from trainables.stages import Stage

RESULTS = Path(__file__).parent / "results"
CHANNELS = {"eeg": 6, "eog": 2, "emg": 1, "ecg": 1}
BATCH, N_SUBJECTS, GRL_WEIGHT = 32, 8, 0.01
OFF = ModulationSettings(mod_y=False, mod_d=False)


class PlainExtractor(nn.Module):
    """FeatureNet for one channel, written as a textbook would."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            *self._block(1, 32, 50, 6),
            nn.MaxPool1d(16),
            nn.Dropout(0.5),
            *(layer for n in (32, 64, 64) for layer in self._block(n, 64, 8)),
            nn.MaxPool1d(8),
        )
        self.wide = nn.Sequential(
            *self._block(1, 64, 400, 50),
            nn.MaxPool1d(8),
            nn.Dropout(0.5),
            *(layer for n in (64, 64, 64) for layer in self._block(n, 64, 6)),
            nn.MaxPool1d(4),
        )

    @staticmethod
    def _block(n_in: int, n_out: int, kernel: int, stride: int = 0) -> list[nn.Module]:
        convolution = (
            nn.Conv1d(n_in, n_out, kernel, stride)
            if stride
            else nn.Conv1d(n_in, n_out, kernel, padding="same")
        )
        return [convolution, nn.BatchNorm1d(n_out), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 3000) -> (B, 256)."""
        return torch.cat([self.narrow(x).flatten(1), self.wide(x).flatten(1)], dim=1)


class PlainNaiveMG(nn.Module):
    """NaiveMG that calls an extractor once for each channel."""

    def __init__(self, n_domains: int) -> None:
        super().__init__()
        self.extractors = nn.ModuleDict({modality: PlainExtractor() for modality in CHANNELS})
        width = 256 * sum(CHANNELS.values())
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Sequential(nn.Linear(width, 64), nn.Linear(64, len(Stage)))
        self.discriminator = nn.Sequential(nn.Linear(width, 64), nn.Linear(64, n_domains))

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits of stages and of domains."""
        parts = [
            self.extractors[modality](x[modality][:, i : i + 1])
            for modality, n in CHANNELS.items()
            for i in range(n)
        ]
        h = self.dropout(torch.cat(parts, dim=1))
        return self.classifier(h), self.discriminator(reverse_gradient(h, GRL_WEIGHT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/sleepmg.json")
    options = parser.parse_args()
    warnings.filterwarnings(
        "ignore", "Using padding='same'"
    )  # PyTorch of even kernels, in the plain one
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    epochs, fold = made_up_epochs()
    steps = make_steps(epochs, fold, options.device)
    batches = [
        batch_of(epochs, fold, np.arange(i * BATCH, (i + 1) * BATCH), options.device)
        for i in range(len(fold.train) // BATCH)
    ]
    times: dict[str, list[float]] = {name: [] for name in (*steps, "fetch")}
    for n in range(options.rounds + 3):
        batch = batches[n % len(batches)]
        for name, step in steps.items():
            times[name].append(timed(partial(step, batch), options.device))
        rows = np.random.default_rng(n).permutation(len(fold.train))[:BATCH]
        fetch = partial(batch_of, epochs, fold, rows, options.device)
        times["fetch"].append(timed(fetch, options.device))
    report({name: statistics.median(taken[3:]) for name, taken in times.items()}, options)


def made_up_epochs() -> tuple[MultimodalEpochs, Fold]:
    """Random epochs of eight training subjects and one to validate."""
    rng = np.random.default_rng(0)
    n = 20 * (N_SUBJECTS + 1)
    epochs = MultimodalEpochs(
        x={m: rng.standard_normal((n, c, 3000)).astype(np.float32) for m, c in CHANNELS.items()},
        present=np.ones((n, len(CHANNELS)), bool),
        subject=np.repeat(np.arange(N_SUBJECTS + 1), 20),
        stages=np.tile(np.arange(20) % 5, N_SUBJECTS + 1),
    )
    rows = np.arange(n)
    is_train = epochs.subject < N_SUBJECTS
    return epochs, Fold.of(epochs, rows[is_train], rows[~is_train], tuple(Stage))


def make_steps(
    epochs: MultimodalEpochs, fold: Fold, device: str
) -> dict[str, Callable[[MultimodalBatch], Any]]:
    """Return the four kinds of step."""
    weights = torch.tensor(FoldSettings().class_weights, device=device)

    def by_hand(
        model: nn.Module, logits_of: Callable[[MultimodalBatch], tuple[Tensor, Tensor]]
    ) -> Callable[[MultimodalBatch], float]:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def step(batch: MultimodalBatch) -> float:
            optimizer.zero_grad()
            logits, domain_logits = logits_of(batch)
            loss = functional.cross_entropy(logits, batch.stages, weight=weights)
            loss = loss + functional.cross_entropy(domain_logits, batch.domains)
            value = loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_value_(model.parameters(), 1.0)
            optimizer.step()
            return value

        return step

    def ours(modulation: ModulationSettings) -> BalancedStep:
        settings = SleepMGSettings(modulation=modulation)
        model = build_model(epochs, settings, fold.n_domains).to(device)
        return BalancedStep(
            model,
            torch.optim.Adam(model.parameters(), lr=1e-4),
            settings,
            class_weights=weights,
            n_steps_planned=1000,
        )

    plain = PlainNaiveMG(fold.n_domains).to(device)
    naive = build_model(epochs, SleepMGSettings(modulation=OFF), fold.n_domains).to(device)
    return {
        "plain": by_hand(plain, lambda batch: plain(batch.signals.x)),
        "naive": by_hand(naive, lambda batch: naive(batch.signals, GRL_WEIGHT)[:2]),
        "NaiveMG": ours(OFF),
        "SleepMG": ours(ModulationSettings()),
    }


def timed(action: Callable[[], object], device: str) -> float:
    """Return the seconds that something takes."""
    started = perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - started


def report(median: dict[str, float], options: argparse.Namespace) -> None:
    """Print medians and ratios, and write them where asked to."""
    found = {
        "device": options.device,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "median_ms": {name: round(1000 * value, 2) for name, value in median.items()},
        "SleepMG / NaiveMG (bar 1.05)": round(median["SleepMG"] / median["NaiveMG"], 3),
        "SleepMG / naive": round(median["SleepMG"] / median["naive"], 3),
        "plain / NaiveMG (aim 1.3)": round(median["plain"] / median["NaiveMG"], 3),
        "fetch / (fetch + SleepMG) (bar 0.05)": round(
            median["fetch"] / (median["fetch"] + median["SleepMG"]), 4
        ),
    }
    json.dump(found, sys.stdout, indent=1)
    print()
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        name = "sleepmg.json" if options.device == "cpu" else "sleepmg-gpu.json"
        (RESULTS / name).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
