"""What Ctrl-C and SIGTERM do to a sweep."""

import os
import signal
import threading

import pytest

from orchestrator.errors import DataError, IntegrityError
from orchestrator.sweeps.halt import Halt, signals_to

pytestmark = pytest.mark.usefixtures("plain_signals")


def test_the_first_ctrl_c_drains_the_second_stops_the_third_interrupts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    halt = Halt()
    before = signal.getsignal(signal.SIGINT)
    with signals_to(halt), halt.heeded():
        os.kill(os.getpid(), signal.SIGINT)
        assert (halt.draining, halt.stopping) == (True, False)
        assert "Ctrl-C again" in capsys.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)
        assert (halt.draining, halt.stopping) == (True, True)
        assert "last checkpoints" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert halt.error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_process_stops_its_sweep_at_once(number: signal.Signals) -> None:
    halt = Halt()
    before = signal.getsignal(number)
    with signals_to(halt), halt.heeded():
        os.kill(os.getpid(), number)
        assert halt.stopping
        assert halt.terminated
    assert signal.getsignal(number) is before


def test_before_trials_run_it_ends_what_is_done_and_does_so_once() -> None:
    halt = Halt()
    with signals_to(halt):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # of `timeout`, which tells the process and its group
        assert halt.terminated


def test_before_trials_run_ctrl_c_does_what_it_always_does() -> None:
    halt = Halt()
    with signals_to(halt), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not halt.terminated


def test_a_sweep_under_nohup_outlives_its_terminal() -> None:
    halt = Halt()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_to(halt), halt.heeded():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not halt.stopping


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen = []

    def body() -> None:
        with signals_to(Halt()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_the_first_error_counts() -> None:
    halt = Halt()
    halt.stop(IntegrityError("first"))
    halt.stop(DataError("second"))
    assert str(halt.error) == "first"
