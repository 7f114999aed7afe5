"""Processes are found whatever they call themselves."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.telemetry.processes import in_session, started_at

NAME = Path("/proc/self/comm")
pytestmark = pytest.mark.skipif(not NAME.exists(), reason="needs /proc")


@pytest.fixture
def _odd_name() -> Iterator[None]:
    """This process has a name that is no text."""
    before = NAME.read_bytes()
    NAME.write_bytes(b"\xff) \xfe")
    yield
    NAME.write_bytes(before)


@pytest.mark.usefixtures("_odd_name")
def test_a_name_that_is_no_text_hides_no_process() -> None:
    assert started_at(os.getpid()) is not None
    assert os.getpid() in in_session(os.getsid(0))
