"""A store that is used as S3 is, without a server."""

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
