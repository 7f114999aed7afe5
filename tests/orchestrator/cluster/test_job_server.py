"""Asking a job server: whatever else is on its port is no answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.cluster.job_server import answers, get, is_guarded


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cr3t\n", encoding="utf-8")
    return file


@contextmanager
def saying(first: bytes) -> Iterator[str]:
    """A program that says something, whatever it is told, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(first)
                connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "first",
    [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>hello\n"],
    ids=["no HTTP", "nothing", "no JSON"],
)
def test_another_program_on_the_port_is_no_job_server(first: bytes, token: Path) -> None:
    with saying(first) as address:
        assert not answers(address, token)


def test_a_job_server_that_answers_anybody_is_not_guarded() -> None:
    body = b'{"version": "4"}'
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as address:
        assert is_guarded(address) is False


def test_nobody_there_is_no_answer(token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert get(address, "/api/version", token) is None
    assert is_guarded(address) is None


class Guarded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"version": "4"}'
        self.send_response(200 if self.headers["Authorization"] == "Bearer s3cr3t" else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_it_is_asked_with_the_token(token: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert get(address, "/api/version", token) == {"version": "4"}
        assert is_guarded(address)
        token.write_text("another", encoding="utf-8")
        assert not answers(address, token)
        server.shutdown()
        thread.join()
