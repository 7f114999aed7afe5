"""Heeds the notice that a spot machine is about to be taken away: ``python -m orchestrator.cluster.reclaim FILE GCS``.

Runs next to Ray on each machine that may be. On notice it drains the node, so that nothing is placed there again, and
writes FILE, which every trial on the machine looks for after each step. Amazon gives two minutes.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from os import environ
from pathlib import Path

LEAVE_FILE = "ORCHESTRATOR_LEAVE_FILE"
"""Environment variable of a machine that may be taken away: once this file is there, trials leave."""

_LOOK_S = 2.0
_DRAIN_S = 30.0
_TIMEOUT_S = 2.0
_TOKEN_S = 6 * 3600


class Metadata:
    """The instance metadata service, version 2.

    Parameters
    ----------
    endpoint : str, optional
        By default the address that EC2 gives it.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint or "http://169.254.169.254"
        self._token = ""

    def notice(self) -> datetime | None:
        """Return when this machine will be taken away; None while nobody says that it will, or nobody answers."""
        for _ in range(2):  # a token may have expired
            try:
                found = self._ask("/latest/meta-data/spot/instance-action")
                return datetime.fromisoformat(json.loads(found)["time"])
            except urllib.error.HTTPError as error:
                if error.code != 401:  # 404: no notice
                    return None
                self._token = ""
            except (OSError, ValueError, KeyError):
                return None
        return None

    def _ask(self, path: str) -> bytes:
        if not self._token:
            lasts = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
            self._token = _answer(self._endpoint + "/latest/api/token", "PUT", lasts).decode()
        return _answer(self._endpoint + path, "GET", {"X-aws-ec2-metadata-token": self._token})


def _answer(url: str, method: str, headers: Mapping[str, str]) -> bytes:
    request = urllib.request.Request(url, method=method, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        content: bytes = answer.read()
        return content


def drain_command(gcs: str, left_s: float) -> list[str]:
    """Return the command that has Ray place nothing more on this node.

    Parameters
    ----------
    gcs : str
        Address of the cluster's GCS.
    left_s : float
        Until the machine is gone.
    """
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", gcs),
        *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot machine reclaimed"),
        *("--deadline-remaining-seconds", str(max(1, int(left_s)))),
    ]


def main(leave_file: str, gcs: str) -> None:
    """Wait for the notice, and act on it."""
    metadata = Metadata(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
    while (goes_at := metadata.notice()) is None:
        time.sleep(_LOOK_S)
    left_s = (goes_at - datetime.now(UTC)).total_seconds()
    print(f"this machine is taken away at {goes_at.isoformat()}, in {left_s:.0f} s", flush=True)
    try:  # first, or a trial that leaves could be placed here again
        done = subprocess.run(
            drain_command(gcs, left_s),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_DRAIN_S,
        )
        print(done.stdout + done.stderr, flush=True)
    finally:
        Path(leave_file).write_text(goes_at.isoformat(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
