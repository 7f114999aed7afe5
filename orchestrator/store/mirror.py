"""A file in a store that follows what grows here: an S3 object cannot be appended to, so it is written anew."""

import threading
from collections.abc import Callable

from orchestrator.errors import OrchestratorError, SetupError
from orchestrator.store.store import Store

_AGAIN_S = 5.0
"""After a writing that failed. The store has been patient with S3 by then."""


class Mirror:
    """Writes a file in a thread of its own, soon after each change.

    Nobody waits for it, but for the end. What could not be written is tried again until it is.

    Parameters
    ----------
    store : Store
    path : str
    content : callable
        Returns all that the file is to hold by now.
    failed : callable
        Gets the error of each writing that failed.
    name : str
        Of the thread.
    pause_s : float
        Between two writings.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        content: Callable[[], bytes],
        *,
        failed: Callable[[OrchestratorError], None],
        name: str,
        pause_s: float = 0.0,
    ) -> None:
        self.error: OrchestratorError | None = None
        """Of the last writing; None where that succeeded."""
        self._store = store
        self._path = path
        self._content = content
        self._failed = failed
        self._pause_s = pause_s
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Have the file written soon."""
        self._changed.set()

    def close(self) -> None:
        """Write the file for the last time."""
        self._closing.set()
        self._changed.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            closing = self._closing.is_set()
            try:
                self._store.write_bytes(self._path, self._content())
                self.error = None
            except Exception as error:  # without this thread, nothing more would be written or told
                self.error = (
                    error
                    if isinstance(error, OrchestratorError)
                    else SetupError(
                        f"{self._path} cannot be written: {type(error).__name__}: {error}."
                    )
                )
                self._failed(self.error)
                self._changed.set()
            if closing:
                return
            self._closing.wait(self._pause_s if self.error is None else _AGAIN_S)
