"""The commands of docs/cluster.md and docs/operations.md, in their order and as they are written."""

import os
import re
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.servers.cloud import Cloud

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Tiny, Tools

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="four minutes: make test-cluster"),
]


def commands_of(page: Path) -> list[list[str]]:
    """Return what a page tells to type, without what only shows how something is called."""
    blocks = re.findall(
        r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def cli(cloud: Cloud, tiny: "Tiny", tools: "type[Tools]") -> Iterator["Cli"]:
    """A folder with the files that the pages name: as shipped, but for what is this account's and for a small sweep."""
    cli = cloud.cli
    shipped = cli.cwd / "cluster", cli.cwd / "sweeps"
    for folder in shipped:
        folder.mkdir()
    cloud.file("page").rename(shipped[0] / "aws.yaml")
    local: dict[str, Any] = yaml.safe_load(
        (cloud.root / "cluster" / "local.yaml").read_text(encoding="utf-8")
    )
    local["cluster_name"] = f"page-{secrets.token_hex(3)}"
    local["provider"] |= {"port": tools.free_ports(1), "dashboard_port": tools.free_ports(1)}
    (shipped[0] / "local.yaml").write_text(yaml.safe_dump(local), encoding="utf-8")
    sweep = yaml.safe_load(tiny.sweep.read_text(encoding="utf-8")) | {"name": "sleepmg", "arms": []}
    sweep["search"]["n_trials"] = 2
    (shipped[1] / "sleepmg.yaml").write_text(yaml.safe_dump(sweep), encoding="utf-8")
    store = yaml.safe_load((shipped[0] / "aws.yaml").read_text(encoding="utf-8"))["orchestrator"][
        "store"
    ]
    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", store).ok()
    cli("ingest", tiny.dataset, "--data", tiny.data).ok()  # the store ./runs
    yield cli
    for file in ("aws", "local"):
        cli("down", f"cluster/{file}.yaml")


def test_the_pages_as_they_are_written(
    cloud: Cloud, cli: "Cli", root: Path, tools: "type[Tools]"
) -> None:
    commands = commands_of(root / "docs" / "cluster.md")
    watched = commands_of(root / "docs" / "operations.md")
    assert len(commands) == 10
    assert [command[1] for command in watched] == ["metrics", "metrics"]
    for program, name, *arguments in commands:
        assert program == "orchestrator"
        if name == "launch" and "--dry-run" not in arguments:
            arguments.append("--yes")  # nobody is there to ask
        done = cli(name, *arguments).ok()
        if name == "status" and "sleepmg" in arguments:
            assert "2 of 2" in done.out
        if name == "exec":
            assert "Node status" in done.out
            for _, *metrics in watched:  # while the cluster runs
                _serves(cli, tools, metrics)
    assert cloud.alive("page") == []


def _serves(cli: "Cli", tools: "type[Tools]", command: list[str]) -> None:
    server = cli.start(*command)
    assert server.stderr is not None
    try:
        assert "/metrics" in server.stderr.readline()
    finally:
        tools.kill_group(server)
