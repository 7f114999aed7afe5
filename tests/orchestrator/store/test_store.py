"""A local store: whole files or none, the same bytes for the same rows, and refusals with an exit code."""

import errno
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import ConfigError, IntegrityError, SetupError, StoreUnreachableError
from orchestrator.store.store import Store, absolute_uri, parquet_bytes, sha256

TABLE = pa.table({"epoch_index": pa.array([0, 1, 2], pa.int32()), "stage": pa.array([0, 4, -1])})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"), writable=True)


def everything(store: Store) -> list[str]:
    """All files, also those that a store does not show."""
    root = Path(store.root)
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


# Addresses


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/", "/a/b"),
        ("file:///a/b", "/a/b"),
    ],
)
def test_addresses_become_absolute(uri: str, expected: str) -> None:
    assert absolute_uri(uri) == expected


def test_local_addresses_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute_uri("runs") == str(tmp_path / "runs")
    assert absolute_uri("./runs/") == str(tmp_path / "runs")
    assert absolute_uri("~/runs") == str(tmp_path / "home" / "runs")
    # A colon alone makes no scheme.
    assert absolute_uri("lab:2/runs") == str(tmp_path / "lab:2" / "runs")


@pytest.mark.parametrize("uri", ["gs://bucket/a", "http://host/a", "s3:///a", "s3:/bucket/a"])
def test_other_schemes_are_a_configuration_error(uri: str) -> None:
    with pytest.raises(ConfigError, match="store '") as caught:
        Store.open(uri)
    assert caught.value.exit_code == 2
    assert "s3://bucket/prefix" in str(caught.value)


def test_a_store_can_be_opened_again_from_its_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("runs")
    store.write_bytes("a/b", b"1")
    monkeypatch.chdir("/")
    assert Store.open(store.uri).read_bytes("a/b") == b"1"
    assert store.uri_of("a/b") == f"{tmp_path}/runs/a/b"
    assert store.is_local


# Files


def test_bytes_come_back_and_are_replaced(store: Store) -> None:
    assert not store.exists("a/b.bin")
    store.write_bytes("a/b.bin", b"one")
    store.write_bytes("a/b.bin", b"two, longer")
    assert store.read_bytes("a/b.bin") == b"two, longer"
    assert store.exists("a/b.bin")
    assert not store.exists("a")  # a folder is no file
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("a/b.bin")
    with pytest.raises(FileNotFoundError):
        store.read_table("a/b.bin")


def test_listing(store: Store) -> None:
    for path in ("b/2", "b/1", "b/c/3", "a.txt"):
        store.write_bytes(path, b"")
    assert store.files("") == ["a.txt", "b/1", "b/2", "b/c/3"]
    assert store.files("b") == ["b/1", "b/2", "b/c/3"]
    assert store.files("b", recursive=False) == ["b/1", "b/2"]
    assert store.files("nowhere") == []
    assert (store.folders(""), store.folders("b")) == (["b"], ["c"])
    assert store.folders("nowhere") == []


def test_opening_makes_no_folder_before_the_first_write(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "a" / "b"), writable=True)
    assert list(tmp_path.iterdir()) == []
    assert store.files("") == []
    assert (store.free_bytes() or 0) > 0
    store.write_bytes("x", b"")
    assert everything(store) == ["x"]


