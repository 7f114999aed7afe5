"""An HTTP server for Prometheus: ``/metrics``, and ``/targets`` for its service discovery."""

import json
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from orchestrator.sweep.metrics import StoreCollector

LOOK_S = 5.0
"""How often the store is read."""

Targets = Callable[[], list[dict[str, Any]]]
"""Gives what Prometheus is to scrape besides, as its ``http_sd_configs`` take it."""


class MetricsServer:
    """Serves what a collector knows, until it is closed.

    Parameters
    ----------
    collector : StoreCollector
    host, port : str, int
        Where to listen; port 0 takes a free one.
    targets : callable
        See :data:`Targets`.
    """

    def __init__(self, collector: StoreCollector, host: str, port: int, targets: Targets) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        metrics = make_wsgi_app(registry)

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/targets":
                answer: Iterable[bytes] = metrics(environ, start_response)
                return answer
            here = {"targets": [environ["HTTP_HOST"]], "labels": {"job": "sleep-orchestrator"}}
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps([here, *targets()]).encode()]

        self._ended = threading.Event()
        self._server = make_server(host, port, app, _Server, handler_class=_Quiet)
        collector.look()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="metrics server", daemon=True),
            threading.Thread(
                target=collector.follow, args=(self._ended, LOOK_S), name="metrics", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self) -> None:
        """Return when it is closed."""
        self._ended.wait()

    def close(self) -> None:
        """Stop serving."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""
