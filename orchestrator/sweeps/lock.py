"""One driver for each sweep: a lock in the store that says who holds it, and that its holder keeps alive."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import ConfigError, IntegrityError, OrchestratorError
from orchestrator.store import paths
from orchestrator.store.decoding import Kinds, json_object
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt
from orchestrator.telemetry.processes import started_at, this_machine
from orchestrator.telemetry.progress import note
from orchestrator.telemetry.termination import last_word

BEAT_S = 5.0
"""How often the holder says that it is alive."""
SILENT_S = 4 * BEAT_S
"""Seconds without a word after which a holder on another machine is taken for dead."""
_EMPTY_S = 1.0
"""Seconds that a file may be empty while it is replaced, on some S3 servers."""
_LOCK: Kinds = {
    "token": str,
    "host": str,
    "machine": str,
    "pid": int,
    "process_started": str | None,
    "since": datetime,
    "beat": int,
}
"""What a lock says."""
_REQUEST: Kinds = {"now": bool}
"""What a request to stop says."""
_SETTLE_S = 0.5  # of two that take a dead holder's lock over at once, the later one has it


@contextlib.contextmanager
def sweep_lock(
    store: Store, name: str, halt: Halt, *, beat_s: float = BEAT_S, silent_s: float = SILENT_S
) -> Iterator[None]:
    """Hold the lock of a sweep.

    Whether its holder is alive is a question to the operating system where that ran on this machine; where it ran on
    another one, it is watched for a while. No two clocks are compared.

    Parameters
    ----------
    store : Store
    name : str
        Of the sweep.
    halt : Halt
        Stopped when another process took the lock over, so that this one was taken for dead, and when the lock or a
        request to stop cannot be read.
    beat_s, silent_s : float
        For tests.

    Raises
    ------
    ConfigError
        Another process runs the sweep.
    IntegrityError
        The lock is damaged, so nobody knows.
    """
    lock = _Lock(store, paths.sweep_lock(name), name, silent_s)
    lock.take()
    store.delete_if_there(paths.sweep_stop(name))  # of an earlier attempt
    ended = threading.Event()

    def keep_alive() -> None:
        while not ended.wait(beat_s):
            with _ending_only_for_damage(halt):
                _hear(store, name, halt)
            with _ending_only_for_damage(halt):
                if not lock.beat():
                    halt.stop(
                        ConfigError(
                            f"sweep {name!r} was taken over by another process: {lock.holder()}. "
                            "This one ends; nothing is lost."
                        )
                    )
                    return

    thread = threading.Thread(target=keep_alive, name="sweep lock", daemon=True)
    thread.start()

    def let_go() -> None:
        ended.set()
        thread.join()
        lock.release()

    try:
        with last_word(let_go):
            yield
    finally:
        let_go()


@contextlib.contextmanager
def _ending_only_for_damage(halt: Halt) -> Iterator[None]:
    """Leave a store that is out of reach to whoever needs it next; they will say so, and the next beat tries again."""
    try:
        yield
    except IntegrityError as error:
        halt.stop(error)
    except OrchestratorError:
        pass


class Holders:
    """Which processes hold the locks of sweeps, and whether they are alive as far as can be told from here.

    One on another machine counts as alive until it has been silent over several looks, so a single look cannot tell.

    Parameters
    ----------
    store : Store
    clock : callable
        Seconds of this machine's own, for tests.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._heard: dict[str, _LastSign] = {}

    def of(self, name: str) -> tuple[str, bool]:
        """Return which process holds the lock of a sweep, and whether it is alive; nobody holding it is not."""
        found = _read(self._store, paths.sweep_lock(name))
        if found is None:
            return "", False
        if found["machine"] == this_machine():
            return _about(found), _runs_here(found)
        return _about(found), self._silent_s(name, found) < SILENT_S

    def _silent_s(self, name: str, found: dict[str, Any]) -> float:
        """Return how long a holder elsewhere has been silent, from look to look."""
        sign, now = (found["token"], found["beat"]), self._clock()
        heard = self._heard.get(name)
        if heard is None or heard.sign != sign:
            heard = self._heard[name] = _LastSign(sign, now)
        # However long ago the last look was, one beat can be missing since: the store may have been away from both.
        heard.silent_s += min(now - heard.looked_at, BEAT_S)
        heard.looked_at = now
        return heard.silent_s


