"""A trial of a finished sweep is trained again and kept, byte for byte as the sweep itself would have kept it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from click.testing import CliRunner

from orchestrator.cli.main import commands
from orchestrator.config.sweep import load_sweep
from orchestrator.errors import (
    ConfigError,
    IntegrityError,
    InterruptedSweepError,
    ReplayError,
)
from orchestrator.labels import LabelGate
from orchestrator.method import method_of
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import loop
from orchestrator.sweeps.begun import stored_sweep
from orchestrator.sweeps.comparison import Comparison, Recorded, Replayed
from orchestrator.sweeps.done import done_control
from orchestrator.sweeps.finished import final_rows
from orchestrator.sweeps.keep import keep_trials
from orchestrator.sweeps.reports import SIGNATURE
from orchestrator.telemetry.events import EventLog, read_events
from tests.conftest import Once
from tests.orchestrator.sweeps.in_process import run_here
from tests.stores.pages import FOLDER

pytestmark = pytest.mark.heavy

COMMON = """\
name: probe
stages: [W, N2]
keep_models: all
"""
SOURCE = """\
source:
  dataset: made-up
  subjects: ["shift0-*"]
  validation: [shift0-seed1-04, shift0-seed1-05]
pretrain: { n_passes: 1, batch_size: 16 }
"""
SWEEPS = {
    "selective": f"""\
{COMMON}method: selective
{SOURCE}target: {{ dataset: made-up, subjects: ["shift1-*"] }}
batch_size: 8
arms: [random]
search:
  n_trials: 3
  n_steps: 2
  max_concurrent: 1
  replicates: 2
  default_learning_rate: 0.001
  enqueue_taus: [0.5]
  enqueue:
    - {{ tau_quantile: 0.5001, learning_rate: 0.001 }}
    - {{ tau_quantile: 0.0, learning_rate: 0.01 }}
""",
    "pretrain": f"""\
{COMMON}method: pretrain
{SOURCE}search:
  n_trials: 1
  space: {{ batch_size: {{ integer: [16, 32] }} }}
  enqueue: [{{ batch_size: 32 }}]
""",
    "sleepmg": f"""\
{COMMON}method: sleepmg
dataset: made-up
modalities: [eeg]
folds: {{ kind: k_fold, n_folds: 2 }}
network: {{ multimodal: false }}
modulation: {{ mod_y: false, mod_d: false }}
training: {{ n_passes: 1, batch_size: 16 }}
rows: [{{ name: Plain, modulation: {{ mod_f: false }} }}]
search:
  n_trials: 2
  max_concurrent: 1
  space: {{ grl_weight: {{ log_uniform: [0.01, 0.1] }} }}
  enqueue: [{{ grl_weight: 0.05 }}, {{ grl_weight: 0.02 }}]
