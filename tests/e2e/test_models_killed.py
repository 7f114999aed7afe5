"""kill -9 while a sweep writes its models: half a model is none, and the same command ends what was begun."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

N_TRIALS = 8
MODELS = {f"t{i:03d}" for i in range(N_TRIALS)} | {"arm-no_adapt", "arm-random"}
N_KILLS = 2


def write_sweep(path: Path, tiny: "Tiny") -> Path:
    """Write a sweep that keeps all of its models."""
    head, mark, _ = tiny.sweep.read_text(encoding="utf-8").partition("  n_trials:")
    assert mark
    more = f"  n_trials: {N_TRIALS}\n  n_steps: 2\n  max_concurrent: 1\n"
    more += "arms: [no_adapt, random]\nkeep_models: all\n"
    path.write_text(head.replace("name: small", "name: kept") + more, encoding="utf-8")
    return path


def models_of(sweep: Path) -> tuple[set[str], set[str]]:
    """Return the names of the folders with `model.json`, and of those that hold weights without it."""
    names = {path.parent.name for path in sweep.glob("models/*/*.safetensors")}
    whole = {name for name in names if (sweep / "models" / name / "model.json").exists()}
    return whole, names - whole


def killed_while_writing(
    process: "subprocess.Popen[str]", sweep: Path, tools: "type[Tools]"
) -> None:
    """Kill the command and all that it started after it has written a model, and half of another one.

    That lasts milliseconds. So once the first model is there, the command runs for one at a time.
    """
    n_before = len(models_of(sweep)[0])
    deadline = time.monotonic() + 300
    while process.poll() is None and len(models_of(sweep)[0]) == n_before:
        assert time.monotonic() < deadline, "no model was written"
        time.sleep(0.002)
    stop(process)
    while not models_of(sweep)[1]:
        process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
        stop(process)
    tools.kill_tree(process)
    assert process.returncode == -signal.SIGKILL


def stop(process: "subprocess.Popen[str]") -> None:
    """Have nothing of the command happen until it is told to go on; fail the test if it has ended."""
    assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def leave_half_written(folder: Path) -> None:
    """Leave a file as the store does whose writer is killed half-way."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".seed-1.safetensors.4242-7.part").write_bytes(b"half of it")


def test_models_whose_writing_is_killed_are_those_of_an_undisturbed_sweep(
    cli: "Cli", tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store, undisturbed = cli.cwd / "runs", cli.cwd / "undisturbed"
    # Everything up to the score table is there, so that the sweep starts with its trials.
    for each in (store, undisturbed):
        shutil.copytree(tiny_done.store, each, ignore=shutil.ignore_patterns("sweeps"))
    sweep_file, sweep = write_sweep(cli.cwd / "kept.yaml", tiny), store / "sweeps" / "kept"
    command = ("sweep", sweep_file, "--cpus", "2")

    written: dict[Path, int] = {}
    for _ in range(N_KILLS):
        killed_while_writing(cli.start(*command), sweep, tools)
        whole, half = models_of(sweep)
        assert len(whole) < len(MODELS)
        assert {path: path.stat().st_mtime_ns for path in written} == written
        written = {
            path: path.stat().st_mtime_ns
            for name in whole
            for path in (sweep / "models" / name).iterdir()
        }
    assert not (sweep / "trials.parquet").exists()
    (name,) = half
    night = tiny.data / "s06.edf"
    cli("predict", f"kept:{name}", night).fails(2, "sweep 'kept' has not finished")
    cli("predict", sweep / "models" / name, night).fails(
        2, "holds no model.json, so it is no model"
    )
    assert not (cli.cwd / "staged").exists()
    for part in ("models", f"models/{name}", "weights", "predictions"):
        leave_half_written(sweep / part)

    cli(*command).ok()
    cli(*command, "--store", undisturbed).ok()
    assert models_of(sweep) == (MODELS, set())
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert list(store.rglob("*.part")) == []
    assert [path for path in (sweep / "weights").rglob("*") if path.is_file()] == []
    whole_sweep = undisturbed / "sweeps" / "kept"
    for part in ("models", "predictions"):
        assert tools.tree(sweep, part) == tools.tree(whole_sweep, part)
    rows = pq.read_table(sweep / "trials.parquet")
    assert rows.equals(pq.read_table(whole_sweep / "trials.parquet"))
    assert set(rows["trial"].to_pylist()) == MODELS
    staged = cli("predict", f"kept:{name}", night).ok()
    assert "40 of 40 epochs staged" in staged.out
