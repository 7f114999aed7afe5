"""A store URI -> one place to read and write: a local folder or a prefix in an S3 bucket.

Writes are whole or absent: a local file is written aside and renamed; an S3 object appears when its upload
completes, and it is handed over as one block of bytes, so a killed process leaves no object.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from orchestrator.errors import ConfigError, IntegrityError, SetupError, StoreUnreachableError
from orchestrator.store import s3

_PARTIAL = ".part"

_BLOCK_BYTES = 16 * 2**20  # on S3, a request each

T = TypeVar("T")


def absolute_uri(uri: str) -> str:
    """Return `uri` as an absolute one: ``s3://...`` as it is, a local path resolved.

    Trials and workers may run in other working directories than the command.

    Raises
    ------
    ConfigError
        The scheme is neither ``s3`` nor ``file``.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        if not parsed.netloc:
            raise ConfigError(f"store {uri!r} names no bucket. Write s3://bucket/prefix.")
        return "s3" + uri[2:].rstrip("/")  # S3:// is the same scheme
    if parsed.scheme == "file":
        return str(Path(parsed.path).resolve())
    if "://" in uri:
        raise ConfigError(
            f"store {uri!r}: scheme {parsed.scheme!r} is not supported. Allowed: a local folder, s3://bucket/prefix."
        )
    return str(Path(uri).expanduser().resolve())


@dataclass(frozen=True, slots=True)
class Store:
    """Files under one root, addressed by paths relative to it.

    Made by :meth:`open`. Cheap to open again in another process from :attr:`uri`.
    """

    uri: str
    """Absolute path or ``s3://bucket/prefix``."""
    filesystem: pafs.FileSystem
    root: str
    """Root in the filesystem's own notation, without a trailing slash."""

    @classmethod
    def open(
        cls,
        uri: str,
        *,
        writable: bool = False,
        existing: bool = False,
        hint: str = "Name a folder that is there.",
    ) -> "Store":
        """Open the store at `uri`.

        Parameters
        ----------
        uri : str
            A local folder or ``s3://bucket/prefix``.
        writable : bool
            Also prove that the store can be written to: a command asks once, at its start. A local folder need not
            exist, and is not made before the first write.
        existing : bool
            Also prove that the folder or bucket exists: for what a command only reads.
        hint : str
            What to do where it does not.

        Raises
        ------
        ConfigError
            The scheme is unknown, or `existing` data are not there.
        StoreUnreachableError
            The endpoint does not answer, the bucket does not exist, or the credentials are refused.
        SetupError
            No permission to write to the folder.
        """
        uri = absolute_uri(uri)
        if uri.startswith("s3://"):
            if writable or existing:
                s3.check_bucket(uri)
            with _translated(uri):
                filesystem, root = pafs.FileSystem.from_uri(uri)
        else:
            filesystem, root = pafs.LocalFileSystem(), uri
        store = cls(uri, filesystem, root.rstrip("/"))
        if writable and store.is_local:
            store._check_folder()
        if existing and store.is_local and not Path(uri).is_dir():
            what = "is a file, not a folder" if Path(uri).exists() else "does not exist"
            raise ConfigError(f"{uri} {what}. {hint}")
        return store

    @property
    def is_local(self) -> bool:
        """True for a folder, False for S3."""
        return not self.uri.startswith("s3://")

    def uri_of(self, path: str) -> str:
        """Return the absolute URI of `path`."""
        return f"{self.uri}/{path}"

    def exists(self, path: str) -> bool:
        """Whether a file is at `path`."""
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None where there is none."""
        info = self._attempt(path, lambda: self.filesystem.get_file_info(self._full(path)))
        return int(info.size) if info.type == pafs.FileType.File else None

    def files(self, folder: str, *, recursive: bool = True) -> list[str]:
        """Return the paths of all files under `folder`, sorted; empty where there is none."""
        selector = pafs.FileSelector(self._full(folder), allow_not_found=True, recursive=recursive)
        infos = self._attempt(folder, lambda: self.filesystem.get_file_info(selector))
        return sorted(
            info.path.removeprefix(self.root).lstrip("/")
            for info in infos
            if info.type == pafs.FileType.File and not info.base_name.endswith(_PARTIAL)
        )

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in `folder`, sorted."""
        selector = pafs.FileSelector(self._full(folder), allow_not_found=True)
        infos = self._attempt(folder, lambda: self.filesystem.get_file_info(selector))
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    def read_bytes(self, path: str) -> bytes:
        """Return the content of `path`; FileNotFoundError where there is none."""
        return self._attempt(path, lambda: self._content(path))

    def sha256(self, *paths: str) -> str:
        """Return the hex SHA-256 of the contents of files, one after the other, without holding them in memory.

        FileNotFoundError where one is not there.
        """
        digest = hashlib.sha256()
        for path in paths:
            digest = self._hashed(digest, path)
        return digest.hexdigest()

    def read_if_there(self, path: str) -> bytes | None:
        """Return the content of `path`; None where there is none."""
        try:
            return self.read_bytes(path)
        except FileNotFoundError:
            return None

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write `data` to `path`: whole or not at all, replacing what was there."""

        def write() -> None:
            if self.is_local:
                _write_aside(Path(self._full(path)), data)
            else:
                with self.filesystem.open_output_stream(self._full(path)) as f:
                    f.write(data)

        self._attempt(path, write)

    def create(self, path: str, data: bytes) -> bool:
        """Write `data` to `path` unless there is a file; return whether it was written. Of several, one succeeds."""

        def create() -> bool:
            if self.is_local:
                return _link_aside(Path(self._full(path)), data)
            return s3.put_if_absent(self._full(path), data)

        return self._attempt(path, create)

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a Parquet file, or only some of its columns.

        Raises
        ------
        IntegrityError
            The file is damaged, or lacks a column.
        """
        names = None if columns is None else list(columns)
        table = self._parquet(
            path,
            lambda source, filesystem: pq.read_table(
                source, filesystem=filesystem, columns=names, partitioning=None
            ),
        )
        with _translated(self.uri_of(path)):
            table.validate(full=True)  # that text is text, which reading alone does not check
        return table

    def read_schema(self, path: str) -> pa.Schema:
        """Return schema and metadata of a Parquet file without its rows.

        Raises
        ------
        IntegrityError
            The file is damaged.
        """
        return self._parquet(
            path, lambda source, filesystem: pq.read_schema(source, filesystem=filesystem)
        )

    def write_table(self, path: str, table: pa.Table) -> str:
        """Write a Parquet file and return the SHA-256 of its bytes."""
        data = parquet_bytes(table)
        self.write_bytes(path, data)
        return hashlib.sha256(data).hexdigest()

    def delete(self, path: str) -> None:
        """Remove a file that exists."""
        self._attempt(path, lambda: self.filesystem.delete_file(self._full(path)))

    def delete_if_there(self, path: str) -> None:
        """Remove a file that another process may have removed, or never written."""
        with contextlib.suppress(FileNotFoundError):
            self.delete(path)

    def remove_partials(self, folder: str) -> int:
        """Remove what killed writers left under `folder`, and return how many files that were."""
        if not self.is_local:
            return 0
        partials = list(Path(self._full(folder)).rglob(f".*{_PARTIAL}"))
        for partial in partials:
            partial.unlink(missing_ok=True)
        return len(partials)

    @contextlib.contextmanager
    def local_copy(self, path: str) -> Iterator[Path]:
        """Give a local file with the content of `path`, for libraries that only open files."""
        if self.is_local:
            yield Path(self._full(path))
            return
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / Path(path).name
            local.write_bytes(self.read_bytes(path))
            yield local

    def free_bytes(self) -> int | None:
        """Free space of a local store; None for S3."""
        return shutil.disk_usage(self._lowest_existing()).free if self.is_local else None

    def _parquet(self, path: str, read: Callable[[Any, pafs.FileSystem | None], T]) -> T:
        """Read a Parquet file. Arrow has one error for a file that is damaged and for one that is out of reach."""

        def attempt() -> T:
            try:
                return read(self._full(path), self.filesystem)
            except FileNotFoundError:
                raise
            except OSError:
                content = self._content(path)  # or the error of a file that is out of reach
            try:
                return read(pa.BufferReader(content), None)
            except OSError as error:
                raise _damaged_table(self.uri_of(path), error) from error

        return self._attempt(path, attempt)

    def _content(self, path: str) -> bytes:
        with self.filesystem.open_input_file(self._full(path)) as f:
            return bytes(f.read())

    def _hashed(self, before: "hashlib._Hash", path: str) -> "hashlib._Hash":
        def attempt() -> "hashlib._Hash":
            digest = before.copy()  # another attempt begins where this one began
            with self.filesystem.open_input_file(self._full(path)) as f:
                while block := f.read(_BLOCK_BYTES):
                    digest.update(block)
            return digest

        return self._attempt(path, attempt)

    def _attempt(self, path: str, action: Callable[[], T]) -> T:
        """Use the filesystem; on S3, once more while it is only out of reach. Refusals become errors of ours."""
        with _translated(self.uri_of(path)):
            return action() if self.is_local else s3.patiently(action)

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _lowest_existing(self) -> Path:
        root = Path(self.root)
        return next(path for path in (root, *root.parents) if path.exists())

    def _check_folder(self) -> None:
        """Write a file into the store, or into the lowest folder above it that exists, and remove it."""
        with _translated(self.uri):
            folder = self._lowest_existing()
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, not a folder")
            try:
                with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-", suffix=_PARTIAL):
                    pass
            except FileNotFoundError as error:  # as /proc says that it takes no files
                raise PermissionError(errno.EPERM, f"{folder} takes no files") from error


