"""Stage nights with YASA, one a line of standard input; run by ``benchmarks/predict.py`` with a Python that has YASA.

Argument: name of the EEG channel. For each file, a CSV is written beside it, and the seconds that took are printed.
"""

import os
import sys
from pathlib import Path
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import lightgbm  # noqa: E402, F401  # its import is excluded
import mne  # noqa: E402
import yasa  # noqa: E402


def main() -> None:
    (channel,) = sys.argv[1:]
    mne.set_log_level("error")
    for line in sys.stdin:
        path = Path(line.strip())
        began = perf_counter()
        raw = mne.io.read_raw_edf(path, include=[channel], preload=True)
        hypnogram = yasa.SleepStaging(raw, eeg_name=channel).predict()
        table = hypnogram.proba.copy()
        table.insert(0, "stage", hypnogram.hypno.to_numpy())
        table.to_csv(path.with_suffix(".yasa.csv"))
        print(perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
