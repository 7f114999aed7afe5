"""What is told before a sweep goes on."""

import contextlib
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from orchestrator.config.sweep import dump
from orchestrator.errors import ConfigError, IntegrityError, TerminatedSweepError
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.run.method import SelectiveMethod
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import runner
from orchestrator.sweeps.begun import check_changes
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.runner import (
    _remove_partials,
    _tell_other_version,
    _telling_why,
    run_sweep,
)
from orchestrator.telemetry import termination
from orchestrator.telemetry.events import EventLog, read_events

MakeSweep = Callable[..., SelectiveSweep]


@pytest.mark.parametrize("before", ["0.0.1", version("sleep-orchestrator"), None])
def test_another_version_of_the_package_is_told(
    before: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path))
    if before is not None:
        manifest = {"versions": {"sleep-orchestrator": before}}
        store.write_bytes(paths.sweep_manifest("probe"), json.dumps(manifest).encode())
    with EventLog(store, "events.jsonl") as log:
        _tell_other_version(store, "probe", log)
    told = read_events(store, "events.jsonl")
    assert len(told) == (before == "0.0.1")
    assert ("was begun with version 0.0.1" in capsys.readouterr().err) == (before == "0.0.1")


@pytest.fixture
def _no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of one machine without a price, on which nothing may be prepared."""
    node = {"Alive": True, "NodeManagerAddress": "10.0.0.7", "Resources": {"CPU": 8.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    monkeypatch.setattr(runner, "ray_session", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(SelectiveMethod, "prepare", lambda _: pytest.fail("hours of work"))


@pytest.mark.usefixtures("_no_prices", "two_sites")
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_limit_in_money_without_prices_is_refused_before_anything_is_done(
    has_begun: bool, store: Store, make_sweep: MakeSweep
) -> None:
    """It could not go on without the limit, or would have trained arms before it says so."""
    before = dump(make_sweep()).encode() if has_begun else None
    if before is not None:
        store.write_bytes(paths.sweep_file("probe"), before)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.7 has no price.*or remove max_usd"):
        run_sweep(store, make_sweep(more_search="  max_usd: 5"))
    assert store.read_if_there(paths.sweep_file("probe")) == before


def test_what_killed_writers_left_is_removed_but_not_beside_the_lock(store: Store) -> None:
    for folder in ("", "models/t000/", "weights/", "predictions/"):
        store.write_bytes(f"{paths.sweep_folder('probe')}/{folder}whole", b"all of it")
        left = Path(store.root, paths.sweep_folder("probe"), folder, ".whole.4242-7.part")
        left.write_bytes(b"half of it")
    _remove_partials(store, "probe")
    assert [path.parent.name for path in Path(store.root).rglob("*.part")] == ["probe"]
    assert len(store.files(paths.sweep_folder("probe"))) == 4


def read_test_stages(store: Store) -> None:
    """Have the event log of a sweep that was killed before its final table was written."""
    with EventLog(store, paths.sweep_events("probe")) as log:
        log.emit("labels_read", split="target_test", recordings=[])


def test_a_longer_search_comes_too_late_once_test_stages_were_read(
    store: Store, make_sweep: MakeSweep, two_sites: None
) -> None:
    sweep = make_sweep()
    store.write_bytes(paths.sweep_file("probe"), dump(sweep).encode())
    longer = sweep.model_copy(update={"search": sweep.search.model_copy(update={"n_trials": 99})})
    assert [one.key for one in check_changes(store, longer)] == ["search.n_trials"]
    read_test_stages(store)
    with pytest.raises(
        ConfigError, match=r"has ended, .*search\.n_trials: .* -> 99 comes too late"
    ):
        run_sweep(store, longer)
    with pytest.raises(ConfigError, match="--retry-failed comes too late"):
        run_sweep(store, sweep, retry_failed=True)


@pytest.mark.parametrize("meanwhile", ["begun", "ended"])
def test_what_another_process_did_before_the_lock_was_ours_counts(
    meanwhile: str,
    store: Store,
    make_sweep: MakeSweep,
    two_sites: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep, table = make_sweep(), pa.table({"trial": ["t000"]})
    other = sweep.model_copy(update={"seed": sweep.seed + 1})

    @contextlib.contextmanager
    def lock(*_: object) -> Iterator[None]:
        if meanwhile == "begun":
            store.write_bytes(paths.sweep_file("probe"), dump(other).encode())
        else:
            store.write_table(paths.sweep_trials("probe"), table)
        yield

    monkeypatch.setattr(runner, "sweep_lock", lock)
    monkeypatch.setattr(runner, "ray_session", lambda *_: pytest.fail("it ran"))
    if meanwhile == "ended":
        assert run_sweep(store, sweep).equals(table)
    else:
        with pytest.raises(ConfigError, match="was begun with other settings: seed"):
            run_sweep(store, sweep)


def test_why_a_sweep_stopped_counts_though_the_log_cannot_be_written(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    (tmp_path / "events.jsonl").mkdir()
    with (
        EventLog(store, "events.jsonl") as log,
        pytest.raises(IntegrityError, match="test labels"),
        _telling_why(log, "probe", Halt()),
    ):
        raise IntegrityError("test labels")


@pytest.mark.parametrize(
    ("error", "terminated", "raised", "reason"),
    [
        (KeyboardInterrupt(), True, TerminatedSweepError, "TerminatedSweepError"),
        (KeyboardInterrupt(), False, KeyboardInterrupt, "InterruptedSweepError"),
        (ConnectionError("Ray is gone"), True, TerminatedSweepError, "TerminatedSweepError"),
    ],
)
def test_a_signal_is_noted_as_what_it_is(
    error: BaseException,
    terminated: bool,
    raised: type[BaseException],
    reason: str,
    tmp_path: Path,
) -> None:
    store, halt = Store.open(str(tmp_path)), Halt()
    halt.terminated = terminated
    with (
        EventLog(store, "events.jsonl") as log,
        pytest.raises(raised),
        _telling_why(log, "probe", halt),
    ):
        raise error
    (told,) = read_events(store, "events.jsonl")
    assert (told["event"], told["reason"]) == ("sweep_stopped", reason)
    assert "sweep 'probe' was interrupted" in told["message"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_sweep_that_is_ended_from_without_has_its_event_unless_it_was_finished(
    finished: bool, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path))
    with EventLog(store, "events.jsonl") as log, _telling_why(log, "probe", Halt()):
        log.emit("sweep_finished" if finished else "sweep_started")
        termination._say_last_words()
    told = [event["event"] for event in read_events(store, "events.jsonl")]
    assert told == (["sweep_finished"] if finished else ["sweep_started", "sweep_stopped"])


def test_a_signal_after_the_end_is_no_reason(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with EventLog(store, "events.jsonl") as log:
        log.emit("sweep_finished")
        with pytest.raises(KeyboardInterrupt), _telling_why(log, "probe", Halt()):
            raise KeyboardInterrupt  # while Ray is shut down
    assert [event["event"] for event in read_events(store, "events.jsonl")] == ["sweep_finished"]


def test_a_log_that_cannot_be_read_hides_no_reason(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with EventLog(store, "events.jsonl") as log:
        log.emit("sweep_started")
        with (tmp_path / "events.jsonl").open("ab") as file:
            file.write(b"{damaged\n")
        with pytest.raises(ConfigError, match="the reason"), _telling_why(log, "probe", Halt()):
            raise ConfigError("the reason")