def parquet_bytes(table: pa.Table) -> bytes:
    """Serialise a table; the same rows give the same bytes."""
    # Signals: Parquet holds int16 in four bytes, and a dictionary of almost all values is no help. Differences
    # between neighbours take 1.4 to 1.9 bytes.
    signals = [
        field.name
        for field in table.schema
        if isinstance(field.type, pa.FixedShapeTensorType)
        and pa.types.is_int16(field.type.value_type)
    ]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in table.column_names if name not in signals],
        column_encoding={f"{name}.list.element": "DELTA_BINARY_PACKED" for name in signals},
        store_schema=True,
    )
    return sink.getvalue()


def sha256(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def _damaged_table(uri: str, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{uri} is damaged: {s3.one_line(error)}. Remove it, and run the command that makes it again."
    )


def _write_aside(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    try:
        _write_through(partial, data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_through(path: Path, data: bytes) -> None:
    """Write a file and put it on the disk: a power failure right after it leaves no empty one, or zeros."""
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def _link_aside(path: Path, data: bytes) -> bool:
    """Write a file aside and give it its name, unless another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    try:
        _write_through(partial, data)
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Turn the operating system's and S3's refusals into errors with an exit code."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise SetupError(
            f"cannot use {uri}: {error.strerror or error}. Give a folder you may write to."
        ) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _damaged_table(uri, error) from error
    except OSError as error:
        if uri.startswith("s3://"):
            raise StoreUnreachableError(
                f"cannot use {uri}: {s3.one_line(error)}. {s3.HINT}."
            ) from error
        raise SetupError(f"cannot use {uri}: {error.strerror or error}.") from error
