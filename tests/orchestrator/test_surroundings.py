"""Tests pass wherever they are started: the files at risk are run again in places that most people never see."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

AT_RISK = (
    "cli/test_trials.py",
    "cluster/test_launch.py",
    "config/test_yaml_source.py",
    "sweeps/test_halt.py",
    "sweeps/watch/test_live.py",
    "sweeps/watch/test_status_table.py",
    "telemetry/test_progress.py",
    "telemetry/test_termination.py",
)
SHOWN = ("TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TZ")
LOCALE = ("LANG", "LC_ALL", "PYTHONUTF8", "PYTHONIOENCODING")


def test_files_that_send_themselves_a_signal_are_among_them() -> None:
    here = Path(__file__)
    senders = {
        str(path.relative_to(here.parent))
        for path in here.parent.rglob("test_*.py")
        if path != here and "os.kill(os.getpid(), signal." in path.read_text(encoding="utf-8")
    }
    assert senders <= set(AT_RISK)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "surroundings",
    [
        {
            **{"TERM": "dumb", "COLUMNS": "40", "LINES": "10", "NO_COLOR": "1"},
            # ASCII, although Python would rather have UTF-8 there.
            **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            "TZ": "Asia/Kathmandu",
        },
        {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": "300", "TZ": "America/St_Johns"},
    ],
    ids=["dumb-terminal", "no-terminal"],
)
def test_the_files_at_risk_pass(root: Path, surroundings: Mapping[str, str]) -> None:
    def ignored_and_held_back() -> None:  # as `nohup` and a job scheduler leave signals
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.close(0)

    kept = {k: v for k, v in os.environ.items() if k not in (*SHOWN, *LOCALE)}
    files = [f"tests/orchestrator/{file}" for file in AT_RISK]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "not ray and not e2e and not slow",
            "-p",
            "no:cacheprovider",
            *files,
        ],
        cwd=root,
        env={**kept, **surroundings},
        preexec_fn=ignored_and_held_back,  # this thread is the only one that matters here
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
