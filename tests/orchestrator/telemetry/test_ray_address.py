"""Addresses of Ray clusters at which nobody, or somebody else, answers."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from orchestrator.errors import ClusterUnreachableError, ConfigError, SetupError
from orchestrator.telemetry.ray_address import check_answers, cluster_address


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of somebody who takes a connection and says nothing."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """Of a server that speaks HTTP/1, as Ray's dashboard does."""
    with socket.create_server(("", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # it is closed
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextlib.contextmanager
def gcs(*, wants_token: bool, port: int = 0) -> Iterator[int]:
    """Have a server that answers as Ray's own does; yields its port."""

    def is_alive(_request: bytes, context: Any) -> bytes:
        if wants_token and "authorization" not in dict(context.invocation_metadata()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: it is missing")
        return b"\n\x00\x12\x062.60.0 \x01"

    handlers = {"CheckAlive": grpc.unary_unary_rpc_method_handler(is_alive)}
    service = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers)
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port(f"0.0.0.0:{port}")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}"])
def test_nobody_listens(form: str) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClusterUnreachableError, match="Connection refused") as refused:
        check_answers(form.format(port), patience_s=1.5)
    assert f"RAY_ADDRESS={form.format(port)} within 1.5 s" in str(refused.value)
    assert "unset RAY_ADDRESS" in str(refused.value)


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_who_listens_says_nothing(form: str, silent_port: int) -> None:
    with pytest.raises(ClusterUnreachableError, match=r"within 0\.3 s \(silence\)"):
        check_answers(form.format(silent_port), patience_s=0.3)


@pytest.mark.heavy
def test_who_answers_is_no_ray(web_port: int) -> None:
    with pytest.raises(ClusterUnreachableError, match="HTTP/2"):
        check_answers(f"127.0.0.1:{web_port}", patience_s=1.5)


@pytest.mark.heavy
def test_no_such_host() -> None:
    with pytest.raises(ClusterUnreachableError, match=r"nosuch\.invalid"):
        check_answers("nosuch.invalid:6379", patience_s=1.5)


@pytest.mark.parametrize(
    "address", ["garbage", "127.0.0.1", "127.0.0.1:x", "http://127.0.0.1:8265", "ray://host"]
)
def test_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS={address} is no address of a Ray cluster"):
        check_answers(address)


@pytest.mark.parametrize(
    ("named", "address"),
    [(None, None), ("", None), ("local", None), ("auto", "auto"), ("h:1", "h:1")],
)
def test_where_no_cluster_is_named_a_command_has_a_ray_of_its_own(
    named: str | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if named is not None:
        monkeypatch.setenv("RAY_ADDRESS", named)
    assert cluster_address() == address


def test_a_cluster_that_answers() -> None:
    with gcs(wants_token=False) as port:
        check_answers(f"127.0.0.1:{port}")


def test_a_cluster_that_wants_a_token() -> None:
    with (
        gcs(wants_token=True) as port,
        pytest.raises(SetupError, match=rf":{port} wants a token, and got another one or none"),
    ):
        check_answers(f"127.0.0.1:{port}")


@pytest.mark.heavy
def test_a_cluster_that_comes_up_meanwhile() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(check_answers, f"127.0.0.1:{port}")
        time.sleep(0.2)
        with gcs(wants_token=False, port=port):
            assert asked.result(timeout=5) is None


@pytest.mark.ray
def test_a_real_cluster_answers(ray_cluster: Any) -> None:
    check_answers(ray_cluster.get_runtime_context().gcs_address)
