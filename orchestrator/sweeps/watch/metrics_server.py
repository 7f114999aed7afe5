"""An HTTP server for Prometheus: ``/metrics``, and ``/targets`` for its service discovery."""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric

from orchestrator.telemetry.progress import note

Targets = Callable[[], list[dict[str, Any]]]
"""Gives what Prometheus is to scrape besides, as its ``http_sd_configs`` take it."""


class WatchingCollector(Protocol):
    """A collector that knows what its last look has found."""

    every_s: float
    """Between two looks."""

    def look(self) -> None:
        """Find out what it is to give."""

    def collect(self) -> Iterable[Metric]:
        """Give what the last look has found."""


class MetricsServer:
    """Serves what collectors know, until it is closed.

    Parameters
    ----------
    collectors : sequence of WatchingCollector
    host, port : str, int
        Where to listen; port 0 takes a free one.
    targets : callable
        See :data:`Targets`.
    """

    def __init__(
        self, collectors: Sequence[WatchingCollector], host: str, port: int, targets: Targets
    ) -> None:
        registry = CollectorRegistry()
        for collector in collectors:
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
        for collector in collectors:
            collector.look()
            threading.Thread(target=self._follow, args=(collector,), daemon=True).start()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def wait(self) -> None:
        """Return when it is closed."""
        self._ended.wait()

    def _follow(self, collector: WatchingCollector) -> None:
        while not self._ended.wait(collector.every_s):
            try:
                collector.look()
            except Exception as error:  # the next look may succeed
                note(f"{type(error).__name__}: {error}")

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
