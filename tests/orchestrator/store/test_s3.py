"""Patience with S3: what is tried again, for how long, and what is final."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from orchestrator.store.s3 import patiently

DOWN = OSError(
    "When reading information for key 'a' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation: "
    "curlCode: 7, Couldn't connect to server"
)
DENIED = OSError(
    "When reading key 'a' in bucket 'b': AWS Error ACCESS_DENIED during GetObject: HTTP 403"
)
THROTTLED = OSError(
    "An error occurred (SlowDown) when calling the PutObject operation: Reduce your rate (503)"
)


@dataclass
class Server:
    """Fails as it is told, and a clock that only sleeping moves."""

    failures: list[OSError]
    now: float = 0.0
    asked_at: list[float] = field(default_factory=list)

    def __call__(self) -> str:
        self.asked_at.append(self.now)
        if self.failures:
            raise self.failures.pop(0)
        return "content"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self) -> str:
        return patiently(self, clock=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize("error", [DOWN, THROTTLED, DENIED], ids=["down", "throttled", "denied"])
def test_what_passes_is_tried_again(error: OSError) -> None:
    server = Server([error, error])
    assert server.ask() == "content"
    assert len(server.asked_at) == 3


def test_a_server_that_stays_away_gets_a_minute() -> None:
    server = Server([DOWN] * 1000)
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        server.ask()
    assert 50 < server.now <= 60
    pauses = [b - a for a, b in zip(server.asked_at, server.asked_at[1:], strict=False)]
    assert pauses == pytest.approx([min(5, 0.2 * 2**i) for i in range(len(pauses))])


def test_a_denial_gets_a_few_seconds() -> None:
    server = Server([DENIED] * 1000)
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        server.ask()
    assert 1 < server.now <= 3


@pytest.mark.parametrize("make", [lambda: FileNotFoundError("a"), lambda: OSError("Bad key")])
def test_what_stays_is_final(make: Callable[[], OSError]) -> None:
    server = Server([make()])
    with pytest.raises(OSError):  # noqa: PT011  the same error, whatever it says
        server.ask()
    assert server.asked_at == [0.0]