def test_data_that_are_only_read_must_be_there(tmp_path: Path) -> None:
    Store.open(str(tmp_path), existing=True)
    with pytest.raises(ConfigError, match="does not exist"):
        Store.open(str(tmp_path / "nowhere"), existing=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        Store.open(str(tmp_path / "file"), existing=True)


def test_the_hash_of_files_is_that_of_their_contents_in_a_row(store: Store) -> None:
    contents = [b"one", b"", bytes(range(256)) * 70_000]  # the last one is longer than a block
    for i, content in enumerate(contents):
        store.write_bytes(f"a/{i}", content)
    assert store.sha256("a/0", "a/1", "a/2") == hashlib.sha256(b"".join(contents)).hexdigest()
    assert store.sha256("a/0") == hashlib.sha256(b"one").hexdigest()
    with pytest.raises(FileNotFoundError):
        store.sha256("a/0", "a/3")


def test_a_local_copy_is_the_file_itself(store: Store) -> None:
    store.write_bytes("a/b.bin", b"one")
    with store.local_copy("a/b.bin") as path:
        assert path == Path(store.root) / "a/b.bin"


# Whole or not at all


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store.write_bytes("a/b.bin", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[step], full)
    with pytest.raises(SetupError, match="No space left on device"):
        store.write_bytes("a/b.bin", b"new" * 1000)
    monkeypatch.undo()
    assert store.read_bytes("a/b.bin") == b"old"
    assert everything(store) == ["a/b.bin"]


@pytest.mark.heavy
def test_a_writer_killed_half_way_leaves_a_partial_that_no_reader_sees(store: Store) -> None:
    store.write_bytes("a/b.bin", b"old")
    code = (
        "import os, sys; from pathlib import Path; from orchestrator.store.store import Store\n"
        "os.fsync = lambda fd: os.kill(os.getpid(), 9)\n"
        "Store.open(sys.argv[1]).write_bytes('a/b.bin', b'new' * 1000)"
    )
    assert subprocess.run([sys.executable, "-c", code, store.uri], check=False).returncode == -9
    assert len(everything(store)) == 2
    assert store.files("") == ["a/b.bin"]
    assert store.read_bytes("a/b.bin") == b"old"
    assert store.remove_partials("somewhere/else") == 0
    assert store.remove_partials("a") == 1
    assert everything(store) == ["a/b.bin"]


# Tables


def test_tables_come_back_whole_or_by_column(store: Store) -> None:
    table = TABLE.replace_schema_metadata({b"psg": b"{}"})
    digest = store.write_table("t.parquet", table)
    assert digest == sha256(store.read_bytes("t.parquet"))
    back = store.read_table("t.parquet")
    assert back.equals(table)
    assert store.read_schema("t.parquet").metadata[b"psg"] == b"{}"
    assert store.read_table("t.parquet", ["epoch_index"]).column_names == ["epoch_index"]


@pytest.mark.heavy
def test_the_same_rows_give_the_same_bytes() -> None:
    again = pa.table(
        {"epoch_index": pa.array([0, 1, 2], pa.int32()), "stage": pa.array([0, 4, -1])}
    )
    assert parquet_bytes(TABLE) == parquet_bytes(again)
    # Also from another process, and however the rows came together.
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]).combine_chunks()
    assert parquet_bytes(chunked) == parquet_bytes(TABLE)
    code = (
        "import pyarrow as pa; from orchestrator.store.store import *\n"
        "t = pa.table({'epoch_index': pa.array([0, 1, 2], pa.int32()), 'stage': pa.array([0, 4, -1])})\n"
        "print(sha256(parquet_bytes(t)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == sha256(parquet_bytes(TABLE))
    assert parquet_bytes(TABLE.slice(0, 2)) != parquet_bytes(TABLE)


def test_signals_come_back_exactly_and_cost_less_than_four_bytes() -> None:
    """A walk over the whole range of int16, both ends included."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.integers(-300, 301, 2 * 3000 * 50)).astype(np.int16)
    values[:4] = [-32768, 32767, -32768, 0]
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values), 6000)
    signal = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int16(), [2, 3000]), storage)
    table = pa.table({"epoch_index": pa.array(np.arange(50, dtype=np.int32)), "eeg": signal})
    data = parquet_bytes(table)
    assert pq.read_table(io.BytesIO(data)).equals(table)
    assert len(data) < 2 * values.size


# Refusals


def test_no_permission_to_write() -> None:
    """Below /sys not even root may."""
    with pytest.raises(SetupError, match="cannot use /sys/runs") as caught:
        Store.open("/sys/runs", writable=True)
    assert caught.value.exit_code == 7
    with pytest.raises(SetupError, match="cannot use /sys/runs/a"):
        Store.open("/sys/runs").write_bytes("a", b"")


def test_below_proc() -> None:
    with pytest.raises(SetupError, match="cannot use /proc/runs"):
        Store.open("/proc/runs", writable=True)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for uri in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(SetupError, match="is a file, not a folder"):
            Store.open(str(uri), writable=True)
        with pytest.raises(SetupError, match=f"cannot use {uri}/a"):
            Store.open(str(uri)).write_bytes("a", b"")
    assert (tmp_path / "file").read_bytes() == b""


def test_reading_a_folder_as_a_file(store: Store) -> None:
    store.write_bytes("a/b", b"")
    with pytest.raises(SetupError, match=r"runs/a"):
        store.read_bytes("a")


@pytest.mark.heavy
def test_an_endpoint_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nothing listens
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with pytest.raises(
        StoreUnreachableError, match=r"cannot use s3://bucket/x: .*AWS_ENDPOINT_URL"
    ) as caught:
        Store.open("s3://bucket/x", writable=True)
    assert caught.value.exit_code == 6


def test_of_several_that_create_a_file_one_succeeds(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda i: store.create("a/lock", bytes([i])), range(8)))
    assert sum(created) == 1
    assert store.read_bytes("a/lock") == bytes([created.index(True)])
    assert store.files("a") == ["a/lock"]


def test_reading_and_deleting_what_may_be_gone(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    assert store.read_if_there("a") is None
    store.delete_if_there("a")
    store.write_bytes("a", b"x")
    assert store.read_if_there("a") == b"x"
    store.delete_if_there("a")
    assert not store.exists("a")


# Damage


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[: len(data) // 2],
        lambda data: data[:-4] + b"\x07" * 4,
        lambda data: data[:8] + b"\x07" * 60 + data[68:],
        lambda data: data[:-200] + b"\x07" * 190 + data[-10:],
        lambda data: b"no table at all, but longer than the shortest one that there can be",
    ],
    ids=["empty", "zeros", "truncated", "end", "pages", "footer", "text"],
)
def test_a_damaged_table_is_no_disk_that_cannot_be_read(
    store: Store, damaged: Callable[[bytes], bytes]
) -> None:
    content = damaged(parquet_bytes(TABLE))
    store.write_bytes("a.parquet", content)
    with pytest.raises(
        IntegrityError, match=rf"{store.uri}/a\.parquet is damaged: .*Remove it"
    ) as e:
        store.read_table("a.parquet")
    assert e.value.exit_code == 4


def test_text_of_a_table_is_text(store: Store) -> None:
    data = parquet_bytes(pa.table({"subject": ["a subject of some length"]}))
    assert b"some" in data
    store.write_bytes("a.parquet", data.replace(b"some", b"s\xffme"))
    with pytest.raises(IntegrityError, match="UTF8"):
        store.read_table("a.parquet")


def test_a_table_without_a_column_that_is_wanted(store: Store) -> None:
    store.write_table("a.parquet", TABLE)
    with pytest.raises(IntegrityError, match="flags"):
        store.read_table("a.parquet", ["stage", "flags"])


def test_a_table_on_a_disk_that_cannot_be_read_is_not_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_table("a.parquet", TABLE)

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pq, "read_table", broken)
    monkeypatch.setattr(Store, "_content", broken)
    with pytest.raises(SetupError, match="Input/output error"):
        store.read_table("a.parquet")
