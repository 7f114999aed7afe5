"""How a sweep ends before its time: Ctrl-C, SIGTERM, or an error that no trial is to blame for."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.progress import note
from orchestrator.telemetry.termination import SIGNALS

_DRAINING = (
    "\nFinishing the trials that are running; no other one starts. "
    "Ctrl-C again ends them at their last checkpoints."
)
_STOPPING = "\nEnding the running trials at their last checkpoints."


class Halt:
    """Whether trials may begin, and whether those that run may go on. Set from anywhere, looked at by the driver."""

    def __init__(self) -> None:
        self.draining = False
        """No trial begins any more."""
        self.stopping = False
        """Running trials are ended, too."""
        self.terminated = False
        """Whether that was SIGTERM's or SIGHUP's doing, and nobody's wish perhaps."""
        self.is_heeded = False
        """The driver looks at this; elsewhere only an exception ends what it does."""
        self.error: OrchestratorError | None = None
        """Why, unless the user wanted it."""

    def drain(self) -> None:
        """Let the running trials be the last ones."""
        self.draining = True

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Have the block end by itself soon after it was asked to."""
        self.is_heeded = True
        try:
            yield
        finally:
            self.is_heeded = False

    def stop(self, error: OrchestratorError | None = None) -> None:
        """End the running trials, too; the first error counts."""
        self.draining = self.stopping = True
        self.error = self.error or error


@contextlib.contextmanager
def signals_to(halt: Halt) -> Iterator[None]:
    """Let the first Ctrl-C drain a sweep, the second and SIGTERM stop it, and the third do what it always does.

    That is while the halt is heeded; else, each of them does what Ctrl-C always does. SIGHUP is like SIGTERM, unless it
    is ignored, as under nohup. Outside the main thread, where Python allows no handler, signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if halt.stopping or not halt.is_heeded:
            raise KeyboardInterrupt
        note(_STOPPING if halt.draining else _DRAINING)
        if halt.draining:
            halt.stop()
        else:
            halt.drain()

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        is_first, halt.terminated = not halt.terminated, True
        halt.stop()
        if is_first and not halt.is_heeded:  # what cleans up is not disturbed by another
            raise KeyboardInterrupt

    handlers = {signal.SIGINT: on_interrupt, **dict.fromkeys(SIGNALS, on_terminate)}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if number == signal.SIGINT or before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
