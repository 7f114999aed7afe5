"""The distance after finetuning against POT's own, and what must not change it."""

from typing import Any

import numpy as np
import ot
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.alignment.emd import Metric
from orchestrator.methods.selective.trial.distance import MAX_EPOCHS, evenly_spaced, target_emd
from trainables import inference, selective
from trainables.models.mrcnn import StageClassifier
from trainables.seeding import seed_everything
from trainables.settings import EncoderSettings


def signals(n: int, seed: int, gain: float = 1.0) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).normal(size=(n, 1, 3000)) * gain
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def model() -> StageClassifier:
    seed_everything(0)
    torch.set_num_threads(1)
    return selective.build_model(EncoderSettings(), n_channels=1).eval()


@pytest.mark.heavy
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("layer", ["afr_gap", "concat_gap"])
def test_it_is_that_of_pot(model: StageClassifier, metric: Metric, layer: str) -> None:
    source_x, target_x = signals(12, 1), signals(7, 2, gain=1.5)
    source, target = (
        inference.encode(model, x, layer).astype(np.float64) for x in (source_x, target_x)
    )
    spread = source.std(axis=0)
    spread[spread < 1e-6 * spread.max()] = 1
    cost = ot.dist(source / spread, target / spread, metric)
    expected = ot.emd2(np.full(12, 1 / 12), np.full(7, 1 / 7), cost)
    found = target_emd(model, source_x, target_x, layer, metric)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found > 0


def test_the_same_epochs_are_at_no_distance(model: StageClassifier) -> None:
    x = signals(6, 3)
    assert target_emd(model, x, x, "afr_gap", "euclidean") == 0


def test_shrinking_all_features_gains_nothing(
    model: StageClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_x, target_x = signals(8, 4), signals(8, 5, gain=1.5)
    before = target_emd(model, source_x, target_x, "afr_gap", "euclidean")
    encode = inference.encode

    def shrunk(*arguments: Any) -> NDArray[np.floating]:
        return encode(*arguments) / 1024

    monkeypatch.setattr(inference, "encode", shrunk)
    after = target_emd(model, source_x, target_x, "afr_gap", "euclidean")
    assert after == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, MAX_EPOCHS, MAX_EPOCHS + 1, 3 * MAX_EPOCHS, 100_003])
def test_epochs_are_taken_evenly(n: int) -> None:
    taken = evenly_spaced(n)
    assert len(taken) == min(n, MAX_EPOCHS)
    assert (taken[0], taken[-1]) == (0, n - 1)
    gaps = np.diff(taken)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_only_those_are_encoded(model: StageClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.float32]] = []

    def spy(model: StageClassifier, x: NDArray[np.float32], layer: str) -> NDArray[np.float32]:
        seen.append(x)
        return x[:, 0, :3]

    monkeypatch.setattr(inference, "encode", spy)
    x = np.random.default_rng(0).normal(size=(3 * MAX_EPOCHS, 1, 4)).astype(np.float32)
    target_emd(model, x, x[:5], "afr_gap", "euclidean")
    assert seen[0].tobytes() == x[evenly_spaced(len(x))].tobytes()
    assert seen[1].tobytes() == x[:5].tobytes()
