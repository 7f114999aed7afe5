"""The schema of the event log knows every event that a sweep writes, and no other one."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestrator.store.store import Store
from orchestrator.sweeps.watch.event_schema import EVENTS, event_schema
from orchestrator.telemetry.events import EventLog, read_events

STARTED = {"trial": "t003", "signature": "0" * 16, "params": {}}
KEPT = {"n_kept": 0, "n_batches": 40, "mean_emd": None}
DONE = {"trial": "t003", "signature": "0a", "objective": 0.5, "reused_from": None}
CODE = {"commit": None, "dirty": None, "trainables_sha256": "a" * 64}


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(event_schema())


def test_it_names_what_the_code_writes(root: Path) -> None:
    package = root / "orchestrator"
    folders = (package / "sweeps", package / "methods")
    sources = [*(path for of in folders for path in of.rglob("*.py")), package / "labels.py"]
    own_log = {"encoder.py", "keep.py", "replay.py"}
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources if p.name not in own_log)
    written = set(re.findall(r'emit\(\s*"(\w+)"', text)) | {
        "arm_done",
        "row_done",
        "refit_done",
    }  # f"{kind}_done"
    written |= {"held_for_space", "space_again"}  # one of two
    assert written == set(EVENTS)


@pytest.mark.parametrize(
    ("event", "fields", "fits"),
    [
        ("sweep_finished", {"n_trials": 3}, True),
        ("sweep_finished", {}, False),
        ("sweep_finished", {"n_trials": 3, "more": 1}, False),
        ("trial_lost", {"trial": "t003", "n_times": 1}, True),
        ("trial_lost", {"trial": "3", "n_times": 1}, False),
        ("arm_done", {"arm": "random", "error": "ValueError: no"}, True),
        (
            "refit_done",
            {"refit": "t003", "signature": "0a", "waited_s": 0.5, "trained_s": 2.0},
            True,
        ),
        ("refit_done", {"refit": "t003", "error": "ValueError: no"}, True),
        ("refit_done", {"trial": "t003"}, False),
        ("trial_progress", {"trial": "t003", "n_parts": 1}, True),
        ("trial_progress", {"trial": "t003"}, False),
        ("trial_started", {**STARTED}, True),
        ("trial_started", {**STARTED, "n_parts": 3, "unit": "fold"}, True),
        ("trial_started", {**STARTED, **KEPT}, True),
        ("trial_started", {**STARTED, **KEPT, "n_kept": -1}, False),
        ("trial_done", DONE, True),
        ("trial_done", {**DONE, "waited_s": 0.5, "trained_s": 2.0}, True),
        ("trial_done", {**DONE, "waited_s": -0.5, "trained_s": 2.0}, False),
        ("other_code", {"before": CODE, "now": CODE | {"commit": "0" * 40, "dirty": True}}, True),
        ("other_code", {"before": CODE, "now": {"commit": None, "dirty": None}}, False),
        ("unheard_of", {}, False),
    ],
)
def test_lines(event: str, fields: dict[str, object], fits: bool, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with EventLog(store, "events.jsonl") as log:
        log.emit(event, **fields)
    (line,) = read_events(store, "events.jsonl")
    assert Draft202012Validator(event_schema()).is_valid(line) == fits


def test_half_a_line_is_not_read(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    at = "2026-01-01T10:00:00+00:00"
    store.write_bytes(
        "events.jsonl", f'{{"event": "a", "time": "{at}"}}\n{{"event": "b", "n_tri'.encode()
    )
    assert read_events(store, "events.jsonl") == [{"event": "a", "time": at}]
