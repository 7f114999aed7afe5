"""The Optuna journal of a sweep: a local file that Optuna appends to, on S3 with a copy that follows it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from orchestrator.store import paths
from orchestrator.store.lines import cut_to_lines, whole_lines
from orchestrator.store.mirror import Mirror
from orchestrator.store.store import Store
from orchestrator.sweep.halt import Halt


@contextlib.contextmanager
def journal_of(store: Store, name: str, scratch: Path, halt: Halt) -> Iterator["Journal"]:
    """Open the journal of a sweep.

    What a killed process wrote only half of its last line is cut off: Optuna would append to it.

    Parameters
    ----------
    store : Store
    name : str
        Of the sweep.
    scratch : Path
        Folder for the local file, where the store is S3.
    halt : Halt
        Stopped where the copy cannot be written.
    """
    path = paths.sweep_journal(name)
    if store.is_local:
        file = Path(store.uri_of(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        cut_to_lines(file)
        yield Journal(file)
        return
    file = scratch / "optuna.journal"
    file.write_bytes(store.read_if_there(path) or b"")
    cut_to_lines(file)
    journal = CopiedJournal(file, store, path, halt)
    try:
        yield journal
    finally:
        journal.close()


class OwnBackend(JournalFileBackend):
    """Optuna's journal file with one writer, as the lock of the sweep has it.

    So it needs no lock of its own, which a killed process would leave behind for half a minute, and it is put on the
    disk by :meth:`Journal.changed`: twice a trial, and not with each of the six lines that a trial writes.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append, as Optuna does, but for lock and sync."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        with self.file.open("ab") as file:
            file.write("".join(lines).encode())

    @property
    def file(self) -> Path:
        """The journal."""
        return Path(self._file_path)


class Journal:
    """The file, which is in the store already."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def changed(self) -> None:
        """Put what was appended on the disk."""
        with self.file.open("rb") as file:
            os.fsync(file.fileno())


class CopiedJournal(Journal):
    """The file, and a copy on S3 that follows it.

    Trials do not wait for the copy, which holds all changes of the moment it is made at. A trial that was finished
    after the last copy of a killed process counts as running: it is proposed again, and finds its predictions.
    """

    def __init__(self, file: Path, store: Store, path: str, halt: Halt) -> None:
        super().__init__(file)
        self._copy = Mirror(
            store,
            path,
            lambda: whole_lines(file.read_bytes()),
            failed=halt.stop,
            name="journal copy",
        )

    def changed(self) -> None:
        """Have the file copied soon."""
        self._copy.changed()

    def close(self) -> None:
        """Copy the file for the last time."""
        self._copy.close()
