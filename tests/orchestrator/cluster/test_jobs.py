"""Following a job: what it writes is printed once, whatever becomes of the connection."""

from collections.abc import AsyncIterator, Iterator

import pytest
from ray.job_submission import JobStatus

from orchestrator.cluster import jobs
from orchestrator.errors import SetupError


class Details:
    def __init__(self, status: JobStatus) -> None:
        self.status = status


class Client:
    """A job server whose connection breaks; each entry is what one connection gives before it does."""

    def __init__(self, connections: list[list[str] | None], status: JobStatus) -> None:
        self._connections: Iterator[list[str] | None] = iter(connections)
        self._status = status

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        texts = next(self._connections, None)
        if texts is None:
            raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
        for text in texts:
            yield text
        if texts[-1] != "end\n":
            raise ConnectionResetError("gone")

    def get_job_info(self, job_id: str) -> Details:
        return Details(self._status)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "AGAIN_S", 0.2)


def test_a_line_is_printed_once_over_several_connections() -> None:
    connections: list[list[str] | None] = [
        ["one\n", "two\n"],
        None,
        ["one\ntwo\nthree\n"],
        ["one\n", "two\nthree\n", "end\n"],
    ]
    said: list[str] = []
    client = Client(connections, JobStatus.SUCCEEDED)
    assert (
        jobs.follow(lambda: client, "j", "http://head", said.append).status is JobStatus.SUCCEEDED
    )
    assert said == ["one", "two", "three", "end"]


@pytest.mark.heavy
def test_a_job_server_that_is_gone_is_an_error_that_says_what_goes_on() -> None:
    said: list[str] = []
    gone = Client([["one\n"]], JobStatus.RUNNING)
    with pytest.raises(
        SetupError, match=r"http://head does not answer.*job j goes on there"
    ) as told:
        jobs.follow(lambda: gone, "j", "http://head", said.append)
    assert "1006" in str(told.value)
    assert said == ["one"]


@pytest.mark.heavy
def test_a_log_that_ends_before_its_job_is_asked_for_again() -> None:
    client = Client([["one\n", "end\n"]], JobStatus.RUNNING)
    with pytest.raises(SetupError, match="does not answer any more"):
        jobs.follow(lambda: client, "j", "http://head", lambda _: None)
