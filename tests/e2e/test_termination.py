"""SIGTERM to the whole process group of a command, as `timeout` and job schedulers send it.

While trials run: tests/e2e/test_kill.py.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

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


def test_while_ray_starts(cli: "Cli", tiny: "Tiny", tools: "type[Tools]") -> None:
    def starting(process: "subprocess.Popen[str]") -> bool:
        lines = map(tools.command_line, tools.descendants(process.pid))
        return any("gcs_server" in line for line in lines)

    process = cli.start("ingest", tiny.dataset, "--data", tiny.data)
    err = tools.end_when(starting, process)
    assert err.endswith("The same command goes on where it was.")
    assert list((cli.cwd / "runs").rglob("*.part")) == []


def test_before_the_trials(
    cli: "Cli", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store = cli.cwd / "runs"
    folder = store / "sweeps" / "ended"
    shutil.copytree(tiny_done.store / "epochs", store / "epochs")
    process = cli.start("sweep", sweep_of(tiny, cli, *MANY_PASSES), "--cpus", "2")
    err = tools.end_when(lambda _: pretrains(store), process)
    assert "The same command goes on where it was." in err
    assert not (folder / "lock.json").exists()
    assert events_of(folder)[-1]["event"] == "sweep_stopped"
    assert events_of(folder)[-1]["reason"] == "TerminatedSweepError"
