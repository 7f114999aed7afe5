"""What converting a long recording takes at most, in a process of its own: a laptop converts several at a time."""

import subprocess
import sys
from pathlib import Path

import edfio
import numpy as np
import pytest

N_CHANNELS, SFREQ, HOURS = 26, 256, 2

CONVERT = """
import re, sys
from pathlib import Path

import mne.filter
import numpy as np
import scipy.fft, scipy.signal

from orchestrator.psg.convert import Settings, epoch_table
from orchestrator.psg.recordings import Source
from orchestrator.psg.stages.annotations import StagesFromAnnotations

def peak_mb():  # not ru_maxrss, which begins with what the process had that started this one
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024

mne.filter.filter_data(np.zeros(512), 256, 0.3, 35, verbose="error")
names = sys.argv[2].split(",")
settings = Settings(
    labels={"Sleep stage 2": 2},
    channels={"eeg": tuple((name,) for name in names)},
    filter_hz={"eeg": (0.3, 35.0)},
    labels_beyond_signal="quarantine",
)
source = Source(
    subject="p1",
    recording="p1-n1",
    path="p1.edf",
    stage_path=None,
    stages=StagesFromAnnotations.model_validate({"from": "annotations"}),
)
before_mb = peak_mb()
table = epoch_table(source, settings, Path(sys.argv[1]), None)
assert table.num_rows == 240 and not {"ray", "torch"} & set(sys.modules)
print(peak_mb() - before_mb)
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of noise in 26 channels: 96 MB, and four times as much as float64."""
    rng = np.random.default_rng(0)
    values = rng.integers(-3000, 3000, HOURS * 3600 * SFREQ, np.int16)
    signals = [
        edfio.EdfSignal.from_digital(
            np.roll(values, i),
            SFREQ,
            label=f"EEG {i}",
            physical_dimension="uV",
            physical_range=(-3276.8, 3276.7),
        )
        for i in range(N_CHANNELS)
    ]
    marks = [edfio.EdfAnnotation(0, HOURS * 3600, "Sleep stage 2")]
    path = tmp_path_factory.mktemp("night") / "p1.edf"
    edfio.Edf(signals, annotations=marks, data_record_duration=1).write(path)
    return path


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("n_wanted", [1, N_CHANNELS])
def test_one_channel_at_a_time_is_in_memory(night: Path, n_wanted: int) -> None:
    """And what is stored of all: 1.4 MB a channel. One as float64 takes 15 MB, all 383."""
    names = ",".join(f"EEG {i}" for i in range(n_wanted))
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, str(night), names],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 120 + 2 * n_wanted
