"""Tells people what becomes of a sweep: JSON to a web address or a program, signed with a shared key."""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.config.notices import Notify, Occasion
from orchestrator.errors import ConfigError
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note
from orchestrator.telemetry.termination import last_word

SIGNATURE_HEADER = "X-Signature-256"
SIGNATURE_VARIABLE = "NOTICE_SIGNATURE"

_TIMEOUT_S = 10.0
_WAITS_S = (1.0, 5.0)
"""Between attempts; after the last one a notice is given up."""
_END_S = 60.0
"""Seconds that a sweep waits at its end for each notice under way; three attempts at one take 36 s at most."""
_LONGEST_END_S = 300.0
"""Seconds for all of them together."""
_LAST_WORD_S = 1.0
"""The same where somebody else ends the process."""


def signature(key: str, body: bytes) -> str:
    """Return the signature of a notice: an HMAC-SHA256 of its bytes, as in RFC 2104.

    >>> signature("key", b"The quick brown fox jumps over the lazy dog")
    'sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8'
    """
    return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"


def occasion_of(event: Mapping[str, Any]) -> Occasion | None:
    """Return what a notice of an event would be about, if there is one."""
    match event["event"]:
        case "sweep_finished":
            return "done"
        case "sweep_stopped" if event["reason"] != "InterruptedSweepError":
            return "failed"
        case "budget_reached":
            return "budget"
        case "trial_lost":
            return "lost"
    return None


@contextlib.contextmanager
def notices(notify: Notify | None, sweep: str, store_uri: str, log: EventLog) -> Iterator[None]:
    """Tell of what a log hears inside the block. Whoever cannot be reached is no matter of the sweep.

    Parameters
    ----------
    notify : Notify or None
    sweep : str
        Its name.
    store_uri : str
        Where its results are.
    log : EventLog

    Raises
    ------
    ConfigError
        An environment variable that the section names is not set.
    """
    if notify is None:
        yield
        return
    sender = _Sender(notify)

    def heard(event: Mapping[str, Any]) -> None:
        occasion = occasion_of(event)
        if occasion in notify.on:
            sender.send({"sweep": sweep, "store": store_uri, "occasion": occasion, **event})

    with log.heard_by(heard), last_word(lambda: sender.close(_LAST_WORD_S)):
        try:
            yield
        finally:
            sender.close()


class _Sender:
    """Sends in a thread of its own: no trial waits for a server somewhere."""

    def __init__(self, notify: Notify) -> None:
        self._url = notify.url or from_environment(notify.url_variable, "url_variable")
        self._command = notify.command
        self._key = from_environment(notify.key_variable, "key_variable")
        self._bodies: queue.Queue[bytes | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="notices", daemon=True)
        self._thread.start()

    def send(self, content: Mapping[str, Any]) -> None:
        self._bodies.put(json.dumps(content, sort_keys=True).encode())

    def close(self, longest_s: float | None = None) -> None:
        """Wait for what is under way, and end."""
        longest_s = _LONGEST_END_S if longest_s is None else longest_s
        n_left = self._bodies.qsize() + 1  # the one that is being sent is not in the queue
        self._bodies.put(None)
        self._thread.join(min(n_left * _END_S, longest_s))
        if self._thread.is_alive():
            n_left = self._bodies.qsize()  # the end stands there for the one that is being sent
            note(f"notices not delivered when the sweep ended: {n_left}")

    def _work(self) -> None:
        while (body := self._bodies.get()) is not None:
            signed = {} if self._key is None else {SIGNATURE_HEADER: signature(self._key, body)}
            # The program first: it is here, and an address may be far away.
            if self._command is not None and (problem := _run(self._command, body, signed)):
                note(f"a notice was not delivered: {problem}")
            if self._url is not None and (problem := _post(self._url, body, signed)):
                note(f"a notice was not delivered: {problem}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a refusal: urllib would go there with a GET that has no body."""

    def redirect_request(self, *_: object) -> None:
        """Go nowhere."""


def from_environment(variable: str | None, key: str) -> str | None:
    """Return the value of an environment variable that section ``notify`` names under a key; None if it names none.

    Raises
    ------
    ConfigError
        It is not set.
    """
    if variable is None:
        return None
    if not (found := os.environ.get(variable)):
        raise ConfigError(f"notify.{key} is {variable}: this environment variable is not set.")
    return found


def _post(url: str, body: bytes, signed: Mapping[str, str]) -> str:
    """Return why it could not be delivered; empty if it was. An address may be a secret, so it is not named."""
    headers = {"Content-Type": "application/json", "User-Agent": "sleep-orchestrator", **signed}
    opener = urllib.request.build_opener(_NoRedirect)
    problem = ""
    for wait_s in (*_WAITS_S, None):
        try:
            request = urllib.request.Request(url, data=body, headers=headers, method="POST")
            with opener.open(request, timeout=_TIMEOUT_S):
                return ""
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code}"
            if 300 <= error.code < 500 and error.code not in (408, 429):
                break  # it would answer the same again
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = type(error).__name__  # its text could hold the address
        if wait_s is not None:
            time.sleep(wait_s)
    return problem


def _run(command: tuple[str, ...], body: bytes, signed: Mapping[str, str]) -> str:
    env = {**os.environ, **({SIGNATURE_VARIABLE: s} if (s := signed.get(SIGNATURE_HEADER)) else {})}
    try:
        done = subprocess.run(
            command, input=body, env=env, capture_output=True, timeout=_END_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if done.returncode == 0 else f"{command[0]} ended with {done.returncode}"
