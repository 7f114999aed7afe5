"""Where a store may lie: not in a job's own folder, and not on one node of several."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.store.placement import SHARED, check_is_shared, check_outlives_job
from orchestrator.store.store import Store


@pytest.fixture
def in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the driver of a job whose working directory is ``tmp_path / "job"``."""
    (tmp_path / "job").mkdir()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path / "job")


@pytest.mark.usefixtures("in_a_job")
def test_what_a_job_has_for_itself_is_refused(tmp_path: Path) -> None:
    inside = Store.open("runs")
    with pytest.raises(ConfigError, match="Give --store or ORCHESTRATOR_STORE an s3://"):
        check_outlives_job(inside)
    with pytest.raises(ConfigError, match=f"^{inside.uri} lies in .* Give --out an s3://"):
        check_outlives_job(inside, "--out")
    check_outlives_job(Store.open(str(tmp_path / "runs")))


def test_what_is_no_job_may_use_its_own_folder() -> None:
    check_outlives_job(Store.open("runs"))


def test_a_folder_of_one_node_is_refused_on_several(
    tmp_path: Path, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SHARED, raising=False)
    store = Store.open(str(tmp_path))
    check_is_shared(store, 1)
    check_is_shared(remote, 2)
    with pytest.raises(ConfigError, match=r"the cluster has 2 nodes.* Give --store s3://"):
        check_is_shared(store, 2)
    with pytest.raises(ConfigError, match="Give --out s3://"):
        check_is_shared(store, 2, "--out")
    monkeypatch.setenv(SHARED, "1")
    check_is_shared(store, 2)
