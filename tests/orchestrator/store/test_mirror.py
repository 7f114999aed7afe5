"""A file in a store that follows what grows here."""

import time

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.store.mirror import Mirror
from orchestrator.store.store import Store


def test_whatever_goes_wrong_is_told_and_the_next_writing_is_tried(
    remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OrchestratorError] = []
    contents: list[Exception] = [MemoryError("no room")]

    def content() -> bytes:
        if contents:
            raise contents.pop()
        return b"all of it"

    monkeypatch.setattr("orchestrator.store.mirror._AGAIN_S", 0.01)
    mirror = Mirror(remote, "log", content, failed=told.append, name="log")
    mirror.changed()
    deadline = time.monotonic() + 10
    while not remote.exists("log"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    mirror.close()
    (error,) = told
    assert "log cannot be written: MemoryError: no room" in str(error)
    assert remote.read_bytes("log") == b"all of it"
    assert mirror.error is None
