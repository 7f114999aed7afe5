"""What can be staged and what stages it, for tests: small EDF files, and models with weights that nothing trained."""

from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from orchestrator.models.record import FILE, ModelRecord, WeightsFile
from orchestrator.psg.convert import Settings, epoch_table
from orchestrator.psg.ingest import MANIFEST_SCHEMA
from orchestrator.psg.recordings import Source
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from trainables.multimodal import SleepMG
from trainables.selective import build_model
from trainables.settings import EncoderSettings, NetworkSettings, SleepMGSettings
from trainables.stages import ANNOTATION_STAGES, STAGE_NAMES
from trainables.weights import classifier_to_bytes, sleepmg_to_bytes

EPOCH_S = 30
SFREQ = 100

CHANNELS: Mapping[str, Sequence[Sequence[str]]] = {
    "eeg": [["EEG Fpz-Cz", "Fpz-Cz"]],
    "eog": [["EOG horizontal"]],
    "emg": [["EMG submental"]],
}
BANDS = {"eeg": [0.3, 35.0], "eog": [0.3, 35.0], "emg": [10.0, 45.0]}


def signal(n_epochs: float, seed: int = 0, sfreq: int = SFREQ) -> NDArray[np.float64]:
    """Noise of about 20 uV, slow enough that filters leave most of it."""
    steps = np.random.default_rng(seed).normal(0, 8, round(n_epochs * EPOCH_S * sfreq))
    return np.clip(np.convolve(steps, 0.9 ** np.arange(60), mode="same"), -480, 480)


def write_edf(
    path: Path,
    signals: Mapping[str, NDArray[np.float64]],
    stages: str = "",
    *,
    onset_s: float = 0.0,
    sfreq: int = SFREQ,
    unit: str = "uV",
    limit: float = 500.0,
    start: tuple[date, time] | None = (date(2024, 3, 5), time(22, 47, 30)),
) -> Path:
    """Write an EDF+; ``stages`` has a letter for each epoch, as in ``"W12?"``."""
    marks = [
        edfio.EdfAnnotation(onset_s + EPOCH_S * i, EPOCH_S, f"Sleep stage {stage}")
        for i, stage in enumerate(stages)
    ]
    edf = edfio.Edf(
        [
            edfio.EdfSignal(
                values,
                sfreq,
                label=label,
                physical_dimension=unit,
                physical_range=(-limit, limit),
            )
            for label, values in signals.items()
        ],
        recording=edfio.Recording(startdate=start[0]) if start else None,
        starttime=start[1] if start else None,
        annotations=marks or None,
        data_record_duration=None if not signals else 1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    edf.write(path)
    return path


def night(path: Path, n_epochs: float = 3, seed: int = 0, stages: str = "", **more: Any) -> Path:
    """Write a recording of one EEG channel."""
    return write_edf(path, {"EEG Fpz-Cz": signal(n_epochs, seed)}, stages, **more)


def preprocessing(
    modalities: Sequence[str] = ("eeg",),
    channels: Mapping[str, Sequence[Sequence[str]]] = CHANNELS,
    optional: Sequence[str] = (),
) -> dict[str, Any]:
    """What an epoch file says of how it was made."""
    return settings(modalities, channels, optional).as_json()


def settings(
    modalities: Sequence[str] = ("eeg",),
    channels: Mapping[str, Sequence[Sequence[str]]] = CHANNELS,
    optional: Sequence[str] = (),
) -> Settings:
    return Settings(
        labels=dict(ANNOTATION_STAGES),
        channels={m: tuple(map(tuple, channels[m])) for m in modalities},
        filter_hz={m: (BANDS[m][0], BANDS[m][1]) for m in modalities},
        labels_beyond_signal="quarantine",
        optional=tuple(optional),
    )


def mrcnn_weights(seed: int = 0, n_channels: int = 1) -> bytes:
    torch.manual_seed(seed)
    model = build_model(EncoderSettings(), n_channels=n_channels)
    return classifier_to_bytes(model, EncoderSettings(), n_channels)


def sleepmg_weights(n_channels: Mapping[str, int], seed: int = 0, n_domains: int = 3) -> bytes:
    torch.manual_seed(seed)
    given = SleepMGSettings(network=NetworkSettings(multimodal=len(n_channels) > 1))
    model = SleepMG(n_channels, n_domains=n_domains, settings=given.network)
    return sleepmg_to_bytes(model, given, n_channels, n_domains)


def record(weights: Sequence[bytes], **more: Any) -> ModelRecord:
    """Record of a model of one EEG channel; keywords replace its fields, ``subjects`` those of the weights."""
    subjects = more.pop("subjects", [None] * len(weights))
    usual: dict[str, Any] = {
        "name": "probe:t001",
        "method": "selective",
        "network": "mrcnn",
        "modalities": ("eeg",),
        "scale": "recording",
        "clip_spreads": 20.0,
        "preprocessing": preprocessing(),
        "stages": STAGE_NAMES,
        "training": {"dataset": "home", "subjects": ["p1"], "recordings": ["p1-n1"]},
        "metrics": (),
        "about": {},
        "versions": {},
        "files": tuple(
            WeightsFile(
                file=f"seed-{i}.safetensors",
                sha256=sha256(content),
                seed=i,
                fold=None,
                subject=subject,
            )
            for i, (content, subject) in enumerate(zip(weights, subjects, strict=True))
        ),
    }
    return ModelRecord(**{**usual, **more})


def write_model(
    store: Store, folder: str, weights: Sequence[bytes] | None = None, **more: Any
) -> ModelRecord:
    """Write the folder of a model, as a sweep does."""
    weights = [mrcnn_weights()] if weights is None else weights
    made = record(weights, **more)
    at = f"{folder}/" if folder else ""
    for entry, content in zip(made.files, weights, strict=True):
        store.write_bytes(at + entry.file, content)
    store.write_bytes(at + FILE, made.as_json())
    return made


def ingest(store: Store, dataset: str, subject: str, file: Path, how: Settings) -> None:
    """Add a recording to a store, as ingest does, without Ray."""
    source = Source(
        subject=subject,
        recording=file.stem,
        path=file.name,
        stage_path=None,
        stages=StagesFromAnnotations.model_validate({"from": "annotations", "optional": True}),
    )
    table = epoch_table(source, how, file, None)
    digest = store.write_table(paths.epochs(dataset, subject, file.stem), table)
    row = {"subject": subject, "recording": file.stem, "status": "ok", "epochs_sha256": digest}
    path = paths.manifest(dataset)
    rows = store.read_table(path).to_pylist() if store.exists(path) else []
    store.write_table(path, pa.Table.from_pylist([*rows, row], schema=MANIFEST_SCHEMA))
