"""Event logs of a store, followed as they grow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from orchestrator.store.decoding import json_lines
from orchestrator.store.lines import whole_lines
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EVENT, naming_line

StateT = TypeVar("StateT")


@dataclass(slots=True)
class _Followed(Generic[StateT]):
    state: StateT
    n_bytes: int = 0
    n_lines: int = 0


@dataclass(slots=True)
class Follower(Generic[StateT]):
    """Adds up the events of several logs, each read when it has grown.

    Parameters
    ----------
    store : Store
    begin : callable
        Path of a log -> what adds up its events.
    add : callable
        Takes that, and the next event.
    """

    store: Store
    begin: Callable[[str], StateT]
    add: Callable[[StateT, dict[str, Any]], None]
    _logs: dict[str, _Followed[StateT]] = field(default_factory=dict)

    def look(self, logs: list[str]) -> Iterator[tuple[str, StateT]]:
        """Read what came since the last look, and give the state of each log that has begun.

        Raises
        ------
        IntegrityError
            A line holds no event, or one that cannot be added. The next look goes on after it.
        """
        for path in logs:
            log, size = self._logs.get(path), self.store.size(path) or 0
            if log is None or size < log.n_bytes:  # another run took its place
                log = self._logs[path] = _Followed(self.begin(path))
            if size > log.n_bytes:
                content = self.store.read_if_there(path) or b""
                where = self.store.uri_of(path)
                for line in whole_lines(content)[log.n_bytes :].split(b"\n")[:-1]:
                    log.n_bytes += len(line) + 1
                    log.n_lines += 1
                    (event,) = json_lines(line + b"\n", where, EVENT, first=log.n_lines)
                    with naming_line(where, log.n_lines, event):
                        self.add(log.state, event)
            if log.n_bytes:
                yield path, log.state
