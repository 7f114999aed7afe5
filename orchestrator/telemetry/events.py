"""The event log: one JSON object per line, the only artefact with times, hosts and process ids in it."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from orchestrator.store.store import Store

Listener = Callable[[Mapping[str, Any]], None]

_S3_FLUSH_S = 5.0  # an object cannot be appended to, so it is rewritten, and not at every event


class EventLog:
    """Append events to ``events.jsonl`` in a store. One writer at a time; used as a context manager.

    A local log is appended to at once. On S3 the whole log is written again at most every five seconds and
    when the log is closed.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path
        self._s3_lines: list[str] = []
        self._flushed_s = time.monotonic()
        self._listeners: list[Listener] = []
        if not store.is_local and store.exists(path):
            self._s3_lines = store.read_bytes(path).decode().splitlines()

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event with the time, this host and this process; `fields` may override those."""
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **fields,
        }
        for listener in self._listeners:
            listener(record)
        line = json.dumps(record, sort_keys=True)
        if self._store.is_local:
            file = Path(self._store.uri_of(self._path))
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as f:
                f.write(line + "\n")
            return
        self._s3_lines.append(line)
        if time.monotonic() - self._flushed_s > _S3_FLUSH_S:
            self._flush()

    def events(self) -> list[dict[str, Any]]:
        """Return all events so far, oldest first, those of earlier attempts and those not on S3 yet included."""
        if self._store.is_local:
            return read_events(self._store, self._path)
        return [json.loads(line) for line in self._s3_lines]

    @contextlib.contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Call `listener` with each event inside the block, as it is emitted."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _flush(self) -> None:
        self._store.write_bytes(self._path, "".join(f"{x}\n" for x in self._s3_lines).encode())
        self._flushed_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._s3_lines:
            self._flush()


def read_events(store: Store, path: str) -> list[dict[str, Any]]:
    """Return all events of a log, oldest first; empty where there is none. A line that is being written is left out."""
    content = store.read_if_there(path) or b""
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.decode().splitlines()]
