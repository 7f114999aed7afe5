"""Event logs of a store, followed as they grow."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from orchestrator.store.store import Store

StateT = TypeVar("StateT")


@dataclass(slots=True)
class _Followed(Generic[StateT]):
    state: StateT
    n_bytes: int = 0
    ended: bool = False


@dataclass(slots=True)
class Follower(Generic[StateT]):
    """Adds up the events of several logs, each read once.

    Parameters
    ----------
    store : Store
    begin : callable
        Path of a log -> what adds up its events.
    add : callable
        Takes that, and the next event.
    ends : tuple of str
        Events after which a log is not looked at again.
    """

    store: Store
    begin: Callable[[str], StateT]
    add: Callable[[StateT, dict[str, Any]], None]
    ends: tuple[str, ...]
    _logs: dict[str, _Followed[StateT]] = field(default_factory=dict)

    def look(self, logs: list[str]) -> Iterator[tuple[str, StateT]]:
        """Read what came since the last look, and give the state of each log that has begun."""
        for path in logs:
            log = self._logs.get(path)
            if log is None or not log.ended:
                content = self.store.read_if_there(path) or b""
                if log is None or len(content) < log.n_bytes:  # another run took its place
                    log = self._logs[path] = _Followed(self.begin(path))
                whole = content[log.n_bytes : content.rfind(b"\n") + 1]
                log.n_bytes += len(whole)
                for line in whole.splitlines():
                    event = json.loads(line)
                    self.add(log.state, event)
                    log.ended = event["event"] in self.ends
            if log.n_bytes:
                yield path, log.state
