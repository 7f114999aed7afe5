"""Tiny EDF files, made in memory, and the settings that read them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import edfio
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.psg.convert import Settings
from orchestrator.psg.dataset import DatasetFile, load_dataset
from orchestrator.psg.recordings import Source
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from trainables.stages import ANNOTATION_STAGES

EPOCH_S = 30

DATASET = """\
name: tiny
title: Tiny nights
licence: none
recordings:
  - files: "*.edf"
    subject: '^p\\d+'
    stages:
      from: annotations
channels:
  eeg: [[EEG, C3A2]]
"""


MakeEdf = Callable[..., bytes]
Noise = Callable[..., NDArray[np.float64]]


@pytest.fixture(scope="session")
def make_edf() -> MakeEdf:
    """Bytes of an EDF+ with one data record per epoch.

    ``signals``: label -> (values in ``unit``, Hz), all within ±``limit``. ``stages``: one letter per epoch, as in
    ``"W12?"``, each written as an annotation of 30 s; without stages and annotations it is a plain EDF.
    """

    def make(
        signals: dict[str, tuple[NDArray[np.float64], float]],
        stages: str | None = None,
        *,
        unit: str = "uV",
        limit: float = 500.0,
        annotations: Sequence[tuple[float, float | None, str]] = (),
    ) -> bytes:
        texts = [
            (EPOCH_S * i, EPOCH_S, f"Sleep stage {stage}") for i, stage in enumerate(stages or "")
        ]
        marks = [edfio.EdfAnnotation(*a) for a in (*texts, *annotations)]
        edf = edfio.Edf(
            [
                edfio.EdfSignal(
                    values,
                    sfreq,
                    label=label,
                    physical_dimension=unit,
                    physical_range=(-limit, limit),
                )
                for label, (values, sfreq) in signals.items()
            ],
            annotations=marks or None,
            data_record_duration=EPOCH_S,
        )
        sink = io.BytesIO()
        edf.write(sink)
        return sink.getvalue()

    return make


@pytest.fixture(scope="session")
def noise() -> Noise:
    """(n_epochs, seed, sfreq) -> a signal of that length, about 30 uV strong."""

    def make(n_epochs: int, seed: int = 0, sfreq: int = 128) -> NDArray[np.float64]:
        steps = np.random.default_rng(seed).normal(0, 8, n_epochs * EPOCH_S * sfreq)
        # An autoregressive signal, so that filtering leaves most of it.
        smooth = np.convolve(steps, 0.96 ** np.arange(100), mode="same")
        return np.clip(smooth, -490, 490)

    return make


@pytest.fixture(scope="session")
def settings() -> Settings:
    """One EEG channel in a wide band."""
    return Settings(
        labels=dict(ANNOTATION_STAGES),
        channels={"eeg": (("EEG",),)},
        filter_hz={"eeg": (0.3, 35.0)},
        labels_beyond_signal="quarantine",
    )


@pytest.fixture(scope="session")
def source() -> Source:
    """A recording that holds its own stages."""
    return Source(
        subject="p1",
        recording="p1-n1",
        path="p1-n1.edf",
        stage_path=None,
        stages=StagesFromAnnotations.model_validate({"from": "annotations"}),
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., DatasetFile]:
    """Data set files as a user writes them: the text above with replacements."""

    def load(replacements: dict[str, str] | None = None) -> DatasetFile:
        text = DATASET
        for old, new in (replacements or {}).items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = tmp_path / "tiny.yaml"
        path.write_text(text, encoding="utf-8")
        return load_dataset(path)

    return load


@pytest.fixture
def tiny_nights(tmp_path: Path, make_edf: MakeEdf, noise: Noise) -> Callable[..., Path]:
    """n -> a folder with that many nights of four epochs, one of them flat and one unscored."""

    def make(n: int) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        for i in range(n):
            signal = noise(4, seed=i)
            signal[EPOCH_S * 128 : 2 * EPOCH_S * 128] = 0
            data = make_edf({"EEG": (signal, 128)}, "W12?")
            (folder / f"p{i}-night.edf").write_bytes(data)
        return folder

    return make