""",
}
STAYS = {"selective": (), "pretrain": ("encoders",), "sleepmg": ("folds",)}
"""Folders of weights that a sweep leaves in any case."""
Files = dict[str, bytes]
Finished = Callable[[str], Store]


@pytest.fixture
def finished(once: Once, tmp_path: Path) -> Finished:
    """A finished sweep ``probe`` of a method that has kept every model, in a store that may be written to."""

    def fill(method: str, folder: Path) -> str:
        store = Store.open(str(shutil.copytree(FOLDER / "store", folder / "store")))
        for made_by_0_1 in ("sweeps", *STAYS[method]):
            shutil.rmtree(store.uri_of(made_by_0_1))
        file = folder / "sweep.yaml"
        file.write_text(SWEEPS[method], encoding="utf-8")
        table = run_here(store, load_sweep(file))
        assert set(table["state"].to_pylist()) == {"complete"}
        return store.uri

    def make(method: str) -> Store:
        made = once(f"keep-{method}", lambda folder: fill(method, folder))
        return Store.open(str(shutil.copytree(made, tmp_path / "store")))

    return make


def files(store: Store, folder: str = "") -> Files:
    return {path: store.read_bytes(path) for path in store.files(folder)}


def models(store: Store) -> Files:
    return files(store, f"{paths.sweep_folder('probe')}/models")


def forgotten(store: Store, *folders: str) -> Files:
    """Have a sweep that kept nothing, and return what it kept."""
    kept = models(store)
    for folder in (f"{paths.sweep_folder('probe')}/models", *folders):
        shutil.rmtree(store.uri_of(folder))
    text = store.read_bytes(paths.sweep_file("probe"))
    assert b"keep_models: all" in text
    store.write_bytes(
        paths.sweep_file("probe"), text.replace(b"keep_models: all", b"keep_models: none")
    )
    return kept


def of_trial(kept: Files, trial: str) -> Files:
    found = {path: data for path, data in kept.items() if f"/models/{trial}/" in path}
    assert paths.model_json("probe", trial) in found
    return found


def moved(store: Store, trial: str) -> None:
    """Move the smallest part of one stored probability of a trial that has one seed."""
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    (signature,) = (row["signature"] for row in rows if row["trial"] == trial)
    path = paths.predictions("probe", signature)
    table = store.read_table(path)
    p_W = table["p_W"].to_numpy().copy()
    p_W[3] = np.nextafter(p_W[3], np.float32(2))
    at = table.schema.get_field_index("p_W")
    store.write_table(path, table.set_column(at, "p_W", pa.array(p_W)))


def table_with(store: Store, trial: str, **values: Any) -> None:
    """Change the row of a trial in the final table."""
    table = store.read_table(paths.sweep_trials("probe"))
    rows = [r | values if r["trial"] == trial else r for r in table.to_pylist()]
    store.write_table(paths.sweep_trials("probe"), pa.Table.from_pylist(rows, schema=table.schema))


def run_cli(store: Store, method: str, *options: str) -> Any:
    file = Path(store.uri).parent / "probe.yaml"
    file.write_text(SWEEPS[method].replace("probe", "other"), encoding="utf-8")
    words = ["sweep", str(file), "--as", "probe", "--store", store.uri, *options]
    return CliRunner().invoke(commands, words)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a trial of one worker started Ray")

    monkeypatch.setattr(ray, "init", refuse)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("method", "trials"),
    [
        ("selective", ["arm-random", "t002"]),
        ("pretrain", ["t000"]),
        ("sleepmg", ["row-plain-seed1", "t000"]),
    ],
)
def test_a_kept_trial_is_what_the_sweep_would_have_kept(
    method: str, trials: list[str], finished: Finished
) -> None:
    store = finished(method)
    kept = forgotten(store, *STAYS[method])
    before = files(store)
    folders = list(keep_trials(store, "probe", trials))
    assert folders == [store.uri_of(paths.model_folder("probe", trial)) for trial in trials]
    after = files(store)
    new = {path: data for path, data in after.items() if path not in before}
    ledger = new.pop(paths.replay_events("probe"))
    assert new == {path: data for trial in trials for path, data in of_trial(kept, trial).items()}
    assert {path: after[path] for path in before} == before
    assert not any(split in ledger for split in (b"target_test", b"fold_test"))
    assert b"source_validation" in ledger or b"fold_validation" in ledger
    (started, *written) = [
        event
        for event in read_events(store, paths.replay_events("probe"))
        if event["event"] != "labels_read"
    ]
    assert (started["event"], started["trials"]) == ("keep_started", trials)
    assert [(e["event"], e["trial"]) for e in written] == [("model_kept", t) for t in trials]


@pytest.mark.parametrize("method", ["pretrain", "sleepmg"])
def test_weights_that_are_there_are_taken_as_they_are(
    method: str, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = finished(method)
    kept = forgotten(store)
    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "replayed", lambda *_: pytest.fail("it was trained again"))
        list(keep_trials(store, "probe", ["t000"]))
    assert models(store) == of_trial(kept, "t000")


def test_weights_of_another_training_are_not_taken(finished: Finished) -> None:
    store = finished("sleepmg")
    kept = forgotten(store)
    weights = [path for path in store.files("folds") if path.endswith("weights.safetensors")]
    for path, other in zip(
        weights, [store.read_bytes(path) for path in weights[::-1]], strict=True
    ):
        store.write_bytes(path, other)
    before = files(store, "folds")
    list(keep_trials(store, "probe", ["t000"]))
    assert models(store) == of_trial(kept, "t000")
    assert files(store, "folds") == before


def test_a_trial_that_shares_a_training_gets_a_model_of_its_own(finished: Finished) -> None:
    store = finished("selective")
    rows = store.read_table(paths.sweep_trials("probe")).to_pylist()
    assert {row["trial"]: row["reused_from"] for row in rows}["t001"] == "t000"
    kept = forgotten(store)
    list(keep_trials(store, "probe", ["t001", "t000"]))
    assert models(store) == {**of_trial(kept, "t000"), **of_trial(kept, "t001")}
    records = [
        json.loads(store.read_bytes(paths.model_json("probe", trial))) for trial in ("t000", "t001")
    ]
    assert records[0]["files"] == records[1]["files"]
    assert records[0]["name"] == "probe:t000"


def test_what_predicts_otherwise_is_not_kept(finished: Finished) -> None:
    store = finished("sleepmg")
    kept = forgotten(store, "folds")
    moved(store, "t000")
    result = run_cli(store, "sleepmg", "--keep", "t000", "--keep", "t001")
    assert isinstance(result.exception, ReplayError)
    assert result.exception.exit_code == 4
    told = str(result.exception)
    assert "1 of the trials of sweep 'probe' gave something else than recorded: t000 (" in told
    assert "predictions, by up to" in told
    assert result.stdout == f"{store.uri_of(paths.model_folder('probe', 't001'))}\n"
    assert models(store) == of_trial(kept, "t001")


def test_weights_that_are_there_are_not_taken_for_another_signature(finished: Finished) -> None:
    store = finished("sleepmg")
    forgotten(store)
    table_with(store, "t000", signature="0" * 16)
    with pytest.raises(ReplayError, match=r"t000 \(signature of the final table, not as in the j"):
        list(keep_trials(store, "probe", ["t000"]))
    assert models(store) == {}


@pytest.mark.usefixtures("no_ray")
def test_the_command(finished: Finished) -> None:
    store = finished("sleepmg")
    kept = of_trial(models(store), "t000")
    uri = store.uri_of(paths.model_folder("probe", "t000"))
    result = run_cli(store, "sleepmg", "--keep", "t000")
    assert (result.exit_code, result.stdout) == (0, f"{uri}\n"), result.output
    assert result.stderr == "t000 of sweep 'probe' is kept already\n"
    assert of_trial(models(store), "t000") == kept
    assert not store.exists(paths.replay_events("probe"))  # no label was read for it
    forgotten(store)
    result = run_cli(store, "sleepmg", "--keep", "t000", "--keep", "t000")
    assert (result.exit_code, result.stdout) == (0, f"{uri}\n"), result.output
    assert models(store) == kept
    result = run_cli(store, "sleepmg", "--keep", "t000", "--retry-failed")
    assert isinstance(result.exception, ConfigError)


FAILED = {"state": "failed", "error": "ValueError: too large\nTrace", "signature": None}
STOPPED = {"state": "stopped", "stopped_after": 3, "signature": None}


@pytest.mark.parametrize(
    ("trial", "row", "told"),
    [
        (
            "arm-randon",
            {},
            r"no trial 'arm-randon'\. Did you mean 'arm-random'\? .* t000, t001, t002",
        ),
        ("no_adapt", {}, r"no_adapt of .* never trained; it is the pretrained model .*c5992ae116b"),
        ("arm-no_adapt", {}, r"never trained; it is the pretrained model as it is, encoder c5992a"),
        (
            "t000",
            {"n_kept": 0},
            r"t000 of sweep 'probe' has no model to keep: it was never trained",
        ),
        ("t000", FAILED, r"it failed \(ValueError: too large\)\. Choose another trial\."),
        ("t000", STOPPED, r"the scheduler ended it after report 3"),
    ],
)
def test_a_trial_without_anything_to_keep_is_refused_before_any_is_trained(
    trial: str, row: dict[str, Any], told: str, finished: Finished
) -> None:
    store = finished("selective")
    forgotten(store)
    table_with(store, "t000", **row)
    before = files(store)
    with pytest.raises(ConfigError, match=told):
        list(keep_trials(store, "probe", ["t002", trial]))
    assert files(store) == before


def test_a_sweep_that_has_not_finished_or_has_other_data_is_refused(finished: Finished) -> None:
    store = finished("pretrain")
    forgotten(store)
    manifest = json.loads(store.read_bytes(paths.sweep_manifest("probe")))
    other = json.dumps(manifest | {"data_id": "other"}).encode()
    store.write_bytes(paths.sweep_manifest("probe"), other)
    with pytest.raises(ConfigError, match=r"the epochs of sweep 'probe' changed .*data_id other"):
        list(keep_trials(store, "probe", ["t000"]))
    store.delete(paths.sweep_trials("probe"))
    with pytest.raises(ConfigError, match=r"is stopped\. Finish it with `orchestrator sweep`"):
        list(keep_trials(store, "probe", ["t000"]))
    with pytest.raises(ConfigError, match=r"no sweep 'prob' .* Did you mean 'probe'"):
        list(keep_trials(store, "prob", ["t000"]))
    assert models(store) == {}


def test_a_trial_that_the_journal_lacks_is_damage(finished: Finished) -> None:
    store = finished("pretrain")
    forgotten(store)
    store.delete(paths.sweep_journal("probe"))
    with pytest.raises(IntegrityError, match=r"optuna\.journal is damaged: it lacks trial t000"):
        list(keep_trials(store, "probe", ["t000"]))


def test_a_model_that_was_written_by_half_is_none_and_is_written_again(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = finished("sleepmg")
    kept = of_trial(forgotten(store), "t000")
    before = files(store, paths.sweep_folder("probe"))
    write = Store.write_bytes

    def die_before_the_end(self: Store, path: str, data: bytes) -> None:
        if path.endswith("model.json"):
            raise SystemExit  # as a killed process, this is caught by nobody
        write(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", die_before_the_end)
        with pytest.raises(SystemExit):
            list(keep_trials(store, "probe", ["t000"]))
    half = models(store)
    assert half.keys() == kept.keys() - {paths.model_json("probe", "t000")}
    list(keep_trials(store, "probe", ["t000"]))
    assert models(store) == kept
    assert files(store, paths.sweep_folder("probe")) == before | kept


def test_ctrl_c_keeps_what_was_written(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    store = finished("sleepmg")
    kept = forgotten(store, "folds")
    replayed = Comparison.replayed

    def interrupt(self: Comparison, recorded: Recorded) -> Replayed:
        if recorded.trial == "t001":
            raise KeyboardInterrupt
        return replayed(self, recorded)

    monkeypatch.setattr(Comparison, "replayed", interrupt)
    with pytest.raises(InterruptedSweepError, match="models that are written stay; the same comma"):
        list(keep_trials(store, "probe", ["t000", "t001"]))
    assert models(store) == of_trial(kept, "t000")


def test_an_arm_is_handed_to_its_method_as_at_the_end_of_the_sweep(finished: Finished) -> None:
    store = finished("selective")
    sweep = stored_sweep(store, "probe")
    assert sweep is not None
    method = method_of(store, sweep)
    (row,) = (row for name, row in final_rows(store, "probe").items() if name == "arm-random")
    with EventLog(store, "events-of-the-test.jsonl") as log:
        method.begin(LabelGate(store, log), store)
        method.record_controls({name: None for name in method.controls})
        then = loop._control(method, "random", {SIGNATURE: row["signature"]})
    now = done_control(method, row)
    assert now.trial.stored == then.trial.stored
    assert replace(now, trial=None) == replace(then, trial=None, replicates=())
