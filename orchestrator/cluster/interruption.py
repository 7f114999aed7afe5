"""Signals while a cluster is launched: machines cost, so none of them may end a launch that has not cleaned up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.telemetry.termination import SIGNALS


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore the signals inside the block; Ctrl-C still ends it. Outside the main thread they are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
