"""All ablations of SleepMG on made-up recordings: the supplement's four groups of confusion matrices.

Ten subjects of 60 epochs in the montage of ISRUC-S3 for all four groups, six in that of MASS-SS3 for the components.
Ends with 1 unless FeatureNet+M is at least 0.15 in macro-F1 above always answering the most frequent stage: otherwise
nothing was learned, and the figures say nothing. What is done already is not done again.

    python benchmarks/studies/ablations.py [--folder ablations]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")
HOURS = "0.5"
DATA = {
    "isruc-s3": (10, ("baselines", "modules", "fusion", "components")),
    "mass-ss3": (6, ("components-mass",)),
}
MARGIN_OVER_MAJORITY = 0.15


def main() -> int:
    """Run everything; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("ablations"))
    folder = parser.parse_args().folder
    started = time.monotonic()
    for montage, (n_subjects, sweeps) in DATA.items():
        data = folder / montage
        run("synth", data, "--montage", montage, "--subjects", n_subjects, "--hours", HOURS)
        dataset = ROOT / "datasets" / f"synthetic-{montage}.yaml"
        run("ingest", dataset, "--data", data, "--store", folder / "runs")
        for sweep in sweeps:
            file = ROOT / "sweeps" / f"sleepmg-{sweep}.yaml"
            run("sweep", file, "--store", folder / "runs")
            run("review", f"sleepmg-{sweep}", "--store", folder / "runs")
    print(f"{(time.monotonic() - started) / 60:.1f} min")
    return check(folder / "runs" / "sweeps" / "sleepmg-baselines")


def run(*arguments: object) -> None:
    """Run one command of ours, as typed by hand."""
    command = [str(ORCHESTRATOR), *map(str, arguments)]
    print("$ orchestrator", *command[1:], flush=True)
    subprocess.run(command, check=True)


def check(sweep: Path) -> int:
    """Return 0 if FeatureNet+M has learned something, 1 otherwise."""
    majority = json.loads((sweep / "manifest.json").read_text(encoding="utf-8"))["majority"]
    rows = pq.read_table(sweep / "trials.parquet").to_pylist()
    reached = [row["test_macro_f1"] for row in rows if row["row"] == "FeatureNet+M"]
    mean = sum(reached) / len(reached)
    margin = mean - majority["macro_f1"]
    print(
        f"FeatureNet+M: pooled macro-F1 {mean:.3f} (mean of {len(reached)} seeds); always {majority['stage']}: "
        f"{majority['macro_f1']:.3f}; margin {margin:+.3f}, needed {MARGIN_OVER_MAJORITY:+.2f}"
    )
    return 0 if margin >= MARGIN_OVER_MAJORITY else 1


if __name__ == "__main__":
    sys.exit(main())
