"""A cluster of this machine, as far as it is not started."""

from pathlib import Path

import pytest

from orchestrator.cluster.state import ClusterState
from orchestrator.cluster.this_machine import OnThisMachine
from orchestrator.config.cluster import ThisMachine
from orchestrator.errors import SetupError


def test_a_limited_life_needs_a_program_that_macos_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = ThisMachine(type="this_machine")
    state = ClusterState(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert OnThisMachine(provider, None, state)._ended_in_time() == []
    with pytest.raises(SetupError, match="needs the program `timeout`"):
        OnThisMachine(provider, 1.0, state)._ended_in_time()
    homebrew = tmp_path / "gtimeout"
    homebrew.touch(0o755)
    assert OnThisMachine(provider, 1.0, state)._ended_in_time()[0] == str(homebrew)
