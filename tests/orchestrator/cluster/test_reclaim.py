"""The notice of a spot machine, from a service that speaks version 2 of Amazon's."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.cluster import reclaim
from orchestrator.cluster.reclaim import Metadata, drain_command
from tests.e2e.servers.metadata import Metadata as Service


@pytest.mark.heavy
def test_a_notice_is_heard_when_it_comes_and_tokens_are_renewed() -> None:
    with Service("127.0.0.1") as service:
        metadata = Metadata(service.endpoint)
        assert metadata.notice() is None
        assert metadata.notice() is None
        assert len(service.tokens) == 1  # one for all
        service.tokens.clear()  # it has expired
        goes_at = service.announce("127.0.0.1")
        assert metadata.notice() == goes_at
        assert goes_at.tzinfo is not None


def test_nobody_answers_where_there_is_no_service() -> None:
    assert Metadata("http://127.0.0.1:9").notice() is None


@pytest.mark.heavy
def test_on_notice_ray_is_told_first_and_then_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        assert not (tmp_path / "leave").exists()
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(reclaim, "_LOOK_S", 0.01)
    with Service("127.0.0.1") as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint)
        goes_at = service.announce("127.0.0.1", in_s=100)
        reclaim.main(str(tmp_path / "leave"), "10.0.0.1:6379")
    assert datetime.fromisoformat((tmp_path / "leave").read_text(encoding="utf-8")) == goes_at
    (command,) = ran
    assert 90 <= int(command[-1]) <= (goes_at - datetime.now(UTC)).total_seconds() + 5


@pytest.mark.heavy
def test_ray_knows_the_command() -> None:
    """It is hidden in Ray's help, so that a new version could change it unnoticed."""
    command = drain_command("127.0.0.1:9", 60)
    known = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--help"],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    ).stdout
    for option in (word for word in command if word.startswith("--")):
        assert option in known
    assert "DRAIN_NODE_REASON_PREEMPTION" in known
