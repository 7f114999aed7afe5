"""What became of a Ray Data task, as one row: its result with time and place, or an error of ours."""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import errors
from orchestrator.errors import OrchestratorError


def outcome(task: Callable[[], Mapping[str, Any]]) -> str:
    """Run the body of a task and return what became of it.

    Ray Data puts an error of a task into one of its own and prints a page about it; ours travel as data, so that
    :func:`result_of` can raise them as they were.

    Parameters
    ----------
    task : callable
        Returns JSON values.
    """
    started = time.perf_counter()
    try:
        result = dict(task())
    except OrchestratorError as error:
        return json.dumps({"error": type(error).__name__, "arguments": error.args})
    return json.dumps(
        {
            "worker_pid": os.getpid(),
            "worker_host": socket.gethostname(),
            "seconds": round(time.perf_counter() - started, 4),
            **result,
        }
    )


def result_of(row: str) -> dict[str, Any]:
    """Return the result in a row that :func:`outcome` made, with its worker and seconds, or raise its error."""
    decoded: dict[str, Any] = json.loads(row)
    if "error" in decoded:
        raise getattr(errors, decoded["error"])(*decoded["arguments"])
    return decoded
