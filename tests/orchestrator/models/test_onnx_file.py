"""ONNX files give what PyTorch gives, and need neither PyTorch nor this program."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.models.card import model_card
from orchestrator.models.export import exported_files
from orchestrator.models.onnx_file import check_same, onnx_file
from orchestrator.models.record import ModelRecord, WeightsFile
from orchestrator.psg.convert import Settings, epoch_table
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.feed import counts_of, scaled_signals
from orchestrator.psg.recordings import find_recordings
from orchestrator.psg.synthetic import recording
from orchestrator.store.store import Store
from tests.orchestrator.models.conftest import mrcnn_weights, sleepmg_weights
from trainables import fold, inference
from trainables.checkpoint import from_bytes, to_bytes
from trainables.epochs import MultimodalEpochs
from trainables.stages import Stage
from trainables.weights import classifier_from_bytes, sleepmg_from_bytes

if TYPE_CHECKING:
    from tests.orchestrator.models.conftest import MakeRecord

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

pytestmark = pytest.mark.heavy

FEW = ("W", "N2", "N3")
CHANNELS = {"eeg": 2, "eog": 1, "emg": 1}

KINDS: dict[str, dict[str, Any]] = {
    "mrcnn": {},
    "sleepmg": {"fusion": "concat"},
    "sleepmg film": {"fusion": "film", "channels": "planes"},
    "one extractor": {"multimodal": False},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def weights_of(kind: str) -> bytes:
    return mrcnn_weights(2) if kind == "mrcnn" else sleepmg_weights(CHANNELS, **KINDS[kind])


def record_of_kind(make_record: "MakeRecord", kind: str, **given: Any) -> ModelRecord:
    if kind == "mrcnn":
        return make_record(weights_of(kind), stages=FEW, **given)
    values: dict[str, Any] = {"network": "sleepmg", "modalities": tuple(CHANNELS), "stages": FEW}
    return make_record(weights_of(kind), **{**values, **given})


@pytest.fixture(scope="module")
def made(make_record: "MakeRecord") -> dict[str, tuple[ModelRecord, bytes]]:
    """Kind of network -> record and ONNX file."""
    records = {kind: record_of_kind(make_record, kind) for kind in KINDS}
    return {
        kind: (record, onnx_file(record, record.files[0], weights_of(kind)))
        for kind, record in records.items()
    }


def test_weights_that_have_not_learned_a_modality_are_refused(make_record: "MakeRecord") -> None:
    record = record_of_kind(make_record, "sleepmg")
    entry = replace(record.files[0], modalities=("eeg", "emg"))
    with pytest.raises(ConfigError, match="had no eog, and an ONNX file takes all"):
        onnx_file(record, entry, weights_of("sleepmg"))


def by_torch(kind: str, x: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """What staging says, without any code of the export."""
    declared = [Stage[name] for name in FEW]
    if kind == "mrcnn":
        model = classifier_from_bytes(weights_of(kind))
        return inference.predict(model, x["eeg"], declared=declared)
    n = len(x["eeg"])
    epochs = MultimodalEpochs(
        x=x, present=np.ones((n, 3), bool), subject=np.zeros(n, int), stages=np.full(n, -1)
    )
    network = sleepmg_from_bytes(weights_of(kind))
    return fold.predict(network, epochs, np.arange(n), declared=declared).probability


def waves(n: int, kind: str) -> dict[str, NDArray[np.float32]]:
    """Epochs of all strengths, from silence to artefacts."""
    rng = np.random.default_rng(n)
    strength = np.linspace(0, 3, n)[:, None, None]
    time = np.arange(3000) / 100
    found = {}
    for modality, n_channels in CHANNELS.items():
        hz = rng.uniform(0.5, 20, (n, n_channels, 1))
        noise = rng.standard_normal((n, n_channels, 3000))
        x = strength * (np.sin(2 * np.pi * hz * time) + 0.3 * noise)
        found[modality] = np.clip(x, -20, 20).astype(np.float32)
    return {"eeg": found["eeg"]} if kind == "mrcnn" else found


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_those_of_staging(made: Any, kind: str) -> None:
    record, content = made[kind]
    session = onnxruntime.InferenceSession(content)
    for n in (1, 2, 65):
        x = waves(n, kind)
        (found,) = session.run(None, x)
        assert (found.shape, found.dtype) == ((n, 5), np.float32)
        np.testing.assert_allclose(found, by_torch(kind, x), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-5)
        assert not found[:, [Stage.N1, Stage.REM]].any()
    assert np.ptp(found, axis=0).max() > 0.1  # epochs differ, so that equality says something
    assert check_same(content, record, "seed-1.safetensors", weights_of(kind)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_the_modalities_with_a_free_number_of_epochs(made: Any, kind: str) -> None:
    _, content = made[kind]
    session = onnxruntime.InferenceSession(content)
    channels = {"eeg": 2} if kind == "mrcnn" else CHANNELS
    assert {i.name: i.shape for i in session.get_inputs()} == {
        modality: ["n", n, 3000] for modality, n in channels.items()
    }
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("probability", ["n", 5])]
    empty = {modality: np.zeros((0, n, 3000), np.float32) for modality, n in channels.items()}
    assert session.run(None, empty)[0].shape == (0, 5)


def test_microvolts(make_record: "MakeRecord") -> None:
    record = record_of_kind(make_record, "mrcnn", scale="microvolts")
    content = onnx_file(record, record.files[0], weights_of("mrcnn"))
    x = {"eeg": 30 * waves(8, "mrcnn")["eeg"]}
    (found,) = onnxruntime.InferenceSession(content).run(None, x)
    np.testing.assert_allclose(found, by_torch("mrcnn", x), rtol=0, atol=1e-5)
    said = onnx.load_from_string(content).doc_string
    assert "microvolts, not clipped" in said


def test_the_file_says_what_it_is(made: Any, root: Path) -> None:
    record, content = made["sleepmg"]
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert said["name"] == "tau:t003"
    assert said["weights_sha256"] == hashlib.sha256(weights_of("sleepmg")).hexdigest()
    assert said["weights_file"] == record.files[0].file
    assert said["output_stages"] == "W,N1,N2,N3,REM"
    assert said["stages_it_can_say"] == "W,N2,N3"
    assert "interquartile range / 1.349" in said["scaling"]
    assert "clipped at ±20" in model.doc_string
    assert "Not a medical device" in model.doc_string
    # The exporter would note where the code lies, and name its classes.
    for word in (str(root), "site-packages", ".py", "trainables"):
        assert word.encode() not in content


def test_another_process_makes_the_same_bytes(made: Any, tmp_path: Path) -> None:
    record, content = made["mrcnn"]
    (tmp_path / "model.json").write_bytes(record.as_json())
    (tmp_path / "weights").write_bytes(weights_of("mrcnn"))
    code = (
        "import sys, hashlib, torch\n"
        "from pathlib import Path\n"
        "from orchestrator.models.onnx_file import onnx_file\n"
        "from orchestrator.models.record import record_of\n"
        "torch.set_num_threads(1)\n"
        "folder = Path(sys.argv[1])\n"
        "record = record_of((folder / 'model.json').read_bytes(), 'model.json')\n"
        "content = onnx_file(record, record.files[0], (folder / 'weights').read_bytes())\n"
        "print(hashlib.sha256(content).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == [hashlib.sha256(content).hexdigest()]
    assert done.stderr == ""


def test_a_file_that_is_off_is_refused_with_the_number(made: Any, make_record: Any) -> None:
    _, content = made["mrcnn"]
    other = mrcnn_weights(2, seed=1)
    record = make_record(other, stages=FEW)
    with pytest.raises(IntegrityError, match=r"off by 0\.\d+ from PyTorch's .* allowed: 1e-05"):
        check_same(content, record, "seed-1.safetensors", other)


def test_weights_that_are_not_finite(made: Any) -> None:
    record, content = made["mrcnn"]
    state, about = from_bytes(weights_of("mrcnn"))
    state["head.bias"][0] = torch.nan
    with pytest.raises(IntegrityError, match=r"tau:t003, w: the model gives NaN"):
        check_same(content, record, "w", to_bytes(state, about))


@pytest.mark.parametrize("given", [{"network": "sleepmg"}, {"network": "later"}])
def test_weights_of_another_network(make_record: Any, given: dict[str, Any]) -> None:
    record = make_record(weights_of("mrcnn"), **given)
    with pytest.raises(IntegrityError, match="weights are not those of network"):
        onnx_file(record, record.files[0], weights_of("mrcnn"))


def test_inputs_that_are_not_those_of_the_record(make_record: Any) -> None:
    record = record_of_kind(make_record, "sleepmg", modalities=("eog", "eeg", "emg"))
    with pytest.raises(IntegrityError, match="modalities eog, eeg, emg"):
        onnx_file(record, record.files[0], weights_of("sleepmg"))


def entries_of(weights: dict[str, bytes]) -> tuple[WeightsFile, ...]:
    return tuple(
        WeightsFile(
            file=name,
            sha256=hashlib.sha256(content).hexdigest(),
            seed=seed,
            fold=None,
            subject=None,
        )
        for seed, (name, content) in enumerate(weights.items(), start=1)
    )


def python_of(card: bytes) -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", card.decode(), re.M | re.S)
    return str(block)


def test_the_python_of_the_page_on_models(made: Any, root: Path, tmp_path: Path) -> None:
    _, content = made["mrcnn"]
    (tmp_path / "seed-1.onnx").write_bytes(content)
    x = waves(4, "mrcnn")
    np.save(tmp_path / "eeg.npy", x["eeg"])
    code = python_of((root / "docs/models.md").read_bytes()) + "print(*stages)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    expected = by_torch("mrcnn", x).argmax(axis=1)
    assert done.stdout.split() == [Stage(i).name for i in expected]


def test_the_python_of_the_card_stages_a_recording_without_this_program(
    make_record: "MakeRecord", root: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(str(root / "datasets/synthetic.yaml"))
    edf = recording([0, 0, 1, 2, 2, 2, 3, 3, 4, 4], shift=0.5)
    edf.write(tmp_path / "shift0-RECORDING.edf")
    (source,) = find_recordings(dataset, Store.open(str(tmp_path)))
    content = (tmp_path / source.path).read_bytes()
    table = epoch_table(source, Settings.of(dataset), content, None)
    about = json.loads(table.schema.metadata[b"psg"])
    modalities = ("eeg", "emg")
    x = {
        m: scaled_signals(counts_of(table[m]), about["channels"][m], "recording")
        for m in modalities
    }

    weights = {
        f"seed-{seed}.safetensors": sleepmg_weights({"eeg": 1, "emg": 1}, seed) for seed in (1, 2)
    }
    record = make_record(
        network="sleepmg",
        modalities=modalities,
        preprocessing=about["preprocessing"],
        stages=tuple(Stage.__members__),
        files=entries_of(weights),
    )
    files = exported_files(record, weights, onnx=True)
    networks = ["seed-1.onnx", "seed-2.onnx"]
    assert list(files) == [*weights, *networks, "README.md", "model.json"]
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in networks}
    assert files["README.md"] == model_card(record, digests)

    work = tmp_path / "handed on"
    work.mkdir()
    for name in networks:
        (work / name).write_bytes(files[name])
    (work / "RECORDING.edf").write_bytes(content)
    code = python_of(files["README.md"]) + (
        "import sys\n"
        "assert not {'torch', 'orchestrator', 'trainables'} & set(sys.modules)\n"
        "np.savez('found.npz', probability=probability, stages=stages, **x)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    found = np.load(work / "found.npz")
    for modality in modalities:  # but for the 16 bits of the store
        np.testing.assert_allclose(found[modality], x[modality], rtol=0, atol=2e-3)
    epochs = MultimodalEpochs(
        x=x, present=np.ones((10, 2), bool), subject=np.zeros(10, int), stages=np.full(10, -1)
    )
    each = [
        fold.predict(
            sleepmg_from_bytes(content), epochs, np.arange(10), declared=tuple(Stage)
        ).probability
        for content in weights.values()
    ]
    assert np.abs(each[0] - each[1]).max() > 0.05  # so that their mean is something else
    np.testing.assert_allclose(found["probability"], np.mean(each, axis=0), rtol=0, atol=5e-3)
    assert list(found["stages"]) == [Stage(i).name for i in found["probability"].argmax(axis=1)]
