"""A store that is used as S3 is, without a server; a terminal whose end is a signal."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from orchestrator.store.store import Store


class RemoteStore(Store):
    """A folder that is used as S3 is: through whole objects only."""

    @property
    def is_local(self) -> bool:
        return False


@pytest.fixture
def remote(tmp_path: Path) -> Store:
    """A store in which a sweep ``probe`` may write."""
    root = tmp_path / "bucket"
    (root / "sweeps/probe").mkdir(parents=True)
    return RemoteStore(str(root), pafs.LocalFileSystem(), str(root))


@pytest.fixture
def _hangups_count() -> Iterator[None]:
    """Have SIGHUP at its default, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
