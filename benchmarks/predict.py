"""How fast a night is staged, next to YASA, and many nights in one call, next to the computing for as many.

Wanted are 1.7 times the speed of YASA, which is not reached (0.46: the network alone takes longer than all of YASA's
work), and at most 1.2 times the computing, which is (``benchmarks/results/predict.json``).

The night is made up: 8 h, one EEG channel at 256 Hz, EDF+. A side takes the file and leaves a CSV with stages and
probabilities; imports are excluded, and each side has one thread. Ours stages it with an MRCNN whose weights nothing
trained, which takes as long as a trained one; YASA's ``SleepStaging`` reads the file with MNE. Rounds alternate;
printed are median seconds and their ratio. YASA takes part where ``--yasa`` names a Python that has it.

The call over many nights also writes all other files of each, pictures included. It is compared with the seconds that
reading, converting and the network take for one, times their number.

With ``--store`` and ``--sweep``, of a finished sweep: seconds that writing the weights of its trials and the folders of
its models takes, as a share of what the sweep took.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import edfio  # noqa: E402
import mne  # noqa: E402, F401  # its import is excluded
import torch  # noqa: E402
from scipy.signal import resample_poly  # noqa: E402

from orchestrator.models.record import ModelRecord, WeightsFile  # noqa: E402
from orchestrator.predict.files import epochs_csv  # noqa: E402
from orchestrator.predict.inputs import find_inputs, settings_for  # noqa: E402
from orchestrator.predict.model import LoadedModel  # noqa: E402
from orchestrator.predict.networks import one_thread  # noqa: E402
from orchestrator.predict.run import stage_files  # noqa: E402
from orchestrator.predict.staging import stage_file  # noqa: E402
from orchestrator.psg.convert import Settings  # noqa: E402
from orchestrator.psg.synthetic import recording  # noqa: E402
from orchestrator.psg.synthetic_hypnogram import draw_stages  # noqa: E402
from orchestrator.psg.synthetic_traits import stream  # noqa: E402
from orchestrator.store import paths  # noqa: E402
from orchestrator.store.store import Store, sha256  # noqa: E402
from trainables.selective import build_model  # noqa: E402
from trainables.settings import EncoderSettings  # noqa: E402
from trainables.stages import ANNOTATION_STAGES, STAGE_NAMES  # noqa: E402
from trainables.weights import classifier_to_bytes  # noqa: E402

CHANNEL = "EEG C3-M2"
SFREQ = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--nights", type=int, default=20, help="of the call over many")
    parser.add_argument("--yasa", type=Path, help="a Python that has YASA")
    parser.add_argument("--store", help="of a finished sweep")
    parser.add_argument("--sweep", default="tau")
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        night = write_night(Path(folder), options.hours)
        found = one_night(night, options.rounds, options.yasa)
        found["many"] = many_nights(night, options.nights, Path(folder, "many"))
    if options.store:
        found["models"] = writing_models(Store.open(options.store), options.sweep)
    found["wanted"] = {"ratio": 1.7, "many_over_compute": 1.2, "models_share": 0.02}
    print(json.dumps(found, indent=1))


def write_night(folder: Path, hours: float) -> Path:
    """Write a made-up night of one channel at 256 Hz."""
    stages = draw_stages(stream(1, 1, "stages"), round(hours * 120))
    made = recording(stages)
    (signal,) = [signal for signal in made.signals if signal.label == CHANNEL]
    path = folder / "night.edf"
    edfio.Edf(
        [
            edfio.EdfSignal(
                resample_poly(signal.data, 64, 25).clip(-500, 500),
                SFREQ,
                label=CHANNEL,
                physical_dimension="uV",
                physical_range=(-500, 500),
            )
        ],
        data_record_duration=1,
    ).write(path)
    return path


def untrained_model() -> LoadedModel:
    """Return an MRCNN of one channel, as a sweep would keep it."""
    torch.manual_seed(0)
    weights = classifier_to_bytes(
        build_model(EncoderSettings(), n_channels=1), EncoderSettings(), 1
    )
    name = "seed-1.safetensors"
    settings = Settings(
        labels=dict(ANNOTATION_STAGES),
        channels={"eeg": ((CHANNEL,),)},
        filter_hz={"eeg": (0.3, 35.0)},
        labels_beyond_signal="trim",
    )
    entry = WeightsFile(file=name, sha256=sha256(weights), seed=1, fold=None, subject=None)
    record = ModelRecord(
        name="untrained",
        method="selective",
        network="mrcnn",
        modalities=("eeg",),
        scale="recording",
        clip_spreads=20.0,
        preprocessing=settings.as_json(),
        stages=STAGE_NAMES,
        training={"dataset": "none", "subjects": [], "recordings": []},
        metrics=(),
        about={},
        versions={},
        files=(entry,),
    )
    return LoadedModel(record=record, files={name: weights})


def one_night(night: Path, n_rounds: int, yasa: Path | None) -> dict[str, Any]:
    """Return seconds from EDF to CSV of each side, rounds alternating."""
    model = untrained_model()
    settings = settings_for(model.record)
    seconds: dict[str, list[float]] = {"ours": []}
    with _peer(yasa) as peer:
        if peer is not None:
            seconds["YASA"] = []
            _ask(peer, night)  # whatever it loads at first use
        _ours(night, model, settings)
        for _ in range(n_rounds):
            seconds["ours"].append(_ours(night, model, settings))
            if peer is not None:
                seconds["YASA"].append(_ask(peer, night))
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "seconds": {side: round(value, 3) for side, value in medians.items()},
        "rounds": {side: [round(v, 3) for v in values] for side, values in seconds.items()},
        "ratio": round(medians["YASA"] / medians["ours"], 2) if "YASA" in medians else None,
    }


def _ours(night: Path, model: LoadedModel, settings: Settings) -> float:
    began = perf_counter()
    (given,) = find_inputs([str(night)])
    staged = stage_file(given, model, settings)
    night.with_suffix(".ours.csv").write_bytes(epochs_csv(staged.night))
    return perf_counter() - began


@contextmanager
def _peer(python: Path | None) -> "Iterator[subprocess.Popen[str] | None]":
    if python is None:
        yield None
        return
    script = Path(__file__).with_name("peers") / "yasa_staging.py"
    with subprocess.Popen(
        [str(python), str(script), CHANNEL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _ask(peer: "subprocess.Popen[str]", night: Path) -> float:
    assert isinstance(peer.stdin, io.TextIOBase)
    assert isinstance(peer.stdout, io.TextIOBase)
    peer.stdin.write(f"{night}\n")
    peer.stdin.flush()
    return float(peer.stdout.readline())


def many_nights(night: Path, n_nights: int, folder: Path) -> dict[str, Any]:
    """Return seconds of one call over many nights, and of the computing for as many."""
    folder.mkdir()
    for number in range(n_nights):
        os.link(night, folder / f"night-{number:03d}.edf")
    model = untrained_model()
    settings = settings_for(model.record)
    inputs = find_inputs([str(folder)])
    compute = []
    for given in inputs[:5]:
        began = perf_counter()
        stage_file(given, model, settings)
        compute.append(perf_counter() - began)
    began = perf_counter()
    results = stage_files(
        inputs, model, settings, Store.open(str(folder / "staged")), overwrite=False
    )
    seconds = perf_counter() - began
    assert all(result.is_staged for result in results)
    of_one = statistics.median(compute)
    return {
        "n_nights": n_nights,
        "seconds": round(seconds, 2),
        "compute_s_of_one": round(of_one, 3),
        "over_compute": round(seconds / (n_nights * of_one), 3),
    }


def writing_models(store: Store, sweep: str) -> dict[str, Any]:
    """Return seconds of writing what a sweep has trained, once more into a folder that is thrown away."""
    rows = store.read_table(paths.sweep_trials(sweep)).to_pylist()
    n_trained = len({row["signature"] for row in rows if row["signature"] is not None})
    kept: Mapping[str, list[bytes]] = {
        row["trial"]: [
            store.read_bytes(path) for path in store.files(paths.model_folder(sweep, row["trial"]))
        ]
        for row in rows
        if store.exists(paths.model_json(sweep, row["trial"]))
    }
    weights = max((content for files in kept.values() for content in files), key=len)
    with tempfile.TemporaryDirectory() as scratch:
        out = Store.open(scratch)
        began = perf_counter()
        for number in range(n_trained):
            out.write_bytes(f"weights/{number}", weights)
        for trial, files in kept.items():
            for number, content in enumerate(files):
                out.write_bytes(f"models/{trial}/{number}", content)
        seconds = perf_counter() - began
    lines = store.read_bytes(paths.sweep_events(sweep)).decode().splitlines()
    times = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
    took = (times[-1] - times[0]).total_seconds()
    return {
        "n_trained": n_trained,
        "n_kept": len(kept),
        "bytes_of_weights": len(weights),
        "seconds": round(seconds, 3),
        "sweep_seconds": round(took, 1),
        "share": round(seconds / took, 5),
    }


if __name__ == "__main__":
    main()
