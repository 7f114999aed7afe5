"""Probabilities and features of noise, from models with random weights."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainables.checkpoint import to_bytes
from trainables.errors import DivergedError, EpochsError, SettingsError
from trainables.inference import encode, predict
from trainables.models.mrcnn import StageClassifier
from trainables.selective import build_model
from trainables.settings import EncoderSettings
from trainables.stages import Stage

N_TIMES = 600
ALL = tuple(Stage)
FEW = (Stage.W, Stage.N2, Stage.N3)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def noise(n_epochs: int) -> NDArray[np.float32]:
    x = np.random.default_rng(0).normal(size=(n_epochs, 1, N_TIMES)).astype(np.float32)
    x.setflags(write=False)  # as arrays from an object store are
    return x


def fresh_model() -> StageClassifier:
    torch.manual_seed(0)
    return build_model(EncoderSettings(), n_channels=1, n_times=N_TIMES)


def test_probabilities_are_a_softmax_over_the_declared_stages() -> None:
    model = fresh_model()
    x = noise(5)
    before = to_bytes(model.state_dict(), {})
    found = predict(model, x, declared=FEW)
    assert model.training  # the mode is given back, the statistics were not touched
    assert to_bytes(model.state_dict(), {}) == before
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(x.copy())).double().numpy()
    chosen = np.exp(logits[:, list(FEW)])
    assert found.shape == (5, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, FEW], chosen / chosen.sum(1, keepdims=True), rtol=1e-5)
    assert not found[:, [1, 4]].any()


@pytest.mark.parametrize("n_epochs", [0, 1, 4, 5])
def test_batch_size_is_only_a_matter_of_memory(n_epochs: int) -> None:
    model = fresh_model()
    x = noise(5)
    x = x[:n_epochs]
    np.testing.assert_allclose(
        predict(model, x, declared=ALL, batch_size=2),
        predict(model, x, declared=ALL),
        rtol=1e-4,
        atol=1e-6,
    )
    features = encode(model, x, "afr_gap", batch_size=2)
    assert features.shape == (n_epochs, 30)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, encode(model, x, "afr_gap"), rtol=1e-4, atol=1e-6)


def test_features_at_3000_times() -> None:
    model = build_model(EncoderSettings(), n_channels=1)
    x = np.random.default_rng(0).normal(size=(2, 1, 3000)).astype(np.float32)
    for layer, feature_dim in {"afr_gap": 30, "afr_flat": 2400, "concat_gap": 128}.items():
        assert encode(model, x, layer).shape == (2, feature_dim)


def test_features_are_repeatable_without_dropout() -> None:
    model, x = fresh_model(), noise(3)
    assert encode(model, x, "concat_gap").tobytes() == encode(model, x, "concat_gap").tobytes()


@pytest.mark.parametrize("call", [predict, encode])
def test_weights_that_are_not_finite_give_an_error_and_no_nan(call: Any) -> None:
    model, x = fresh_model(), noise(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    arguments = {"declared": ALL} if call is predict else {"layer": "afr_gap"}
    with pytest.raises(DivergedError, match="NaN or infinite"):
        call(model, x, **arguments)


def test_bad_arguments_of_prediction_are_refused() -> None:
    model, x = fresh_model(), noise(2)
    with pytest.raises(EpochsError, match=r"shape \(2, 600\)"):
        predict(model, x[:, 0], declared=ALL)
    with pytest.raises(SettingsError, match="batch_size is 0"):
        encode(model, x, "afr_gap", batch_size=0)
    with pytest.raises(SettingsError, match="layer is 'gap'"):
        encode(model, x, "gap")
