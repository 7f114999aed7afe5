"""What is told before a sweep goes on."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep.runner import _tell_other_version, _telling_why
from orchestrator.telemetry.events import EventLog, read_events


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


def test_why_a_sweep_stopped_counts_though_the_log_cannot_be_written(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    (tmp_path / "events.jsonl").mkdir()
    with (
        EventLog(store, "events.jsonl") as log,
        pytest.raises(IntegrityError, match="test labels"),
        _telling_why(log),
    ):
        raise IntegrityError("test labels")
