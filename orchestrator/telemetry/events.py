"""The event log: one JSON object per line, the only artefact with times, hosts and process ids in it.

A log is the ledger of the labels that were read, so nothing goes on over a line that cannot be read: it is named, and
left to a person. Half a line at the end is what a killed process, a full disk or a power failure leaves; it is cut off.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.store.decoding import Kinds, damaged, json_lines
from orchestrator.store.lines import cut_to_lines, whole_lines
from orchestrator.store.mirror import Mirror
from orchestrator.store.store import Store

EVENT: Kinds = {"time": datetime, "event": str}
"""What every event has."""

Listener = Callable[[Mapping[str, Any]], None]

_S3_FLUSH_S = 5.0  # an object cannot be appended to, so it is rewritten, and not at every event


class EventLog:
    """Append events to ``events.jsonl`` in a store. One writer at a time; used as a context manager.

    A local log is appended to at once; what a killed process wrote only half of its last line is cut off. On S3 the
    whole log is written again, in a thread of its own: soon after an event, but not more often than every five seconds,
    and when the log is closed.

    Parameters
    ----------
    store : Store
    path : str
    failed : callable, optional
        Gets the error when the log cannot be written. On a disk, the event that could not be written raises it; on
        S3, where it is tried again, the end of the log does, unless it was written by then.

    Raises
    ------
    SetupError
        A local log that is there cannot be used.
    IntegrityError
        One that is there is damaged.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        failed: Callable[[OrchestratorError], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._path = path
        self._failed = failed
        self._s3_lines: list[bytes] = []
        self._s3_copy: Mirror | None = None
        self._listeners: list[Listener] = []
        if store.is_local:
            with self._translated():
                cut_to_lines(self._file)
            there = self._file.is_file()
        else:
            content = whole_lines(store.read_if_there(path) or b"")
            self._s3_lines = content.splitlines(keepends=True)
            there = bool(content)
        if there:
            self.events()  # one that is damaged is told of before anything else is done

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event with the time, this host and this process; `fields` may override those.

        Raises
        ------
        SetupError
            A local log cannot be written to, perhaps because its disk is full.
        """
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **fields,
        }
        for listener in self._listeners:
            listener(record)
        line = json.dumps(record, sort_keys=True).encode() + b"\n"
        if self._store.is_local:
            self._append(line)
            return
        self._s3_lines.append(line)
        if self._s3_copy is None:  # a log without events leaves no object
            self._s3_copy = Mirror(
                self._store,
                self._path,
                lambda: b"".join(self._s3_lines.copy()),  # others come meanwhile
                failed=self._failed,
                name="event log",
                pause_s=_S3_FLUSH_S,
            )
        self._s3_copy.changed()

    def events(self) -> list[dict[str, Any]]:
        """Return all events so far, oldest first, those of earlier attempts and those not on S3 yet included."""
        if self._store.is_local:
            return read_events(self._store, self._path)
        return json_lines(b"".join(self._s3_lines), self._store.uri_of(self._path), EVENT)

    def close(self) -> None:
        """Have on S3 what is not there yet; a log on a disk is complete at any time.

        Raises
        ------
        OrchestratorError
            It cannot be written.
        """
        if self._s3_copy is not None:
            self._s3_copy.close()
            if self._s3_copy.error is not None:
                raise self._s3_copy.error

    @contextlib.contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Call `listener` with each event inside the block, as it is emitted."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @property
    def _file(self) -> Path:
        return Path(self._store.uri_of(self._path))

    def _append(self, line: bytes) -> None:
        try:
            with self._translated():
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("ab") as f:
                    f.write(line)
        except SetupError as error:
            with contextlib.suppress(OSError):  # the disk may have taken the beginning of the line
                cut_to_lines(self._file)
            self._failed(error)
            raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SetupError(
                f"the event log {self._file} cannot be written: {error.strerror or error}. Make room on its disk, or "
                "let this user write there, and run the same command again: it goes on where it was."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(store: Store, path: str) -> list[dict[str, Any]]:
    """Return all events of a log, oldest first; empty where there is none. A line that is being written is left out.

    The first event is that of line 1, and each line has one.

    Raises
    ------
    IntegrityError
        A line holds no event.
    """
    return json_lines(store.read_if_there(path) or b"", store.uri_of(path), EVENT)


@contextlib.contextmanager
def naming_line(where: str, line: int, event: Mapping[str, Any]) -> Iterator[None]:
    """Say which line of a log lacks something that whoever reads its event needs."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"cannot be used ({error})"
        raise damaged(where, f"the event {event['event']!r} {what}", line=line) from error
