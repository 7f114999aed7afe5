"""kill -9 in the middle, then the same command: it goes on, and the result is that of an undisturbed run."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Nights, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def epoch_files(store: Path, dataset: str) -> dict[Path, int]:
    """Return the epoch files of a data set with the time each was written, in ns."""
    return {
        path: path.stat().st_mtime_ns for path in (store / "epochs" / dataset).glob("*/*.parquet")
    }


def partials(store: Path) -> list[Path]:
    return list(store.rglob("*.part"))


@pytest.mark.full
def test_ingest_goes_on_after_ctrl_c_and_after_kill(
    cli: "Cli", nights: "Nights", nights_done: "Done", tools: "type[Tools]"
) -> None:
    store, data = cli.cwd / "runs", cli.cwd / "some"
    some = sorted(nights.data.glob("*.edf"))[:7]  # enough to be caught twice
    data.mkdir()
    for path in some:
        (data / path.name).symlink_to(path)
    # Two at a time, so that no machine has begun all of them when it is killed.
    command = ("ingest", nights.dataset, "--data", data, "--cpus", "2")

    def started_until(n_recordings: int) -> "subprocess.Popen[str]":
        process = cli.start(*command)
        tools.wait_for(
            lambda: (
                len(epoch_files(store, nights.name)) >= n_recordings or process.poll() is not None
            ),
            timeout_s=120,
            what=f"{n_recordings} recordings are in the store",
        )
        return process

    process = started_until(2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "Interrupted. The same command goes on where it was."
    assert partials(store) == []
    n_before = len(epoch_files(store, nights.name))
    assert n_before >= 2

    tools.kill_driver(started_until(n_before + 1))
    finished = epoch_files(store, nights.name)
    assert n_before < len(finished) < len(some)
    assert not (store / "epochs" / nights.name / "manifest.parquet").exists()

    again = cli(*command).ok()
    n_left = len(some) - len(finished)
    assert f"({n_left} converted, {len(finished)} already done)" in again.out
    now = epoch_files(store, nights.name)
    assert {path: now[path] for path in finished} == finished
    assert partials(store) == []
    whole = tools.tree(nights_done.store, "epochs")
    same = [name for name, content in tools.tree(store, "epochs").items() if whole[name] == content]
    assert sum(name.endswith(".parquet") for name in same) == len(some)


N_TRIALS = 12


def started_until(
    n_trials: int, cli: "Cli", sweep_file: Path, folder: Path, tools: "type[Tools]"
) -> "subprocess.Popen[str]":
    """Start the sweep and wait until so many trials are finished."""
    process = cli.start("sweep", sweep_file, "--cpus", "2")
    tools.wait_for(
        lambda: n_told(folder) >= n_trials or process.poll() is not None,
        timeout_s=180,
        what=f"{n_trials} trials are finished",
    )
    return process


@pytest.mark.full
def test_sweep_goes_on_after_ctrl_c_sigterm_and_kill(
    cli: "Cli", root: Path, tiny: "Tiny", tiny_done: "Done", tools: "type[Tools]"
) -> None:
    store, sweep_file = cli.cwd / "runs", cli.cwd / "killed.yaml"
    # Everything up to the score table is there, so that the sweep starts with its trials.
    shutil.copytree(tiny_done.store, store, ignore=shutil.ignore_patterns("sweeps"))
    head, mark, _ = tiny.sweep.read_text(encoding="utf-8").partition("  n_trials:")
    assert mark
    search = f"  n_trials: {N_TRIALS}\n  n_steps: 20\narms: [no_adapt]\n"
    sweep_file.write_text(head.replace("name: small", "name: killed") + search, encoding="utf-8")
    folder = store / "sweeps" / "killed"

    process = started_until(2, cli, sweep_file, folder, tools)
    status = json.loads(cli("status", "killed", "--json").ok().out)
    assert (status["state"], status["n_trials"]) == ("running", N_TRIALS)
    assert status["n_complete"] >= 2
    cli("sweep", sweep_file).fails(2, "sweep 'killed' is running already: process")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "Ctrl-C again ends them at their last checkpoints" in err
    assert not (folder / "trials.parquet").exists()
    assert not (folder / "lock.json").exists()
    left = {trial.state for trial in study(folder).get_trials()}
    assert optuna.trial.TrialState.RUNNING not in left, "a drained sweep left a trial running"
    assert "target_test" not in {event.get("split") for event in whole_events(folder)}

    n_told_before = n_told(folder)
    process = cli.start("sweep", sweep_file, "--cpus", "2")
    err = tools.end_when(lambda _: n_told(folder) > n_told_before, process)
    assert "The same command goes on where it was." in err
    assert not (folder / "lock.json").exists()
    events = whole_events(folder)
    stopped = events[-1]
    assert (stopped["event"], stopped["reason"]) == ("sweep_stopped", "TerminatedSweepError")
    assert not {"trial_failed", "trial_lost"} & {event["event"] for event in events}
    assert "sweep killed: stopped\n" in cli("status", "killed").ok().out

    n_before = len(finished_trials(folder))
    process = started_until(n_told(folder) + 2, cli, sweep_file, folder, tools)
    tools.kill_driver(process)
    told = finished_trials(folder)
    assert n_before + 2 <= len(told) < N_TRIALS
    written = {p: p.stat().st_mtime_ns for p in (folder / "predictions").glob("*.parquet")}
    signatures = {trial.user_attrs["signature"] for trial in told}
    assert signatures <= {path.stem for path in written}
    assert not (folder / "trials.parquet").exists()

    assert "sweep killed: stopped\n" in cli("status", "killed").ok().out
    begun = begun_with_other_code(folder / "manifest.json")
    said = cli("sweep", sweep_file).ok().err
    assert "sweep 'killed' was begun with trainables/ bbbbbbbbbbbb (commit unknown)" in said
    assert f"encoder {begun['encoder_id']} was trained by trainables/" in said
    assert json.loads((folder / "manifest.json").read_bytes())["code"] == begun["code"]
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8")
    block, *_ = re.findall(r"^```console\n(.*?)^```", page, re.M | re.S)
    watch, follow, stop = (
        line.partition("#")[0].replace(" tau", " killed").split()[1:] for line in block.splitlines()
    )
    assert "sweep killed: finished\n" in cli(*watch).ok().out
    assert "sweep_finished" in cli(*follow).ok().out
    cli(*stop).fails(2, "sweep 'killed' does not run: it is finished")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert partials(store) == []
    states = [trial.state for trial in study(folder).get_trials()]
    assert optuna.trial.TrialState.RUNNING not in states
    assert optuna.trial.TrialState.WAITING not in states
    schema = Draft202012Validator(json.loads(cli("schema", "--events").ok().out))
    log = cli("logs", "killed", "--json").ok().out.splitlines()
    assert [line for line in log if not schema.is_valid(json.loads(line))] == []
    rows = pq.read_table(folder / "trials.parquet").to_pylist()
    trials = [row for row in rows if row["kind"] == "trial"]
    assert [row["trial"] for row in trials] == [f"t{i:03d}" for i in range(N_TRIALS)]
    assert all(row["state"] == "complete" for row in rows)
    assert signatures <= {row["signature"] for row in trials}
    objectives = {row["signature"]: row["objective"] for row in trials}
    assert {t.user_attrs["signature"]: t.value for t in told} == {
        name: objectives[name] for name in signatures
    }
    tried = [(row["tau_quantile"], row["learning_rate"]) for row in trials]
    assert len(set(tried)) == N_TRIALS, "a configuration was tried twice"
    # What was enqueued came first and is there, whatever was running when the sweep was killed.
    assert {row["tau_quantile"] for row in trials if row["enqueued"]} == {0, 0.25, 0.5, 0.75, 0.9}


def begun_with_other_code(path: Path) -> dict[str, Any]:
    """Make a manifest say that its sweep was begun with another ``trainables/``, and return it."""
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    manifest["code"] = {"commit": None, "dirty": None, "trainables_sha256": "b" * 64}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return manifest


def n_told(folder: Path) -> int:
    if not (folder / "events.jsonl").exists():
        return 0
    return sum(event["event"] == "trial_done" for event in whole_events(folder))


def whole_events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(folder / "events.jsonl")]


def whole_lines(path: Path) -> list[str]:
    return [
        line
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.endswith("\n")
    ]


def study(folder: Path) -> Any:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name=folder.name, storage=storage)


def finished_trials(folder: Path) -> list[Any]:
    return list(study(folder).get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
