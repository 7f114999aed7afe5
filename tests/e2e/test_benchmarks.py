"""The benchmarks run: numbers are for people, but a script that fails shows nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def run(root: Path, script: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, root / "benchmarks" / script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
        encoding="utf-8",
    ).stdout


def test_steps_of_sleepmg(root: Path) -> None:
    found = json.loads(run(root, "sleepmg.py", "--rounds", "1"))
    assert set(found["median_ms"]) == {"plain", "naive", "NaiveMG", "SleepMG", "fetch"}
    assert all(value > 0 for value in found["median_ms"].values())


def test_the_balance_study(root: Path) -> None:
    report = run(root, "studies/balance.py", "--quick")
    assert "| SleepMG, alpha 0.2 minus NaiveMG |" in report
    assert "Mean difference" in report


def test_telemetry(root: Path) -> None:
    found = json.loads(run(root, "telemetry.py", "--trials", "30", "--rounds", "1"))
    assert found["sweep"]["scrape_ms"]["n"] > 0
    assert found["trial"]["write_ms"] > 0
