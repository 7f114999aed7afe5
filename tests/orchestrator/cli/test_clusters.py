"""``launch``: what it refuses before it asks anybody, and what is to be said to have it launched nevertheless."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import commands, main
from orchestrator.cluster.state import HOME, ClusterState, Running
from orchestrator.config.cluster import load_cluster

RUNNING = Running(
    provider="aws", address="http://127.0.0.1:1", launched_at="then", ends_at=None, complete=True
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))


@pytest.fixture
def unpriced(root: Path, tmp_path: Path) -> Path:
    file = tmp_path / "c.yaml"
    text = (root / "cluster" / "aws.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("g5.xlarge", "g6.xlarge"), encoding="utf-8")
    return file


def ended(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("how", [["--yes"], ["--dry-run"], ["--dry-run", "--online"]], ids=str)
def test_a_cluster_whose_cost_is_unknown_is_refused(
    how: list[str], unpriced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an open one is: with the plan, and before EC2 is asked, which nobody here answers for."""
    assert ended("launch", unpriced, *how) == 2
    said = capsys.readouterr()
    assert "unknown with 4 workers" in said.out
    assert "g6.xlarge: USD_PER_HOUR" in said.out
    error = " ".join(said.err.split())
    assert (
        f"{unpriced} is refused. What it costs is unknown: no price is known of g6.xlarge. "
        in error
    )
    assert "in orchestrator.prices of the file, or insist with --accept-unknown-cost." in error
    assert not ClusterState.of("sleep-gpu").folder.exists()


def test_an_unknown_cost_can_be_accepted(
    unpriced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("launch", unpriced, "--dry-run", "--accept-unknown-cost") == 0
    assert "unknown with 4 workers" in capsys.readouterr().out
    asked = CliRunner().invoke(
        commands, ["launch", str(unpriced), "--accept-unknown-cost"], input="n\n"
    )
    assert "Launch sleep-gpu? [y/N]: n" in asked.output


def test_a_plan_as_json_has_null_where_nothing_is_known(
    unpriced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("launch", unpriced, "--dry-run", "--json") == 2
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["least_per_hour"] == pytest.approx(0.096 + 100 * 0.08 / 730)
    assert cost["most_per_hour"] is None
    assert cost["without_price"] == ["g6.xlarge"]


@pytest.mark.heavy
def test_a_cluster_that_runs_takes_up_no_machine_without_a_price(
    root: Path, unpriced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, source = load_cluster(root / "cluster" / "aws.yaml")
    state = ClusterState.of(cluster.cluster_name)
    state.note(RUNNING)
    state.note_file(source.data)
    assert ended("launch", unpriced, "--yes") == 2
    assert "no price is known of g6.xlarge" in " ".join(capsys.readouterr().err.split())
    assert state.running() == RUNNING
    assert state.launched() == source.data


def test_all_that_is_refused_is_told_at_once(
    unpriced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = unpriced.read_text(encoding="utf-8")
    unpriced.write_text(text.replace("ssh_from: caller", "ssh_from: 0.0.0.0/0"), encoding="utf-8")
    assert ended("launch", unpriced, "--yes") == 2
    error = capsys.readouterr().err
    assert "--allow-insecure" in error
    assert "--accept-unknown-cost" in error
    assert ended("launch", unpriced, "--yes", "--accept-unknown-cost") == 2
    error = capsys.readouterr().err
    assert "--allow-insecure" in error
    assert "--accept-unknown-cost" not in error
    assert ended("launch", unpriced, "--dry-run", "--allow-insecure") == 2
    assert "--allow-insecure" not in capsys.readouterr().err
