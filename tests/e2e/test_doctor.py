"""`orchestrator doctor` on the machine that runs the tests."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli

pytestmark = pytest.mark.e2e


def test_doctor_finds_this_machine_fit(cli: "Cli") -> None:
    out = cli("doctor").ok().out
    findings = {line.split()[1]: line.split()[0] for line in out.splitlines()}
    assert set(findings) == {
        *("python", "versions", "packages", "cpus"),
        *("memory", "gpu", "ray", "store"),
    }
    assert findings["ray"] == "ok"
    assert "FAIL" not in findings.values()


def test_doctor_names_an_unusable_store_and_ends_with_7(cli: "Cli", tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = cli("doctor", "--store", tmp_path / "file" / "store").fails(7, "fails store")
    assert "FAIL store" in result.out
