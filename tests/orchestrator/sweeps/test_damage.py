"""Files of a sweep that are damaged: each command that reads one names file and line, and ends with 4."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.cli.main import main
from orchestrator.config.sweep import dump
from orchestrator.methods.pretrain.trial.encoder import _RECORDED
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.methods.selective.run.method import SelectiveMethod
from orchestrator.store import paths
from orchestrator.store.store import Store, parquet_bytes
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import sweep_lock
from orchestrator.sweeps.search.journal import journal_of
from orchestrator.sweeps.search.study import Study
from orchestrator.telemetry.events import EventLog

EVENTS, JOURNAL = paths.sweep_events("probe"), paths.sweep_journal("probe")
LOCK, FILE = paths.sweep_lock("probe"), paths.sweep_file("probe")
MANIFEST, TABLE = paths.sweep_manifest("probe"), paths.sweep_trials("probe")
NIGHTS = paths.manifest("home")
LEDGER = paths.replay_events("probe")


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A store with a sweep that was killed, and a command line in front of it."""

    store: Store
    sweep: SelectiveSweep
    file: Path
    encoder: str
    """Path of the encoder's record."""
    capsys: pytest.CaptureFixture[str]

    def run(self, command: str) -> tuple[int, str]:
        """Run a command on the sweep; return its exit code, and what it says in one line."""
        what = str(self.file) if command in ("sweep", "pretrain", "score") else "probe"
        with pytest.raises(SystemExit) as ended:
            main([command, what, "--store", self.store.uri])
        said = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, " ".join((said.out + said.err).split())

    def finish(self) -> None:
        """Have the final table in the store."""
        row = {"trial": "t000", "kind": "trial", "signature": "s", "objective": 0.5, "error": None}
        self.store.write_table(TABLE, pa.Table.from_pylist([row]))


@pytest.fixture
def begun(
    store: Store,
    two_sites: None,
    make_sweep: Callable[..., SelectiveSweep],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Begun:
    sweep = make_sweep()
    plan = plan_sweep(sweep, store)
    key, data_id = SelectiveMethod(store, sweep).data_id
    store.write_bytes(FILE, dump(sweep).encode())
    about = {"versions": {"sleep-orchestrator": "0.1.0"}, "method": "selective", key: data_id}
    store.write_bytes(MANIFEST, json.dumps(about, indent=1).encode())
    with journal_of(store, "probe", tmp_path, Halt()) as journal:
        study = Study("probe", journal.file)
        study.begin_attempt()
        study.enqueue({"tau_quantile": 0.5})
        study.enqueue({"tau_quantile": 0.25})
    with EventLog(store, EVENTS) as log:
        log.emit("sweep_started", n_cpus=2)
        log.emit("search_started", n_trials=3, n_finished=0)
        log.emit("trial_started", trial="t000", signature="s", params={"tau_quantile": 0.5})
        log.emit("trial_done", trial="t000", objective=0.5, reused_from=None)
    with EventLog(store, LEDGER) as log:
        log.emit("replay_started", trials=["t000"])
        log.emit("replay_finished", same=True)
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        held = json.loads(store.read_bytes(LOCK))
    store.write_bytes(LOCK, json.dumps(held | {"process_started": "long ago"}, indent=1).encode())
    encoder = paths.encoder_json(plan.encoder_request().encoder_id)
    store.write_bytes(encoder, json.dumps(dict.fromkeys(_RECORDED, 0), indent=1).encode())
    return Begun(
        store=store, sweep=sweep, file=tmp_path / "sweep.yaml", encoder=encoder, capsys=capsys
    )


# --- files that are one JSON object, or one YAML mapping -----------------------------------------


def _without_a_key(content: bytes) -> bytes:
    """Rename the last key."""
    last = list(re.finditer(rb'"?(\w+)"?: ', content))[-1]
    return content[: last.start(1)] + b"nosuchkey" + content[last.end(1) :]


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: content[:20] + b"\x07\x13{[" + content[24:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "not UTF-8": lambda content: content[:20] + b"\xff\xfe" + content[22:],
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:30] + bytes(len(content) - 30),
    "a list": lambda content: b"[]",
    "null": lambda content: b"null",
    "without a key": _without_a_key,
}


