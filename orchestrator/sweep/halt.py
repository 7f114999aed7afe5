"""How a sweep ends before its time: Ctrl-C, a signal of the cluster, or an error that no trial is to blame for."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.progress import note

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
        """Whether that was SIGTERM's doing, and nobody's wish perhaps."""
        self.error: OrchestratorError | None = None
        """Why, unless the user wanted it."""

    def drain(self) -> None:
        """Let the running trials be the last ones."""
        self.draining = True

    def stop(self, error: OrchestratorError | None = None) -> None:
        """End the running trials, too; the first error counts."""
        self.draining = self.stopping = True
        self.error = self.error or error


@contextlib.contextmanager
def signals_to(halt: Halt) -> Iterator[None]:
    """Let the first Ctrl-C drain a sweep, the second and SIGTERM stop it, and the third do what it always does.

    Outside the main thread, where Python allows no handler, signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if halt.stopping:
            raise KeyboardInterrupt
        note(_STOPPING if halt.draining else _DRAINING)
        if halt.draining:
            halt.stop()
        else:
            halt.drain()

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        halt.terminated = True
        halt.stop()

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, on_interrupt),
        signal.SIGTERM: signal.signal(signal.SIGTERM, on_terminate),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
