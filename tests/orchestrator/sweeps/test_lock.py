"""One driver for each sweep: who gets the lock, and from whom it may be taken."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps import lock as module
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.lock import Holders, ask_to_stop, sweep_lock
from orchestrator.telemetry import termination

BEAT_S = 0.05


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def lock_of(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read_bytes(paths.sweep_lock("probe")))
    return found


def test_the_lock_says_who_holds_it_and_goes_with_its_holder(store: Store) -> None:
    with sweep_lock(store, "probe", Halt()):
        assert lock_of(store)["pid"] == os.getpid()
        again = sweep_lock(store, "probe", Halt())
        with (
            pytest.raises(ConfigError, match=rf"running already: process {os.getpid()} on "),
            again,
        ):
            pass
        with sweep_lock(store, "other", Halt()):
            pass
    assert not store.exists(paths.sweep_lock("probe"))
    with sweep_lock(store, "probe", Halt()):
        pass


def test_a_process_that_is_ended_from_without_lets_go(store: Store) -> None:
    with sweep_lock(store, "probe", Halt(), beat_s=0.05):
        termination._say_last_words()
        time.sleep(0.15)
        assert not store.exists(paths.sweep_lock("probe")), "it was written again"


@pytest.mark.heavy
def test_the_lock_of_a_dead_process_is_taken_over_at_once(store: Store) -> None:
    code = (
        "import os, sys; from orchestrator.store.store import Store; from orchestrator.sweeps.halt import Halt;"
        "from orchestrator.sweeps.lock import sweep_lock\n"
        "with sweep_lock(Store.open(sys.argv[1]), 'probe', Halt()): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, store.uri], check=False)
    assert killed.returncode == -9
    dead = lock_of(store)
    began = time.monotonic()
    with sweep_lock(store, "probe", Halt()):
        assert time.monotonic() - began < 5
        assert lock_of(store)["token"] != dead["token"]


@pytest.mark.heavy
def test_a_process_with_the_id_of_the_dead_one_is_another(store: Store) -> None:
    with sweep_lock(store, "probe", Halt()):
        held = lock_of(store)
    held |= {"token": "before", "process_started": "1"}
    store.write_bytes(paths.sweep_lock("probe"), json.dumps(held).encode())
    with sweep_lock(store, "probe", Halt()):
        assert lock_of(store)["token"] != "before"


@pytest.mark.heavy
def test_a_holder_elsewhere_that_gives_a_sign_of_life_keeps_the_lock(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with sweep_lock(store, "probe", Halt()):
        elsewhere = lock_of(store) | {"machine": "another", "token": "theirs", "host": "node7"}
    path = paths.sweep_lock("probe")
    store.write_bytes(path, json.dumps(elsewhere).encode())

    with sweep_lock(store, "alive", Halt(), beat_s=BEAT_S):  # its beats, under the other's name
        alive = Path(store.uri_of(paths.sweep_lock("alive")))
        theirs = json.loads(alive.read_text(encoding="utf-8")) | {
            "machine": "another",
            "host": "node7",
        }
        alive.write_text(json.dumps(theirs), encoding="utf-8")
        with (
            pytest.raises(ConfigError, match=r"on node7, since .* min\)"),
            sweep_lock(store, "alive", Halt(), silent_s=1.0),
        ):
            pass
    assert "on node7" in capsys.readouterr().err

    with sweep_lock(store, "probe", Halt(), silent_s=0.2):  # the silent one is taken for dead
        assert lock_of(store)["token"] != "theirs"


@pytest.mark.heavy
@pytest.mark.parametrize("now", [False, True])
def test_another_shell_can_ask_the_holder_to_stop(store: Store, now: bool) -> None:
    assert Holders(store).of("probe") == ("", False)
    ask_to_stop(store, "probe", now=True)  # to nobody: an earlier holder ended before it heard
    halt = Halt()
    with sweep_lock(store, "probe", halt, beat_s=BEAT_S):
        about, alive = Holders(store).of("probe")
        assert alive
        assert about.startswith(f"process {os.getpid()} on ")
        time.sleep(4 * BEAT_S)
        assert not halt.draining
        ask_to_stop(store, "probe", now=now)
        deadline = time.monotonic() + 10
        while not halt.draining:
            assert time.monotonic() < deadline
            time.sleep(BEAT_S)
        assert halt.stopping == now
        assert halt.error is None
        while store.exists(paths.sweep_stop("probe")):
            assert time.monotonic() < deadline
            time.sleep(BEAT_S)


@pytest.mark.heavy
def test_a_process_that_was_taken_for_dead_ends(store: Store) -> None:
    halt = Halt()
    with sweep_lock(store, "probe", halt, beat_s=BEAT_S):
        first = lock_of(store)
        deadline = time.monotonic() + 10
        while lock_of(store)["beat"] == first["beat"]:
            assert time.monotonic() < deadline
            time.sleep(BEAT_S)
        theirs = lock_of(store) | {"token": "theirs", "host": "node7"}
        while not halt.stopping:
            # Again, as a beat that was under way may have come after it.
            store.write_bytes(paths.sweep_lock("probe"), json.dumps(theirs).encode())
            assert time.monotonic() < deadline
            time.sleep(BEAT_S)
    assert re.search(r"taken over by another process: .* on node7", str(halt.error))
    assert lock_of(store)["token"] == "theirs", "it released the lock of another"


def test_a_holder_elsewhere_is_dead_after_four_beats_that_did_not_come(store: Store) -> None:
    with sweep_lock(store, "probe", Halt()):
        elsewhere = lock_of(store) | {"machine": "another", "host": "node7"}
    now = 1000.0
    holders = Holders(store, clock=lambda: now)
    path = paths.sweep_lock("probe")

    def alive(passed_s: float, beat: int) -> bool:
        nonlocal now
        now += passed_s
        store.write_bytes(path, json.dumps(elsewhere | {"beat": beat}).encode())
        about, found = holders.of("probe")
        assert "on node7" in about
        return found

    assert all(alive(5, beat=i) for i in range(10))
    assert [alive(5, beat=9) for _ in range(5)] == [True, True, True, False, False]
    assert alive(5, beat=10), "it was only slow"
    assert alive(60, beat=10), "nobody could reach the store: it may beat again"
    assert [alive(5, beat=10) for _ in range(3)] == [True, True, False]
    store.delete(path)
    assert holders.of("probe") == ("", False)


@pytest.mark.heavy
def test_files_without_content_count_as_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EMPTY_S", 0.05)
    for path in (paths.sweep_lock("probe"), paths.sweep_stop("probe")):
        store.write_bytes(path, b"")
    assert Holders(store).of("probe") == ("", False)
    halt = Halt()
    with sweep_lock(store, "probe", halt, beat_s=BEAT_S):
        assert lock_of(store)["pid"] == os.getpid()
        store.write_bytes(paths.sweep_stop("probe"), b"")
        beat, deadline = lock_of(store)["beat"], time.monotonic() + 10
        while lock_of(store)["beat"] < beat + 2:
            assert time.monotonic() < deadline, "it no longer beats"
            time.sleep(BEAT_S)
        ask_to_stop(store, "probe", now=False)
        while not halt.draining:
            assert time.monotonic() < deadline
            time.sleep(BEAT_S)


@pytest.mark.heavy
def test_a_lock_that_is_empty_while_it_is_replaced_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        read, given = Store.read_if_there, [b"", b""]
        monkeypatch.setattr(
            Store, "read_if_there", lambda *args: given.pop() if given else read(*args)
        )
        assert Holders(store).of("probe")[1]
        assert given == []


def test_a_lock_whose_answer_was_lost_is_ours(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Store.create

    def answer_lost(self: Store, path: str, data: bytes) -> bool:
        create(self, path, data)
        return False  # the request is sent again, and there is a file

    monkeypatch.setattr(Store, "create", answer_lost)
    with sweep_lock(store, "probe", Halt(), beat_s=60):
        assert lock_of(store)["pid"] == os.getpid()


@pytest.mark.heavy
@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"{}", bytes(20), b"\xff"], ids=str)
def test_a_file_that_is_damaged_while_the_sweep_runs_ends_it(store: Store, content: bytes) -> None:
    for path in (paths.sweep_stop("probe"), paths.sweep_lock("probe")):
        halt = Halt()
        with sweep_lock(store, "probe", halt, beat_s=BEAT_S):
            deadline = time.monotonic() + 10
            while not halt.stopping:
                # Again, as a beat that was under way may have come after it.
                store.write_bytes(path, content)
                assert time.monotonic() < deadline
                time.sleep(BEAT_S)
        assert isinstance(halt.error, IntegrityError)
        assert re.search(rf"{path}:1:[12] is damaged", str(halt.error))
    with pytest.raises(IntegrityError, match="is damaged"), sweep_lock(store, "probe", Halt()):
        pass
    with pytest.raises(IntegrityError, match="If no process runs the sweep, remove it"):
        Holders(store).of("probe")
    store.delete(paths.sweep_lock("probe"))  # as the error says
    with sweep_lock(store, "probe", Halt()):
        pass
