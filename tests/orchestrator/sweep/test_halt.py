"""What Ctrl-C and SIGTERM do to a sweep."""

import os
import signal
import threading

import pytest

from orchestrator.errors import DataError, IntegrityError
from orchestrator.sweep.halt import Halt, signals_to

pytestmark = pytest.mark.usefixtures("plain_signals")


def test_the_first_ctrl_c_drains_the_second_stops_the_third_interrupts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    halt = Halt()
    before = signal.getsignal(signal.SIGINT)
    with signals_to(halt):
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


def test_sigterm_stops_at_once() -> None:
    halt = Halt()
    before = signal.getsignal(signal.SIGTERM)
    with signals_to(halt):
        os.kill(os.getpid(), signal.SIGTERM)
        assert halt.stopping
        assert halt.terminated
    assert signal.getsignal(signal.SIGTERM) is before


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
