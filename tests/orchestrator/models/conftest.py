"""Records of models that nobody trained, and networks whose random weights give sharp answers."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.store.store import sha256
from trainables.epochs import Signals
from trainables.models.fusion import ConcatHead
from trainables.multimodal import SleepMG
from trainables.selective import build_model
from trainables.settings import (
    AdversarySettings,
    EncoderSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.weights import classifier_to_bytes, sleepmg_to_bytes

MakeRecord = Callable[..., ModelRecord]

PREPROCESSING = {
    "channels": {
        "eeg": [["EEG C3-M2", "C3A2"]],
        "eog": [["EOG E1-M2"]],
        "emg": [["EMG chin"]],
    },
    "filter_hz": {"eeg": [0.3, 35.0], "eog": [0.3, 35.0], "emg": [10.0, 45.0]},
    "sfreq": 100,
}


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A record of one network for EEG; what is given differs."""

    def make(weights: bytes | None = None, **given: Any) -> ModelRecord:
        entry = WeightsFile(
            file="seed-1.safetensors",
            sha256=sha256(weights or b"weights"),
            seed=1,
            fold=None,
            subject=None,
        )
        values: dict[str, Any] = {
            "name": "tau:t003",
            "method": "selective",
            "network": "mrcnn",
            "modalities": ("eeg",),
            "scale": "recording",
            "clip_spreads": 20.0,
            "preprocessing": PREPROCESSING,
            "stages": ("W", "N1", "N2", "N3", "REM"),
            "training": {
                "dataset": "ucddb",
                "title": "St. Vincent's | UCD",
                "url": "https://physionet.org/content/ucddb/1.0.0/",
                "licence": "ODC-By 1.0",
                "subjects": ["ucddb002", "ucddb003"],
            },
            "metrics": (),
            "about": {},
            "versions": {"sleep-orchestrator": "0.2.0"},
            "files": (entry,),
        }
        return ModelRecord(**{**values, **given})

    return make


def mrcnn_weights(n_channels: int = 1, seed: int = 0) -> bytes:
    """Weights of an MRCNN with a head."""
    torch.manual_seed(seed)
    model = build_model(EncoderSettings(), n_channels=n_channels)
    _meet(model, lambda: model(_waves(n_channels)))
    _strengthen(model.head)
    return classifier_to_bytes(model, EncoderSettings(), n_channels)


def sleepmg_weights(n_channels: dict[str, int], seed: int = 0, **network: Any) -> bytes:
    """Weights of a SleepMG; a multimodal one has a discriminator of three subjects."""
    torch.manual_seed(seed)
    several = network.get("multimodal", True)
    settings = SleepMGSettings(
        network=NetworkSettings(**network),
        adversary=AdversarySettings(enabled=several),
        modulation=ModulationSettings(mod_y=several, mod_d=several),
    )
    model = SleepMG(n_channels, n_domains=3 if several else 0, settings=settings.network)
    x = {modality: _waves(n) for modality, n in n_channels.items()}
    _meet(model, lambda: model(Signals(x=x, present=None)))
    _strengthen(cast(ConcatHead, model.classifier).output)
    return sleepmg_to_bytes(model, settings, n_channels, 3)


def _waves(n_channels: int) -> torch.Tensor:
    hz = torch.empty(32, n_channels, 1).uniform_(0.5, 20)
    noise = torch.randn(32, n_channels, 3000)
    return torch.sin(2 * torch.pi * hz * torch.arange(3000) / 100) + 0.3 * noise


def _meet(model: torch.nn.Module, run: Callable[[], Any]) -> None:
    """Let batch norms take the statistics of signals, as training does."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()
    with torch.no_grad():
        run()


def _strengthen(last: torch.nn.Linear) -> None:
    """Let answers differ: untrained, they are about one fifth for everything."""
    with torch.no_grad():
        last.weight *= 4
