"""What the doctor finds, check by check; the whole command is in tests/e2e."""

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.doctor import Status


def test_this_environment_has_what_the_project_declares() -> None:
    finding = doctor._requirements()
    assert finding.status is Status.OK, finding
    assert "torch" in finding.detail


def test_too_old_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> str:
        if name == "mne":
            raise PackageNotFoundError(name)
        return {"ray": "2.30.0"}.get(name, "99")

    monkeypatch.setattr(doctor, "requires", lambda _: ["ray>=2.60,<2.61", "mne", "click>=8"])
    monkeypatch.setattr(doctor, "version", found)
    finding = doctor._requirements()
    assert finding.status is Status.FAIL
    assert "ray is 2.30.0, needed: <2.61,>=2.60" in finding.detail
    assert "mne is missing" in finding.detail
    assert "click" not in finding.detail


def test_folder_of_another_distribution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"orchestrator": ["sleep-orchestrator", "orchestrator"]}
    monkeypatch.setattr(doctor, "packages_distributions", lambda: owners)
    finding = doctor._owners()
    assert finding.status is Status.FAIL
    assert "orchestrator belongs to orchestrator, sleep-orchestrator" in finding.detail


def test_store_below_a_file_is_a_finding_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = doctor._guarded("store", lambda: doctor._store(str(tmp_path / "file" / "store")))
    assert finding.status is Status.FAIL
    assert str(tmp_path / "file") in finding.detail


def test_a_container_s_default_of_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(doctor, "free_shared_memory", lambda: 60 * 2**20)
    finding = doctor._memory()
    assert finding.status is Status.WARN
    assert "/dev/shm has 60 MiB" in finding.detail
    assert "--shm-size=2g" in finding.detail


def test_fewer_cpus_than_the_machine_has_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(doctor, "n_usable_cpus", lambda: 4)
    assert doctor._processors().detail == "4 of 64 may be used"
