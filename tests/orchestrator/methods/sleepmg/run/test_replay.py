"""A small sweep, run and replayed in this process: the same numbers, and what was changed since is found."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from click.testing import CliRunner

from orchestrator.cli.main import commands
from orchestrator.errors import ConfigError, InterruptedSweepError, ReplayError
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.store import paths
from orchestrator.store.provenance import this_code
from orchestrator.store.store import Store
from orchestrator.sweeps.comparison import Comparison
from orchestrator.sweeps.finished import other_code
from orchestrator.sweeps.replay import replay, replay_text
from orchestrator.telemetry.events import read_events
from tests.orchestrator.sweeps.in_process import run_here

pytestmark = pytest.mark.heavy
SEARCH = """\
search:
  n_trials: 2
  max_concurrent: 1
  space:
    learning_rate: {log_uniform: [0.001, 0.01]}
"""
ALL = ["row-naivemg-seed1", "t000", "t001"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of the first test is kept for the others."""
    return tmp_path_factory.mktemp("finished") / "store"


@pytest.fixture(autouse=True)
def finished(
    kept: Path,
    store: Store,
    add_subject: Callable[..., None],
    make_sweep: Callable[..., SleepMGSweep],
) -> None:
    """A finished sweep of a row and two trials, as the driver leaves it."""
    if kept.exists():
        shutil.copytree(kept, store.uri)
        return
    for subject in "abcdef":
        add_subject(subject)
    sweep = make_sweep(folds="{kind: k_fold, n_folds: 2, n_validation: 1}", more=SEARCH)
    table = run_here(store, sweep)
    assert table["state"].to_pylist() == ["complete"] * len(ALL)
    shutil.copytree(store.uri, kept)


def files(store: Store) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path in store.files("")}


def run_cli(store: Store, *options: str) -> Any:
    return CliRunner().invoke(commands, ["replay", "probe", "--store", store.uri, *options])


def changed(store: Store, signature: str) -> None:
    """Move the smallest part of one stored probability."""
    path = paths.predictions("probe", signature)
    table = store.read_table(path)
    p_W = table["p_W"].to_numpy().copy()
    p_W[3] = np.nextafter(p_W[3], np.float32(2))
    at = table.schema.get_field_index("p_W")
    store.write_table(path, table.set_column(at, "p_W", pa.array(p_W)))


def signatures(store: Store) -> Mapping[str, str]:
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    return {row["trial"]: row["signature"] for row in rows}


def test_a_replay_gives_the_same_and_leaves_everything_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(*_: Any, **__: Any) -> None:
        raise AssertionError("a trial of one worker started Ray")

    monkeypatch.setattr(ray, "init", no_ray)
    was_running = ray.is_initialized()
    before = files(store)
    found = replay(store, "probe")
    assert [trial.trial for trial in found.trials] == ALL
    assert [(trial.how, trial.differs) for trial in found.trials] == [("trained", ())] * len(ALL)
    assert (found.same, found.proposals_from, found.proposals_not_compared) == (True, None, None)
    assert replay_text(found).splitlines()[-2:] == [
        "proposals: same",
        "sweep probe: 3 of 3 configurations gave the same again",
    ]
    after = files(store)
    ledger = paths.replay_events("probe")
    assert after.keys() - before.keys() == {ledger}
    assert {path: after[path] for path in before} == before
    splits = [event.get("split") for event in read_events(store, ledger)]
    assert splits == [None, "fold_train", "fold_validation", None]
    assert ray.is_initialized() == was_running


def test_exactly_the_trial_whose_predictions_were_changed_is_told(store: Store) -> None:
    changed(store, signatures(store)["t001"])
    found = replay(store, "probe")
    assert [trial.trial for trial in found.trials if trial.differs] == ["t001"]
    with pytest.raises(ReplayError, match=r"1 of 3 configurations .*: t001 \(predictions, by") as e:
        found.check()
    assert e.value.exit_code == 4
    assert "t000" not in str(e.value)
    assert replay(store, "probe", ["t000"]).same


def test_a_journal_that_was_changed_is_told(store: Store) -> None:
    path = paths.sweep_journal("probe")
    lines = [json.loads(line) for line in store.read_bytes(path).splitlines()]
    value = next(line for line in lines if line.get("trial_id") == 0 and line.get("values"))
    recorded = value["values"][0]
    value["values"] = [0.99]
    store.write_bytes(path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
    trial = replay(store, "probe", ["t000"]).trials[0]
    assert trial.differs == (
        "objective of the final table, not as in the journal",
        f"objective {recorded!r}, not 0.99",
    )


def test_what_cannot_be_the_same_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"no sweep 'prob' .* Did you mean 'probe'"):
        replay(store, "prob")
    with pytest.raises(ConfigError, match=r"no trial 't002'.* t000, t001"):
        replay(store, "probe", ["t002"])
    manifest = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    changed_data = json.dumps(manifest | {"data_id": "other"}).encode()
    store.write_bytes(paths.sweep_manifest("probe"), changed_data)
    with pytest.raises(ConfigError, match=r"the epochs of sweep 'probe' changed .*data_id other"):
        replay(store, "probe")
    store.delete(paths.sweep_trials("probe"))
    with pytest.raises(ConfigError, match=r"cannot be replayed: it is stopped"):
        replay(store, "probe")
    assert not store.exists(paths.replay_events("probe"))


def test_the_command(store: Store) -> None:
    manifest = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    manifest["versions"]["torch"] = "1.0"
    manifest["code"]["trainables_sha256"] = "b" * 64
    store.write_bytes(paths.sweep_manifest("probe"), json.dumps(manifest).encode())
    result = run_cli(store, "--trial", "t000", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0].startswith("the sweep ran with torch 1.0, this is 2")
    found = json.loads(result.stdout)
    assert (found["same"], found["sweep"]) == (True, "probe")
    assert [trial["trial"] for trial in found["trials"]] == ["t000"]
    assert found["notes"][0].startswith("the sweep ran with torch 1.0")
    assert found["notes"][1].startswith("the sweep ran with trainables/ bbbbbbbbbbbb (commit ")
    assert found["notes"][1].endswith(f"this is {this_code().text}")

    changed(store, signatures(store)["t000"])
    result = run_cli(store, "--trial", "t000")
    assert isinstance(result.exception, ReplayError)
    assert "(the sweep ran with torch 1.0, this is" in str(result.exception)
    assert result.stdout.startswith("t000  differs: predictions, by up to ")


def test_ctrl_c_ends_a_replay_without_a_trace(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Comparison, "replayed", interrupt)
    with pytest.raises(InterruptedSweepError, match="keeps nothing; the same command begins"):
        replay(store, "probe")


def test_nothing_is_said_of_the_code_where_it_is_the_same_or_was_not_recorded(store: Store) -> None:
    path = paths.sweep_manifest("probe")
    manifest = json.loads(store.read_bytes(path))
    assert manifest["code"] == asdict(this_code())
    assert other_code(store, "probe") == []
    del manifest["code"]
    store.write_bytes(path, json.dumps(manifest).encode())
    assert other_code(store, "probe") == []
