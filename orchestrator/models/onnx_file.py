"""A network of a kept model as an ONNX file, which runs without this program and without PyTorch.

Input is one tensor of scaled signals for each modality, output what staging says: the probability of each stage. A file
is handed out after ONNX Runtime has given with it what PyTorch gives.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.errors import ConfigError, IntegrityError, SetupError
from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.models.words import scaling_words
from orchestrator.psg.preprocess import EPOCH_N_TIMES, SFREQ
from trainables import checkpoint, fold, inference
from trainables.epochs import MultimodalEpochs, Signals
from trainables.errors import CheckpointError, DivergedError
from trainables.models.mrcnn import StageClassifier
from trainables.multimodal import SleepMG
from trainables.stages import STAGE_NAMES, UNSCORED, Stage
from trainables.weights import classifier_from_bytes, sleepmg_from_bytes

if TYPE_CHECKING:
    import onnx

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What the extra ``onnx`` installs."""

TOLERANCE = 1e-5
"""Most that a probability by ONNX Runtime may differ from PyTorch's."""

OPSET = 18
"""Version of ONNX's operators: the oldest that PyTorch writes, so that older programs run the file, too."""

OUTPUT = "probability"

_EXAMPLE = 3
"""Epochs in the example that the network is traced with: of 0 or 1, the batch axis would not be free."""

_BATCHES = (1, 2, 7)
"""Sizes of the batches of noise in the comparison, next to the structured epochs."""

_TYPICAL_UV = 25.0
"""Spread of an EEG in microvolts, where signals are not in spreads."""

Arrays = Mapping[str, NDArray[np.float32]]
"""Modality -> (n, n_channels, 3000) scaled signals, all modalities."""


def check_installed() -> None:
    """Refuse where a package of the extra is missing.

    Raises
    ------
    SetupError
    """
    missing = []
    for package in PACKAGES:
        try:
            import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise SetupError(
            f"ONNX files need {', '.join(missing)}, which this Python lacks. Install the extra: "
            "pip install 'sleep-orchestrator[onnx]'. Without --format onnx, a model is exported as it is."
        )


def onnx_file(record: ModelRecord, entry: WeightsFile, weights: bytes) -> bytes:
    """Return a network as an ONNX file; equal weights and versions give equal bytes.

    Inputs are named after the modalities, float32 of shape (n, n_channels, 3000), and an epoch has all of them. Output
    ``probability`` is float32 (n, 5): rows sum to 1, 0 for a stage that the model cannot say. n may be any number. The
    metadata of the file name model, stages, scaling and weights.

    Parameters
    ----------
    record : ModelRecord
    entry : WeightsFile
        Which of its files.
    weights : bytes
        Its content.

    Raises
    ------
    SetupError
        The extra ``onnx`` is not installed.
    ConfigError
        The training recordings of these weights lacked a modality of the model.
    IntegrityError
        The weights are of another network, or ONNX Runtime says something else than PyTorch.
    """
    check_installed()
    if entry.modalities is not None:
        unseen = [modality for modality in record.modalities if not entry.seen(modality)]
        raise ConfigError(
            f"{record.name}, {entry.file}: the recordings that it was trained on had no {', '.join(unseen)}, and an "
            "ONNX file takes all modalities. Nothing was written. Export the model without --format onnx."
        )
    network = _network(record, entry.file, weights)
    exported = _exported(network)
    _describe(exported, record, entry)
    content: bytes = exported.SerializeToString(deterministic=True)
    check_same(content, record, entry.file, weights)
    return content


def check_same(content: bytes, record: ModelRecord, file: str, weights: bytes) -> float:
    """Compare what ONNX Runtime says with a file, and what PyTorch says with weights.

    Both get noise and structured epochs, in batches of several sizes.

    Parameters
    ----------
    content : bytes
        Of an ONNX file.
    record : ModelRecord
    file : str
        Name of the weights, for errors.
    weights : bytes

    Returns
    -------
    float
        By how much a probability is off at most.

    Raises
    ------
    IntegrityError
        By more than `TOLERANCE`, or not a finite number.
    """
    network = _network(record, file, weights)
    session = _session(content)
    most = 0.0
    for x in _examples(network.n_channels, record.scale, record.clip_spreads):
        (found,) = session.run([OUTPUT], dict(x))
        try:
            off = float(np.abs(found - network.predict(x)).max())
        except DivergedError as error:
            raise IntegrityError(f"{record.name}, {file}: {error} Nothing was written.") from error
        if not off <= TOLERANCE:  # nor NaN
            raise IntegrityError(
                f"{record.name}, {file}: as ONNX, a probability is off by {off:.2g} from PyTorch's in a batch of "
                f"{len(found)} epochs; allowed: {TOLERANCE:g}. Nothing was written. Other versions of onnx, onnxscript "
                "and onnxruntime may do better; without --format onnx, the model is exported as it is."
            )
        most = max(most, off)
    return most


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    """A network in evaluation mode, with what is needed to call it."""

    module: StageClassifier | SleepMG
    n_channels: Mapping[str, int]
    """Of each modality, in the network's order."""
    stages: tuple[Stage, ...]
    """Those that it can say."""

    def predict(self, x: Arrays) -> NDArray[np.float32]:
        """Return the probability of each stage, (n, 5), as staging does."""
        if isinstance(self.module, StageClassifier):
            (only,) = x.values()
            return inference.predict(self.module, only, declared=self.stages)
        n = len(next(iter(x.values())))
        epochs = MultimodalEpochs(
            x=x,
            present=np.ones((n, len(x)), bool),
            subject=np.zeros(n, np.int64),
            stages=np.full(n, UNSCORED, np.int64),
        )
        return fold.predict(self.module, epochs, np.arange(n), declared=self.stages).probability


