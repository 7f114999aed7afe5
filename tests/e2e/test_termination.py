"""SIGTERM to the whole process group of a command, as `timeout` and job schedulers send it."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

IN_TIME_S = 15
MANY_PASSES = ("n_passes: 1", "n_passes: 100000"), ("patience: 1", "patience: 100000")


def sweep_of(tiny: "Tiny", cli: "Cli", *changes: tuple[str, str]) -> Path:
    """Write the small sweep with some changes, under another name."""
    text = tiny.sweep.read_text(encoding="utf-8")
    for before, after in (("name: small", "name: ended"), *changes):
        assert before in text
        text = text.replace(before, after)
    file = cli.cwd / "ended.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def events_of(folder: Path) -> list[dict[str, Any]]:
    log = folder / "events.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def n_of(event: str, folder: Path) -> int:
    return sum(each["event"] == event for each in events_of(folder))


def pretrains(store: Path) -> bool:
    return any(n_of("pass_done", encoder) > 0 for encoder in store.glob("encoders/*"))


def end_when(
    moment: Callable[["subprocess.Popen[str]"], bool],
    process: "subprocess.Popen[str]",
    tools: "type[Tools]",
) -> str:
    """End the command's group at a moment, see that it and all of Ray end in time, and return what the command says."""
    tools.wait_for(
        lambda: moment(process) or process.poll() is not None, timeout_s=120, what="the moment"
    )
    assert process.poll() is None, process.communicate()
    started = tools.descendants(process.pid)
    assert started, "Ray was not running"
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    assert process.returncode == 130, out + err
    assert seconds < IN_TIME_S, out + err
    assert "Traceback" not in out + err
    tools.wait_for(
        lambda: not any(map(tools.is_running, started)), timeout_s=30, what="all of Ray ends"
    )
    return " ".join(err.split())


def test_while_ray_starts(cli: "Cli", tiny: "Tiny", tools: "type[Tools]") -> None:
    def starting(process: "subprocess.Popen[str]") -> bool:
        lines = map(tools.command_line, tools.descendants(process.pid))
        return any("gcs_server" in line for line in lines)

    process = cli.start("ingest", tiny.dataset, "--data", tiny.data)
    err = end_when(starting, process, tools)
    assert err.endswith("The same command goes on where it was.")
    assert list((cli.cwd / "runs").rglob("*.part")) == []


def test_before_the_trials(
    cli: "Cli", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store = cli.cwd / "runs"
    folder = store / "sweeps" / "ended"
    shutil.copytree(tiny_done.store / "epochs", store / "epochs")
    process = cli.start("sweep", sweep_of(tiny, cli, *MANY_PASSES), "--cpus", "2")
    err = end_when(lambda _: pretrains(store), process, tools)
    assert "The same command goes on where it was." in err
    assert not (folder / "lock.json").exists()
    assert events_of(folder)[-1]["event"] == "sweep_stopped"
    assert events_of(folder)[-1]["reason"] == "TerminatedSweepError"


def test_while_trials_run(
    cli: "Cli", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store = cli.cwd / "runs"
    folder = store / "sweeps" / "ended"
    shutil.copytree(tiny_done.store, store, ignore=shutil.ignore_patterns("sweeps"))
    file = sweep_of(
        tiny,
        cli,
        ("n_trials: 8", "n_trials: 4"),
        ("n_steps: 2\n", "n_steps: 15\n"),
        ("search:\n", "arms: [no_adapt]\nsearch:\n"),
    )
    process = cli.start("sweep", file, "--cpus", "2")
    err = end_when(lambda _: n_of("trial_done", folder) >= 1, process, tools)
    assert "The same command goes on where it was." in err
    assert not (folder / "lock.json").exists()
    stopped = events_of(folder)[-1]
    assert (stopped["event"], stopped["reason"]) == ("sweep_stopped", "TerminatedSweepError")
    assert n_of("trial_failed", folder) == n_of("trial_lost", folder) == 0
    assert "sweep ended: stopped\n" in cli("status", "ended").ok().out

    cli("sweep", file).ok()
    assert events_of(folder)[-1]["event"] == "sweep_finished"
    assert n_of("trial_failed", folder) == 0