@dataclass(slots=True)
class _LastSign:
    """The last sign of life of a holder elsewhere."""

    sign: tuple[str, int]
    """Its token and its beat."""
    looked_at: float
    silent_s: float = 0.0


def ask_to_stop(store: Store, name: str, *, now: bool) -> None:
    """Ask the process that runs a sweep to drain it or, `now`, to stop it. It looks at every beat."""
    store.write_bytes(paths.sweep_stop(name), json.dumps({"now": now}).encode())


def _hear(store: Store, name: str, halt: Halt) -> None:
    """Do what `ask_to_stop` asked for."""
    request = _read(store, paths.sweep_stop(name), _REQUEST)
    if request is None:
        return
    if request["now"]:
        halt.stop()
    else:
        halt.drain()
    store.delete_if_there(paths.sweep_stop(name))


class _Lock:
    def __init__(self, store: Store, path: str, name: str, silent_s: float) -> None:
        self._store = store
        self._path = path
        self._name = name
        self._silent_s = silent_s
        self._mine: dict[str, Any] = {
            "token": secrets.token_hex(8),
            "host": socket.gethostname(),
            "machine": this_machine(),
            "pid": os.getpid(),
            "process_started": started_at(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "beat": 0,
        }

    def take(self) -> None:
        while not self._store.create(self._path, _encoded(self._mine)):
            found = _read(self._store, self._path)
            if found is None and not self._store.exists(self._path):
                continue  # released just now
            if found is not None and found["token"] == self._mine["token"]:
                return  # written by a request of ours whose answer was lost
            if found is not None and self._is_alive(found):
                raise ConfigError(
                    f"sweep {self._name!r} is running already: {_about(found)}. Wait for it or end it; its file is "
                    f"{self._store.uri_of(self._path)}."
                )
            self._store.write_bytes(self._path, _encoded(self._mine))
            time.sleep(_SETTLE_S)
            now = _read(self._store, self._path)
            if now is not None and now["token"] == self._mine["token"]:
                return

    def beat(self) -> bool:
        """Say that this process is alive, unless the lock is another's by now."""
        found = _read(self._store, self._path)
        if found is not None and found["token"] != self._mine["token"]:
            return False
        self._mine["beat"] += 1
        self._store.write_bytes(self._path, _encoded(self._mine))
        return True

    def release(self) -> None:
        with contextlib.suppress(OrchestratorError):
            found = _read(self._store, self._path)
            if found is not None and found["token"] == self._mine["token"]:
                self._store.delete_if_there(self._path)

    def holder(self) -> str:
        found = _read(self._store, self._path)
        return _about(found) if found else "it has ended since"

    def _is_alive(self, found: dict[str, Any]) -> bool:
        if found["machine"] == self._mine["machine"]:
            return _runs_here(found)
        note(
            f"Sweep {self._name!r} was begun elsewhere: {_about(found)}. Waiting {self._silent_s:g} s for a sign of "
            "life."
        )
        deadline = time.monotonic() + self._silent_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._silent_s / 4))
            now = _read(self._store, self._path)
            if now is None:
                return False
            if (now["token"], now["beat"]) != (found["token"], found["beat"]):
                return True
        return False


def _read(store: Store, path: str, kinds: Kinds = _LOCK) -> dict[str, Any] | None:
    """Return what a file says; None where there is none, or where it stays empty."""
    deadline = time.monotonic() + _EMPTY_S
    while (data := store.read_if_there(path)) == b"" and time.monotonic() < deadline:
        time.sleep(_EMPTY_S / 4)
    return json_object(data, store.uri_of(path), kinds) if data else None


def _runs_here(lock: dict[str, Any]) -> bool:
    """Whether the process that wrote a lock on this machine still runs."""
    return bool(started_at(lock["pid"]) == lock["process_started"])


def _encoded(lock: dict[str, Any]) -> bytes:
    return json.dumps(lock, indent=1).encode()


def _about(lock: dict[str, Any]) -> str:
    age_s = (datetime.now(UTC) - datetime.fromisoformat(lock["since"])).total_seconds()
    return f"process {lock['pid']} on {lock['host']}, since {lock['since']} ({age_s / 60:.0f} min)"
