"""Small made-up epochs of two or three modalities whose stages a network can learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainables.epochs import MultimodalEpochs

N_TIMES = 2000  # about the shortest that FeatureNet's wide branch accepts

MakeEpochs = Callable[..., MultimodalEpochs]


@pytest.fixture
def make_epochs() -> MakeEpochs:
    """Epochs of sines whose frequency tells the stage, and whose gain tells the subject."""
    torch.set_num_threads(1)

    def make(
        n_subjects: int = 4,
        n_each: int = 10,
        channels: dict[str, int] | None = None,
        noise: dict[str, float] | None = None,
        gain_spread: float = 0.5,
        seed: int = 0,
        **overrides: Any,
    ) -> MultimodalEpochs:
        rng = np.random.default_rng(seed)
        channels = channels or {"eeg": 2, "eog": 1, "emg": 1}
        n = n_subjects * n_each
        subject = np.repeat(np.arange(n_subjects), n_each)
        stages = np.tile(np.arange(n_each) % 5, n_subjects)
        times = np.arange(N_TIMES) / 100
        gain = np.exp(gain_spread * rng.standard_normal(n_subjects))[subject]
        x = {}
        for modality, n_channels in channels.items():
            tone = np.sin(2 * np.pi * (1 + 3 * stages)[:, None, None] * times)
            noises = rng.standard_normal((n, n_channels, N_TIMES))
            x[modality] = (
                gain[:, None, None] * (tone + (noise or {}).get(modality, 0.5) * noises)
            ).astype(np.float32)
        return MultimodalEpochs(
            **{
                "x": x,
                "present": np.ones((n, len(channels)), bool),
                "subject": subject,
                "stages": stages,
                **overrides,
            }
        )

    return make
