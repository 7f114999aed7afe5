"""What this user's machine knows of a cluster: its token, and where it is."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SetupError
from orchestrator.store.decoding import Kinds, damaged, json_object
from orchestrator.telemetry.private_folder import make_parents

_RUNNING: Kinds = {"provider": str, "address": str, "launched_at": str, "ends_at": str | None}
"""What is noted of every cluster."""

HOME = "ORCHESTRATOR_HOME"
"""Environment variable: folder of what is known of clusters; ``~/.sleep-orchestrator`` by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A cluster that was launched from here."""

    provider: str
    address: str
    """Of its job server, as it is reached from here; empty until there is one."""
    launched_at: str
    """ISO 8601, in UTC."""
    ends_at: str | None
    """When its time to live ends it."""
    pid: int | None = None
    """Of the process on this machine that it hangs on, where there is one."""
    process_started: str | None = None
    """When that process began: its id may be another's by now."""
    complete: bool = False
    """Whether all of it came up; otherwise it is being launched, or whoever did so was killed."""
    account: str | None = None
    """Of Amazon's, that pays for it."""
    ray_folder: str | None = None
    """Of Ray's files, where it is on this machine; version 0.1 did not note it."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The folder of one cluster."""

    folder: Path

    @classmethod
    def of(cls, cluster_name: str) -> "ClusterState":
        """Return the folder of a cluster by its name; nothing is made."""
        home = os.environ.get(HOME) or Path.home() / ".sleep-orchestrator"
        return cls(Path(home) / "clusters" / cluster_name)

    @property
    def token_file(self) -> Path:
        """Only its owner may read it, and programs are given its path, never its content."""
        return self.folder / "token"

    @property
    def log_file(self) -> Path:
        """Output of what launched the cluster."""
        return self.folder / "launch.log"

    def make_token(self) -> Path:
        """Make the cluster's token, unless there is one, and return its file."""
        make_parents(self.folder)
        if not self.token_file.exists():
            partial = self.folder / f".token.{os.getpid()}"
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
                "w",
                encoding="utf-8",
            ) as file:
                file.write(secrets.token_hex(32))
            partial.replace(self.token_file)
        return self.token_file

    def running(self) -> Running | None:
        """Return what was noted when the cluster was launched; None unless it was, or after it was ended.

        Raises
        ------
        IntegrityError
            The note is damaged.
        """
        file = self.folder / "running.json"
        try:
            return Running(**json_object(file.read_bytes(), str(file), _RUNNING))
        except FileNotFoundError:
            return None
        except TypeError as error:  # it has something else, too
            raise damaged(str(file), f"another version wrote it ({error})") from error

    def note(self, running: Running) -> None:
        """Note where the cluster is."""
        make_parents(self.folder)
        partial = self.folder / f".running.{os.getpid()}"
        partial.write_text(json.dumps(asdict(running), indent=1), encoding="utf-8")
        partial.replace(self.folder / "running.json")

    def note_file(self, data: Mapping[str, Any]) -> None:
        """Note the cluster file that was launched."""
        make_parents(self.folder)
        partial = self.folder / f".file.{os.getpid()}"
        partial.write_text(json.dumps(data), encoding="utf-8")
        partial.replace(self.folder / "file.json")

    def changes(self, data: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """Return what of a cluster file is not as it was launched, as paths of keys."""
        if not (launched := self.launched()):
            return []
        return sorted(_differing(launched, json.loads(json.dumps(data)), ()))

    def launched(self) -> dict[str, Any]:
        """Return the cluster file that was launched; empty where none was.

        Raises
        ------
        IntegrityError
            The note is damaged.
        """
        file = self.folder / "file.json"
        try:
            return json_object(file.read_bytes(), str(file))
        except FileNotFoundError:
            return {}

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Keep other processes from launching the same cluster meanwhile.

        Raises
        ------
        SetupError
            One does.
        """
        make_parents(self.folder)
        with (self.folder / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SetupError(
                    f"cluster {self.folder.name!r} is being launched by another process here. Wait for it, or end it."
                ) from None
            yield

    def clean(self) -> None:
        """Remove what a launch noted: its cluster has ended. What the launch printed stays."""
        (self.folder / "running.json").unlink(missing_ok=True)
        (self.folder / "file.json").unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the end of the launch's output, in one line."""
        text = (
            self.log_file.read_text(encoding="utf-8", errors="replace")
            if self.log_file.exists()
            else ""
        )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-3:])[-400:].rstrip(".") or f"it said nothing in {self.log_file}"

    def forget(self) -> None:
        """Remove everything about the cluster, its token included."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _differing(before: Any, now: Any, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differing(before.get(key), now.get(key), (*at, key))
    elif before != now:
        yield at
