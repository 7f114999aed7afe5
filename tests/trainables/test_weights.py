"""Networks as bytes and back: the same answers, to the last bit, and no other network's weights."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from trainables import checkpoint, fold, inference
from trainables.epochs import MultimodalEpochs
from trainables.errors import CheckpointError
from trainables.multimodal import SleepMG
from trainables.selective import build_model
from trainables.settings import (
    AdversarySettings,
    EncoderSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.stages import UNSCORED, Stage
from trainables.weights import (
    classifier_from_bytes,
    classifier_to_bytes,
    sleepmg_from_bytes,
    sleepmg_to_bytes,
)

STAGES = tuple(Stage)
N_CHANNELS = {"eeg": 2, "eog": 1}


def classifier_bytes() -> bytes:
    torch.manual_seed(3)
    return classifier_to_bytes(build_model(EncoderSettings(), n_channels=2), EncoderSettings(), 2)


def sleepmg_bytes(n_domains: int = 3) -> bytes:
    settings = SleepMGSettings()
    model = SleepMG(N_CHANNELS, n_domains=n_domains, settings=settings.network)
    return sleepmg_to_bytes(model, settings, N_CHANNELS, n_domains)


@pytest.mark.heavy
def test_a_classifier_says_the_same_as_before() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = build_model(EncoderSettings(dropout=0.25), n_channels=2)
    x = np.random.default_rng(0).normal(size=(5, 2, 3000)).astype(np.float32)
    model.train()(torch.from_numpy(x))  # so that batch-norm has statistics of its own
    blob = classifier_to_bytes(model, EncoderSettings(dropout=0.25), 2)
    read = classifier_from_bytes(blob)
    assert not read.training
    expected = inference.predict(model, x, declared=STAGES)
    assert inference.predict(read, x, declared=STAGES).tobytes() == expected.tobytes()
    assert classifier_to_bytes(read, EncoderSettings(dropout=0.25), 2) == blob


@pytest.mark.heavy
@pytest.mark.parametrize("multimodal", [True, False])
@pytest.mark.parametrize("has_discriminator", [True, False])
def test_sleepmg_says_the_same_as_before(multimodal: bool, has_discriminator: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    settings = SleepMGSettings(
        network=NetworkSettings(multimodal=multimodal, fusion="concat"),
        adversary=AdversarySettings(enabled=has_discriminator),
        modulation=ModulationSettings(mod_f=False, mod_y=False, mod_d=False),
    )
    model = SleepMG(N_CHANNELS, n_domains=3 if has_discriminator else 0, settings=settings.network)
    rng = np.random.default_rng(0)
    epochs = MultimodalEpochs(
        x={m: rng.normal(size=(5, n, 3000)).astype(np.float32) for m, n in N_CHANNELS.items()},
        present=np.ones((5, 2), bool),
        subject=np.zeros(5, np.int64),
        stages=np.full(5, UNSCORED),
    )
    rows = np.arange(5)
    model.train()(epochs.signals(rows))
    blob = sleepmg_to_bytes(model, settings, N_CHANNELS, 3)  # training subjects, whatever is built
    read = sleepmg_from_bytes(blob)
    assert not read.training
    assert (read.discriminator is not None) == has_discriminator
    expected = fold.predict(model, epochs, rows, declared=STAGES)
    found = fold.predict(read, epochs, rows, declared=STAGES)
    assert found.probability.tobytes() == expected.probability.tobytes()
    assert found.own_stage.tobytes() == expected.own_stage.tobytes()
    assert sleepmg_to_bytes(read, settings, N_CHANNELS, 3) == blob


def test_a_pickle_is_not_opened() -> None:
    pickle_that_runs = b"cos\nsystem\n(S'exit 7'\ntR."
    for read in (classifier_from_bytes, sleepmg_from_bytes):
        with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
            read(pickle_that_runs)


@pytest.mark.parametrize(
    ("read", "blob"),
    [(classifier_from_bytes, sleepmg_bytes), (sleepmg_from_bytes, classifier_bytes)],
)
def test_weights_of_the_other_network_are_refused(
    read: Callable[[bytes], object], blob: Callable[[], bytes]
) -> None:
    with pytest.raises(CheckpointError, match="another network"):
        read(blob())


@pytest.mark.parametrize(
    ("read", "blob", "key", "value"),
    [
        # Of a later version, which has a setting more.
        (classifier_from_bytes, classifier_bytes, "encoder", {"architecture": "mrcnn", "new": 1}),
        (sleepmg_from_bytes, sleepmg_bytes, "settings", {"network": {}}),
        (classifier_from_bytes, classifier_bytes, "n_channels", 3),
        (sleepmg_from_bytes, sleepmg_bytes, "n_channels", {"eeg": 2, "emg": 1}),
        (sleepmg_from_bytes, sleepmg_bytes, "n_domains", "many"),
    ],
)
def test_weights_that_do_not_fit_their_settings_are_refused(
    read: Callable[[bytes], object], blob: Callable[[], bytes], key: str, value: object
) -> None:
    state, about = checkpoint.from_bytes(blob())
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(CheckpointError, match="cannot be built here"):
        read(checkpoint.to_bytes(state, {**about, key: text}))
