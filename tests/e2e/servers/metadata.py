"""The instance metadata service of several machines, version 2, which tells each by its address what it announces."""

import json
import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Metadata:
    """Serves on an address of this machine; used as a context manager."""

    host: str
    notices: dict[str, datetime] = field(default_factory=dict)
    """Address of a machine -> when it will be taken away."""
    tokens: set[str] = field(default_factory=set)
    """Given out, and taken."""
    n_asked: int = 0

    def announce(self, ip: str, in_s: float = 120.0) -> datetime:
        """Tell a machine that it will be taken away."""
        self.notices[ip] = (datetime.now(UTC) + timedelta(seconds=in_s)).replace(microsecond=0)
        return self.notices[ip]

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self._server.server_port}"

    def __enter__(self) -> "Metadata":
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                if self.path != "/latest/api/token" or not self.headers.get(
                    "X-aws-ec2-metadata-token-ttl-seconds"
                ):
                    return self._answer(400)
                token = secrets.token_hex(8)
                service.tokens.add(token)
                return self._answer(200, token)

            def do_GET(self) -> None:
                service.n_asked += 1
                if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens:
                    return self._answer(401)
                at = service.notices.get(self.client_address[0])
                if self.path != "/latest/meta-data/spot/instance-action" or at is None:
                    return self._answer(404)
                time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
                return self._answer(200, json.dumps({"action": "terminate", "time": time}))

            def _answer(self, code: int, body: str = "") -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *arguments: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer((self.host, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
