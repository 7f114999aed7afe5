"""The Optuna journal of a sweep: a local file that Optuna appends to, on S3 with a copy that follows it."""

import contextlib
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.store import paths
from orchestrator.store.decoding import damaged, json_lines
from orchestrator.store.lines import cut_to_lines, whole_lines
from orchestrator.store.mirror import Mirror
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt

BEGAN_AT, ENDED_AT = "began_at", "ended_at"
"""Attributes of a trial: times in UTC, as ISO 8601 has them."""

_CREATE_TRIAL = 4
"""Optuna's number of the operation that makes a trial."""


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

    Raises
    ------
    IntegrityError
        The journal is damaged.
    """
    path = paths.sweep_journal(name)
    if store.is_local:
        file = Path(store.uri_of(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        cut_to_lines(file)
        check_journal(file, store.uri_of(path), name)
        yield Journal(file)
        return
    file = scratch / "optuna.journal"
    file.write_bytes(whole_lines(store.read_if_there(path) or b""))
    check_journal(file, store.uri_of(path), name)
    journal = CopiedJournal(file, store, path, halt)
    try:
        yield journal
    finally:
        journal.close()


def check_stored_journal(store: Store, name: str) -> None:
    """Check that the journal of a sweep can be read, if there is one.

    Raises
    ------
    IntegrityError
        A line is damaged.
    """
    path = paths.sweep_journal(name)
    if store.exists(path):
        with store.local_copy(path) as file:
            check_journal(file, store.uri_of(path), name)


def check_journal(file: Path, where: str, name: str) -> None:
    """Check that Optuna can read a journal; half a line at its end is left out.

    Parameters
    ----------
    file : Path
        Where it is now. Nothing is written to it.
    where : str
        Where the user knows it, for the error.
    name : str
        Of the sweep, which is that of the only study in it.

    Raises
    ------
    IntegrityError
        A line is damaged.
    """
    if not file.is_file():
        return
    _check_records(json_lines(file.read_bytes(), where), where, name)
    backend = OwnBackend(str(file))
    try:
        JournalStorage(backend)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        what = f"Optuna cannot use it ({type(error).__name__}: {error})"
        raise damaged(where, what, line=backend.n_read) from error


def _check_records(records: Sequence[Mapping[str, Any]], where: str, name: str) -> None:
    """Check what Optuna would pass over, and what is read of its trials later."""
    n_trials = 0
    for line, record in enumerate(records, start=1):
        study, trial, values = (record.get(key) for key in ("study_id", "trial_id", "values"))
        noted = record.get("user_attr")
        problem = None
        if "study_name" in record and record["study_name"] != name:
            problem = f"it is of a study {record['study_name']!r}, not of {name!r}"
        elif study not in (None, 0):
            problem = f"it is of study {study!r}; there is one, with number 0"
        elif trial is not None and trial not in range(n_trials):
            problem = f"it is of trial {trial!r}; {n_trials} have been created before it"
        elif values is not None and not _are_numbers(values):
            problem = f"its values are {values!r}"
        elif isinstance(noted, dict) and not all(map(_is_time, _times(noted))):
            problem = f"it notes {noted!r}, which is no time"
        if problem is not None:
            raise damaged(where, problem, line=line)
        n_trials += record.get("op_code") == _CREATE_TRIAL


def _are_numbers(values: object) -> bool:
    """Whether they are what Optuna writes of a trial that has ended: one number for each objective."""
    if not isinstance(values, list) or not values:
        return False
    return all(isinstance(value, int | float) for value in values)


def _times(noted: Mapping[str, Any]) -> list[Any]:
    return [noted[key] for key in (BEGAN_AT, ENDED_AT) if key in noted]


def _is_time(text: object) -> bool:
    try:
        datetime.fromisoformat(str(text))
    except ValueError:
        return False
    return True


class OwnBackend(JournalFileBackend):
    """Optuna's journal file with one writer, as the lock of the sweep has it.

    So it needs no lock of its own, which a killed process would leave behind for half a minute, and it is put on the
    disk by :meth:`Journal.changed`: twice a trial, and not with each of the lines that a trial writes.
    """

    def __init__(self, file_path: str) -> None:
        super().__init__(file_path)
        self.n_read = 0
        """Lines that Optuna has taken, or was about to take."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read, as Optuna does, and count."""
        self.n_read = log_number_from
        for log in super().read_logs(log_number_from):
            self.n_read += 1
            yield log

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