class _Answer(nn.Module):
    """From one tensor a modality to what `_Network.predict` returns."""

    def __init__(self, network: _Network) -> None:
        super().__init__()
        self.module = network.module
        self.modalities = tuple(network.n_channels)
        unsaid = torch.ones(len(Stage), dtype=torch.bool)
        unsaid[list(network.stages)] = False
        self.register_buffer("unsaid", unsaid)

    def forward(self, *x_BCT: Tensor) -> Tensor:
        if isinstance(self.module, SleepMG):
            x = dict(zip(self.modalities, x_BCT, strict=True))
            logits: Tensor = self.module(Signals(x=x, present=None)).logits
        else:
            logits = self.module(*x_BCT)
        assert isinstance(self.unsaid, Tensor)
        return logits.masked_fill(self.unsaid, -torch.inf).softmax(dim=1)


def _network(record: ModelRecord, file: str, weights: bytes) -> _Network:
    """Build the network, and check that its inputs are those of the record."""
    stages = tuple(Stage[name] for name in record.stages)
    try:
        module: StageClassifier | SleepMG
        if record.network == "mrcnn":
            module = classifier_from_bytes(weights)
            (modality,) = record.modalities
            n_channels = {modality: int(_n_channels(weights))}
        elif record.network == "sleepmg":
            module = sleepmg_from_bytes(weights)
            module.discriminator = None  # only training asks it
            n_channels = _n_channels(weights)
            if tuple(n_channels) != record.modalities:
                raise CheckpointError(f"theirs are {', '.join(n_channels)}.")
        else:
            raise CheckpointError("this version knows no such network.")
    except (CheckpointError, RuntimeError, ValueError) as error:
        raise IntegrityError(
            f"{record.name}, {file}: the weights are not those of network {record.network!r} with modalities "
            f"{', '.join(record.modalities)}: {error} Export the model from where it was kept."
        ) from error
    return _Network(module=module, n_channels=n_channels, stages=stages)


def _n_channels(weights: bytes) -> Any:
    """Return how many channels an MRCNN has, or each modality of a SleepMG."""
    return json.loads(checkpoint.from_bytes(weights)[1]["n_channels"])


def _exported(network: _Network) -> "onnx.ModelProto":
    example = tuple(torch.zeros(_EXAMPLE, n, EPOCH_N_TIMES) for n in network.n_channels.values())
    batch = torch.export.Dim("n")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Answer(network).eval(),
            example,
            dynamo=True,
            input_names=list(network.n_channels),
            output_names=[OUTPUT],
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return _without_traces(program.model_proto)


def _without_traces(exported: "onnx.ModelProto") -> "onnx.ModelProto":
    """Remove what the exporter notes of its own work: names of files and classes of this machine, and shapes inside."""
    graph = exported.graph
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    return exported


def _describe(exported: "onnx.ModelProto", record: ModelRecord, entry: WeightsFile) -> None:
    """Say in the file what it is, for who has nothing else."""
    import onnx

    exported.doc_string = (
        f"Sleep stages by {record.name} of sleep-orchestrator. Inputs: {', '.join(record.modalities)}; float32 (n, "
        f"channels, {EPOCH_N_TIMES}), an epoch of 30 s at {SFREQ} Hz each. {scaling_words(record)} Output: the "
        f"probability of {', '.join(STAGE_NAMES)}, float32 (n, {len(STAGE_NAMES)}). Not a medical device."
    )
    onnx.helper.set_model_props(
        exported,
        {
            "name": record.name,
            "method": record.method,
            "network": record.network,
            "modalities": ",".join(record.modalities),
            "sfreq": str(SFREQ),
            "epoch_s": str(EPOCH_N_TIMES // SFREQ),
            "scaling": scaling_words(record),
            "output_stages": ",".join(STAGE_NAMES),
            "stages_it_can_say": ",".join(record.stages),
            "weights_file": entry.file,
            "weights_sha256": entry.sha256,
        },
    )


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = (
        1  # like trials; and threads pinned to cores fail in some containers
    )
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _examples(n_channels: Mapping[str, int], scale: str, clip_spreads: float) -> Iterator[Arrays]:
    """Give batches of noise, and one of epochs as recordings have them."""
    rng = np.random.default_rng(1)
    unit = _TYPICAL_UV if scale == "microvolts" else 1.0
    for n in _BATCHES:
        yield {
            modality: (unit * rng.standard_normal((n, channels, EPOCH_N_TIMES))).astype(np.float32)
            for modality, channels in n_channels.items()
        }
    yield {
        modality: (unit * _structured(channels, clip_spreads)).astype(np.float32)
        for modality, channels in n_channels.items()
    }


def _structured(n_channels: int, clip_spreads: float) -> NDArray[np.float64]:
    """Return slow waves, spindles, beats, an artefact that is clipped and a flat epoch, (5, n_channels, 3000)."""
    time = np.arange(EPOCH_N_TIMES) / SFREQ
    slow = 2.5 * np.sin(2 * np.pi * 0.9 * time) + 0.2 * np.sin(2 * np.pi * 20 * time)
    spindles = (1 + 3 * (np.sin(2 * np.pi * 0.1 * time) > 0.9)) * np.sin(2 * np.pi * 13 * time)
    beats = np.where(np.mod(time, 0.9) < 0.04, 8.0, -0.1)
    artefact = np.clip(60 * np.sin(2 * np.pi * 0.3 * time), -clip_spreads, clip_spreads)
    epochs = np.stack([slow, spindles, beats, artefact, np.zeros_like(time)])
    gains = 1 / (1 + 0.3 * np.arange(n_channels))
    structured: NDArray[np.float64] = epochs[:, None] * gains[:, None]
    return structured


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter warns of its own: a missing torchvision, and calls that PyTorch deprecates."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