def refused(begun: Begun, command: str, path: str, content: bytes) -> str:
    """Run a command that must name a damaged file; return what it says. The file is mended afterwards."""
    before = begun.store.read_bytes(path)
    assert content != before
    begun.store.write_bytes(path, content)
    code, said = begun.run(command)
    assert code == 4, said
    assert begun.store.uri_of(path) in said
    assert "Traceback" not in said
    assert begun.store.read_bytes(path) == content, "it is left to a person"
    begun.store.write_bytes(path, before)
    return said


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("sweep", FILE),
        ("sweep", MANIFEST),
        ("sweep", LOCK),
        ("status", LOCK),
        ("stop", LOCK),
        ("replay", FILE),
        ("replay", MANIFEST),
    ],
)
def test_a_damaged_object(begun: Begun, command: str, path: str) -> None:
    if command == "replay":
        begun.finish()
    content = begun.store.read_bytes(path)
    for how, damaged in WHOLE.items():
        if path == LOCK and how == "empty":
            continue  # counts as not there: it is so for a moment on some S3 servers
        said = refused(begun, command, path, damaged(content))
        if not (path == FILE and how == "not UTF-8"):
            assert re.search(rf"{Path(path).name}:\d+:\d+", said), said
        assert ("remove it" if path == LOCK else "`--as NEWNAME`") in said


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["pretrain", "score"])
def test_a_damaged_record_of_an_encoder(begun: Begun, command: str) -> None:
    content = begun.store.read_bytes(begun.encoder)
    for damaged in WHOLE.values():
        said = refused(begun, command, begun.encoder, damaged(content))
        assert re.search(r"encoder\.json:\d+:\d+ is damaged: .* pretrain again", said)


# --- files that grow by lines --------------------------------------------------------------------

LINE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda line: line[:12] + b"\x07\x13{[" + line[16:],
    "half of it": lambda line: line[: len(line) // 2],
    "half of it and the next": lambda line: line[: len(line) // 2] + line,
    "empty": lambda line: b"",
    "not UTF-8": lambda line: line[:12] + b"\xff\xfe" + line[14:],
    "zeros": lambda line: bytes(len(line)),
    "a list": lambda line: b"[]",
    "null": lambda line: b"null",
    "without a key": lambda line: re.sub(rb'"(event|user_attr)"', b'"nosuchkey"', line),
}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("sweep", EVENTS),
        ("status", EVENTS),
        ("logs", EVENTS),
        ("stop", EVENTS),
        ("sweep", JOURNAL),
        ("replay", JOURNAL),
        ("replay", LEDGER),
    ],
)
def test_a_damaged_line(begun: Begun, command: str, path: str) -> None:
    if command == "replay":
        begun.finish()
    first, second, *others = begun.store.read_bytes(path).split(b"\n")
    for damaged in LINE.values():
        content = b"\n".join([first, damaged(second), *others])
        said = refused(begun, command, path, content)
        assert f"{Path(path).name}:2 is damaged: " in said
        assert ("keep only the lines before" if path == JOURNAL else "delete this line") in said


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["status", "logs"])
def test_half_a_line_at_the_end_is_what_a_killed_process_leaves(begun: Begun, command: str) -> None:
    code, before = begun.run(command)
    assert code == 0
    begun.store.write_bytes(EVENTS, begun.store.read_bytes(EVENTS) + b'{"event": "trial_do')
    assert begun.run(command) == (0, before)


def test_an_event_without_what_is_read_of_it(begun: Begun) -> None:
    events = begun.store.read_bytes(EVENTS)
    for number, name, key in (
        (2, "search_started", "n_finished"),
        (3, "trial_started", "params"),
        (4, "trial_done", "objective"),
        (4, "trial_done", "reused_from"),
    ):
        damaged = events.replace(f'"{key}"'.encode(), b'"nosuchkey"')
        said = refused(begun, "status", EVENTS, damaged)
        assert f"events.jsonl:{number} is damaged: the event '{name}' has no '{key}'." in said


def test_the_advice_for_a_log_and_a_journal_helps(begun: Begun) -> None:
    lines = begun.store.read_bytes(EVENTS).splitlines(keepends=True)
    refused(begun, "status", EVENTS, b"".join([*lines[:2], bytes(9), b"\n", lines[3]]))
    begun.store.write_bytes(EVENTS, b"".join([*lines[:2], lines[3]]))
    assert begun.run("status")[0] == 0
    lines = begun.store.read_bytes(JOURNAL).splitlines(keepends=True)
    said = refused(begun, "sweep", JOURNAL, b"".join([*lines[:3], b"\xff\n", *lines[4:]]))
    assert "optuna.journal:4 is damaged" in said
    begun.store.write_bytes(JOURNAL, b"".join(lines[:3]))
    with journal_of(begun.store, "probe", begun.file.parent, Halt()) as journal:
        assert len(Study("probe", journal.file).all_trials) == 1


# --- tables --------------------------------------------------------------------------------------

PARQUET: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: content[:30] + b"\x07" * 200 + content[230:],
    "garbage at the end": lambda content: content[:-300] + b"\x07" * 280 + content[-20:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]",
}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("sweep", NIGHTS),
        ("pretrain", NIGHTS),
        ("score", NIGHTS),
        ("replay", NIGHTS),
        ("sweep", TABLE),
        ("replay", TABLE),
    ],
)
def test_a_damaged_table(begun: Begun, command: str, path: str) -> None:
    if command == "replay" or path == TABLE:
        begun.finish()
    content = begun.store.read_bytes(path)
    for damaged in PARQUET.values():
        assert f"{path} is damaged: " in refused(begun, command, path, damaged(content))
    if path == NIGHTS:
        table = begun.store.read_table(path).drop_columns(["status"])
        assert "status" in refused(begun, command, path, parquet_bytes(table))
