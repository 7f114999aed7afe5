"""Signals that ask a process to end: it does so like at Ctrl-C, and in time.

``timeout``, job schedulers and terminals that are closed tell all processes of a group at once. Were Ray's among them,
this one could not end in order: it would wait for Ray for a minute, inside of its C++, where no exception reaches it,
or be aborted by it at once.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

from orchestrator.errors import InterruptedSweepError, OrchestratorError

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Of a shutdown, and of a terminal that is closed."""

ORDERLY_S = 8.0
"""How long after a signal a process may take to end in order. Docker, for one, kills after ten seconds."""

_LAST_WORDS_S = 3.0

LastWord = Callable[[], object]

_last_words: list[LastWord] = []
_watched = threading.Event()


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Have the signals end the block like Ctrl-C; not what is ignored already, as under nohup.

    The first one counts: what cleans up is not disturbed by another. What goes wrong afterwards counts as the signal,
    too, such as writing to the terminal that was closed. Outside the main thread, where Python allows no handler,
    signals are left alone.
    """
    if not _in_main_thread():
        yield
        return
    came = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        came.set()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        if came.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ended_in_time(orderly_s: float = ORDERLY_S) -> Iterator[None]:
    """End the process for good some seconds after a signal inside the block, unless it has ended by itself.

    The exit code is that of Ctrl-C. Only a signal that Python handles counts. Whatever happens meanwhile, the process
    does not outlive it; inside another such block, and outside the main thread, this one does nothing.

    Parameters
    ----------
    orderly_s : float
        Seconds that the process has for an end in order.
    """
    if not _in_main_thread() or _watched.is_set():
        yield
        return
    # Where the main thread is not in Python, its handlers have to wait; this is written to at once.
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, orderly_s), name="termination", daemon=True).start()
    _watched.set()
    try:
        yield
    finally:
        _watched.clear()
        signal.set_wakeup_fd(before)
        pythons.close()  # which ends the thread, unless it waits for the end of the process


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Have signals inside the block count at its end. Outside the main thread they are left alone."""
    if not _in_main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


@contextlib.contextmanager
def starting_ray() -> Iterator[None]:
    """Keep signals away from Ray, which is started or connected to inside the block.

    - Half up, it cannot be ended in order, so signals wait; Ray's own handler, which would exit, is not installed.
    - Its processes get sessions of their own, where no signal to our process group reaches them. They end with this
      process, whatever that dies of: on Linux the kernel sees to it. Elsewhere Ray's reaper does, which needs them in
      our group, so there they stay.
    """
    from ray._private import services, utils

    starts: Any = services
    handles: Any = utils
    popen, set_handler = starts.ConsolePopen, handles.set_sigterm_handler
    if handles.detect_fate_sharing_support():
        starts.ConsolePopen = partial(popen, start_new_session=True)
    handles.set_sigterm_handler = lambda _handler: None
    try:
        with delayed():
            yield
    finally:
        starts.ConsolePopen, handles.set_sigterm_handler = popen, set_handler


@contextlib.contextmanager
def last_word(say: LastWord) -> Iterator[None]:
    """Have something done before the process is ended from within the block; the innermost comes first.

    It runs in another thread, while the block's own is stuck or hurries towards its end. It has about a second.
    """
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _watch(wakeups: socket.socket, orderly_s: float) -> None:
    with wakeups:
        while number := wakeups.recv(1):
            if number[0] in SIGNALS:
                time.sleep(orderly_s)
                _end()


def _end() -> None:
    """Say the last words, and end the process without asking anybody."""
    try:
        # In another thread: also a terminal that takes no more, and a pipe that nobody reads, can hold it up for ever.
        speaker = threading.Thread(target=_say_last_words, daemon=True)
        speaker.start()
        speaker.join(_LAST_WORDS_S)
    finally:
        os._exit(InterruptedSweepError.exit_code)


def _say_last_words() -> None:
    for say in (*reversed(_last_words), _say_that_it_was_interrupted):
        with contextlib.suppress(Exception):  # the others count, too
            say()


def _say_that_it_was_interrupted() -> None:
    print(
        "Interrupted, and ended before it had cleaned up. The same command goes on where it was.",
        file=sys.stderr,
        flush=True,
    )
