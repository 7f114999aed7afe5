"""Notices: what is sent to a real HTTP server and a real program, and that a signature says who sent it."""

import hmac
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.notices import Notify
from orchestrator.errors import ConfigError
from orchestrator.store.store import Store
from orchestrator.telemetry import notices as module
from orchestrator.telemetry import termination
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.notices import notices
from orchestrator.telemetry.termination import last_word

KEY = "a key that both know"


@dataclass
class Received:
    """What a server got, and what it is to answer."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    takes_s: float = 0.0


@pytest.fixture
def server() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            received.headers.append(dict(self.headers))
            time.sleep(received.takes_s)
            self.send_response(received.answers.pop(0) if received.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    received.url = f"http://127.0.0.1:{http.server_port}/hook"
    yield received
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(Store.open(str(tmp_path)), "events.jsonl") as log:
        yield log


def tell(notify: Notify, log: EventLog) -> None:
    """Let everything happen that a notice can be about, and more."""
    with notices(notify, "tau", "s3://lab/runs", log):
        log.emit("trial_lost", trial="t001", n_times=1)
        log.emit("trial_done", trial="t001")
        log.emit("budget_reached", budget="max_hours 1", n_trials=3)
        log.emit("sweep_stopped", reason="InterruptedSweepError", message="Ctrl-C")
        log.emit("sweep_stopped", reason="SweepFailedError", message="all failed")
        log.emit("sweep_finished", n_trials=3)
    log.emit("sweep_finished", n_trials=3)  # outside


@pytest.mark.heavy
def test_every_occasion_is_told_once_and_signed(
    server: Received, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    tell(Notify(url=server.url, key_variable="HOOK_KEY"), log)
    told = [json.loads(body) for body in server.bodies]
    assert [notice["occasion"] for notice in told] == ["lost", "budget", "failed", "done"]
    assert {(notice["sweep"], notice["store"]) for notice in told} == {("tau", "s3://lab/runs")}
    assert told[0]["trial"] == "t001"
    for body, headers in zip(server.bodies, server.headers, strict=True):
        wanted = "sha256=" + hmac.digest(KEY.encode(), body, "sha256").hex()
        assert hmac.compare_digest(headers["X-Signature-256"], wanted)
        changed = bytes([body[0] ^ 1]) + body[1:]
        assert (
            "sha256=" + hmac.digest(KEY.encode(), changed, "sha256").hex()
            != headers["X-Signature-256"]
        )
        assert KEY not in body.decode() + str(headers)


@pytest.mark.heavy
def test_only_what_is_wanted_is_told_and_unsigned_without_a_key(
    server: Received, log: EventLog
) -> None:
    tell(Notify(url=server.url, on=("budget",)), log)
    (body,) = server.bodies
    assert json.loads(body)["budget"] == "max_hours 1"
    assert "X-Signature-256" not in server.headers[0]


@pytest.mark.heavy
def test_a_server_that_is_away_is_asked_again_and_one_that_refuses_is_not(
    server: Received,
    log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "_WAITS_S", (0.01, 0.01))
    server.answers = [503, 500, 204]
    tell(Notify(url=server.url, on=("done",)), log)
    assert len(server.bodies) == 3
    assert "not delivered" not in capsys.readouterr().err
    server.answers = [410, 204]
    tell(Notify(url=server.url, on=("done",)), log)
    assert len(server.bodies) == 4
    said = capsys.readouterr().err
    assert "a notice was not delivered: the server answers 410" in said
    assert server.url not in said


@pytest.mark.heavy
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_delivers_nothing(
    code: int, server: Received, log: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [code]
    tell(Notify(url=server.url, on=("done",)), log)
    assert len(server.bodies) == 1
    assert f"a notice was not delivered: the server answers {code}" in capsys.readouterr().err


@pytest.mark.heavy
def test_the_end_waits_for_every_notice_that_is_under_way(
    server: Received, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_END_S", 0.4)
    server.takes_s = 0.25
    tell(Notify(url=server.url), log)
    told = [json.loads(body)["occasion"] for body in server.bodies]
    assert told == ["lost", "budget", "failed", "done"]


@pytest.mark.heavy
def test_a_sweep_that_is_ended_from_without_tells_of_it(server: Received, log: EventLog) -> None:
    with (
        notices(Notify(url=server.url), "tau", "s3://lab/runs", log),
        last_word(lambda: log.emit("sweep_stopped", reason="TerminatedSweepError", message="")),
    ):
        termination._say_last_words()
        (body,) = server.bodies
    assert json.loads(body)["occasion"] == "failed"


@pytest.mark.heavy
def test_notices_that_the_end_does_not_wait_for_are_counted(
    server: Received,
    log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "_LONGEST_END_S", 0.1)
    server.takes_s = 0.3
    tell(Notify(url=server.url), log)
    assert "notices not delivered when the sweep ended: 4\n" in capsys.readouterr().err
    for thread in threading.enumerate():
        if thread.name == "notices":
            thread.join()  # while the server is there


def test_a_program_gets_it_on_its_standard_input(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    code = (
        "import json, os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps("
        "[sys.stdin.read(), os.environ['NOTICE_SIGNATURE']]))"
    )
    got = tmp_path / "got.json"
    command = (sys.executable, "-c", code, str(got))
    tell(Notify(command=command, key_variable="HOOK_KEY", on=("done",)), log)
    body, signed = json.loads(got.read_text(encoding="utf-8"))
    assert json.loads(body)["occasion"] == "done"
    assert signed == module.signature(KEY, body.encode())


def test_a_program_that_fails_is_named(log: EventLog, capsys: pytest.CaptureFixture[str]) -> None:
    tell(Notify(command=(sys.executable, "-c", "exit(3)"), on=("done",)), log)
    assert f"{sys.executable} ended with 3" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["url_variable", "key_variable"])
def test_a_variable_that_is_not_set_is_refused_before_anything_happens(
    key: str, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    more: dict[str, Any] = {"url": "http://127.0.0.1:9"} if key == "key_variable" else {}
    notify = Notify.model_validate({key: "NOT_SET", **more})
    with (
        pytest.raises(ConfigError, match=f"notify.{key} is NOT_SET: this environment variable"),
        notices(notify, "tau", "runs", log),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "nobody is told"),
        ({"url": "ftp://lab"}, "must begin with https:// or http://"),
        ({"url": "https://a", "url_variable": "B"}, "second address"),
        ({"url_variable": "not a name"}, "environment variable"),
        ({"command": []}, "at least 1"),
    ],
)
def test_sections_that_tell_nobody_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Notify.model_validate(given)
