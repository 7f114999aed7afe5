"""Signals that ask a process to end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.errors import SetupError
from orchestrator.telemetry import termination
from orchestrator.telemetry.termination import delayed, ended_like_ctrl_c, last_word

pytestmark = pytest.mark.usefixtures("plain_signals")

STUCK = """
import ctypes, threading
from orchestrator.telemetry.termination import ended_in_time, ended_like_ctrl_c, last_word

def fail():
    raise OSError("the disk is full")

with (
    ended_like_ctrl_c(),
    ended_in_time(0.2),
    last_word(lambda: print("second", flush=True)),
    last_word(lambda: print("first", flush=True)),
    last_word(fail),
):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    threading.Timer(0.3, print, ["stuck"], {"flush": True}).start()
    libc.pthread_mutex_lock(mutex)  # as in a call of Ray's: no exception comes in here
"""

IN_ORDER = """
import sys, time
from orchestrator.telemetry.termination import ended_in_time, ended_like_ctrl_c, last_word

try:
    with ended_like_ctrl_c(), ended_in_time(20), last_word(lambda: print("last", flush=True)):
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit("in order")
"""


@pytest.mark.heavy
def test_a_process_that_is_stuck_ends_all_the_same_and_says_its_last_words_first() -> None:
    with started(STUCK) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert out == "first\nsecond\n"
    assert err == (
        "Interrupted, and ended before it had cleaned up. The same command goes on where it was.\n"
    )


@pytest.mark.heavy
def test_nobody_need_read_what_it_says() -> None:
    """A pipe that is full, as behind `less`, or a terminal that was stopped."""
    fill = 'print("x" * 2**16, end="", file=sys.stderr, flush=True)'  # as much as a pipe holds
    code = STUCK.replace("    libc, mutex", f"    {fill}\n    libc, mutex").replace(
        "import ctypes", "import ctypes, sys"
    )
    with started(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 130


@pytest.mark.parametrize("number", termination.SIGNALS)
def test_a_process_that_ends_in_order_is_not_waited_for(number: signal.Signals) -> None:
    with started(IN_ORDER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=10) == ("", "in order\n")


def test_the_first_signal_counts() -> None:
    steps = []

    def interrupted() -> None:
        with ended_like_ctrl_c():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("went on")
            except KeyboardInterrupt:
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("cleaned up")
                raise

    before = [signal.getsignal(number) for number in termination.SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["cleaned up"]
    assert [signal.getsignal(number) for number in termination.SIGNALS] == before


def test_what_goes_wrong_after_a_signal_counts_as_the_signal() -> None:
    def interrupted(error: Exception) -> None:
        with ended_like_ctrl_c():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
            finally:  # as a progress bar that writes to the terminal, which is gone
                raise error

    with pytest.raises(KeyboardInterrupt):
        interrupted(OSError(5, "Input/output error"))
    with pytest.raises(SetupError):  # which says what it is
        interrupted(SetupError("no room"))
    with pytest.raises(OSError, match="full"), ended_like_ctrl_c():
        raise OSError("the disk is full")


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_delayed_signal_counts_at_the_end() -> None:
    steps = []

    def interrupted() -> None:
        with ended_like_ctrl_c():
            with delayed():
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("went on")
            steps.append("went on further")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["went on"]


def test_a_delayed_signal_counts_for_more_than_what_it_may_have_caused() -> None:
    def interrupted() -> None:
        with ended_like_ctrl_c(), delayed():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ConnectionError("Ray is gone")

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_block_that_has_ended_has_no_last_word() -> None:
    said: list[str] = []
    with last_word(lambda: said.append("within")):
        termination._say_last_words()
    termination._say_last_words()
    assert said == ["within"]


def started(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
