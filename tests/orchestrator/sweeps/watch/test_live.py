"""What is shown while trials run: a table that moves on a terminal, plain lines elsewhere."""

import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.watch.live import trials_shown
from orchestrator.sweeps.watch.tally import Tally
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note

NAME = "tau[1]"
DONE = {"signature": "0a", "objective": 0.5, "reused_from": None}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")


class Terminal:
    """Standard error as a terminal; what was written to it is known at the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._parent, child = pty.openpty()
        self._stderr = os.fdopen(child, "w", encoding="utf-8")
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        monkeypatch.setattr(sys, "stderr", self._stderr)

    def _read(self) -> None:
        try:
            while chunk := os.read(self._parent, 4096):
                self._chunks.append(chunk)
        except OSError:  # the end of a terminal that nobody holds any more
            pass

    def text(self) -> str:
        if not self._stderr.closed:
            self._stderr.close()
            self._reader.join()
            os.close(self._parent)
        return b"".join(self._chunks).decode()

    @property
    def n_drawn(self) -> int:
        return b"".join(self._chunks).count(b"elapsed")


@pytest.fixture
def make_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Terminal]]:
    """Make one in the test itself: between a fixture and its test, pytest puts a standard error of its own."""
    made: list[Terminal] = []

    def make() -> Terminal:
        made.append(Terminal(monkeypatch))
        return made[-1]

    yield make
    for terminal in made:
        terminal.text()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    store = Store.open(str(tmp_path / "store"))
    log = EventLog(store, paths.sweep_events(NAME))
    log.emit("sweep_started")
    log.emit("search_started", n_trials=300, n_finished=1)
    return Run(
        store=store, sweep=SweepBase.model_construct(name=NAME, method="any"), log=log, halt=Halt()
    )


def start(run: Run, trial: str) -> None:
    run.log.emit("trial_started", trial=trial, params={"x": 0.25}, n_parts=3, unit="fold")


def test_a_terminal_shows_the_events(run: Run, make_terminal: Callable[[], Terminal]) -> None:
    start(run, "t000")
    run.log.emit("trial_done", trial="t000", **DONE)
    terminal = make_terminal()
    with trials_shown(run, 300) as advance:
        start(run, "t001")
        run.log.emit("trial_progress", trial="t001", n_parts=1)
        advance("what the table has from the log")
        note("t001: its process [died]")
    text = terminal.text()
    assert f"sweep {NAME}" in text
    assert "1 of 301 done, 1 complete, 0 failed" in text
    assert "t000 best" in text
    assert "x 0.25" in text
    assert "fold 2 of 3, 0 s" in text
    assert "t001: its process [died]" in text
    assert text.index("its process [died]") < text.rindex(f"sweep {NAME}"), "a note stands above"
    assert "what the table has" not in text


@pytest.mark.heavy
def test_it_is_drawn_four_times_a_second_however_much_happens(
    run: Run, make_terminal: Callable[[], Terminal]
) -> None:
    began = time.monotonic()
    terminal = make_terminal()
    with trials_shown(run, 300):
        while time.monotonic() < began + 1:
            start(run, "t000")
            run.log.emit("trial_done", trial="t000", **DONE)
    passed_s = time.monotonic() - began
    terminal.text()
    assert 2 <= terminal.n_drawn <= 4 * passed_s + 2


@pytest.mark.heavy
def test_a_signal_may_come_at_any_time(
    run: Run, make_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its note waits for the drawing; if that waited for what the signal stopped, both would wait for ever."""
    add = Tally.add

    def slow(self: Tally, event: Mapping[str, Any]) -> None:
        time.sleep(0.6)  # the table is drawn, and the signal comes
        add(self, event)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        note("Ctrl-C again ends them")

    before = signal.signal(signal.SIGUSR1, on_signal)
    terminal = make_terminal()
    try:
        with trials_shown(run, 300):
            monkeypatch.setattr(Tally, "add", slow)
            threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            start(run, "t000")
            time.sleep(0.5)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "Ctrl-C again ends them" in terminal.text()


def test_elsewhere_each_trial_is_a_plain_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with trials_shown(run, 2) as advance:
        start(run, "t000")
        advance("t000: objective 0.500")
        note("t001: its process [died]")
        advance("t001: failed, no")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "trials 1/2 t000: objective 0.500\nt001: its process [died]\ntrials 2/2 t001: failed, no\n"
    )


def test_a_terminal_that_cannot_be_drawn_on_shows_no_table(
    run: Run, make_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = make_terminal()
    with trials_shown(run, 1) as advance:
        advance("t000: objective 0.500")
    assert f"sweep {NAME}" not in terminal.text()


def test_without_colours_it_is_the_same_text(
    run: Run, make_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    start(run, "t000")
    run.log.emit("trial_done", trial="t000", **DONE)
    terminal = make_terminal()
    with trials_shown(run, 300):
        pass
    text = terminal.text()
    assert "t000 best" in text
    assert "\x1b[32m" not in text
