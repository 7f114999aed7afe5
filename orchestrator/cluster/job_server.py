"""A cluster's job server, asked with the cluster's token."""

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def get(address: str, path: str, token_file: Path, timeout_s: float = 5.0) -> Any:
    """Return what a job server answers to a path; None where nobody answers, or it does not take the token.

    Parameters
    ----------
    address : str
        Such as ``http://127.0.0.1:8265``.
    path : str
        Such as ``/api/version``.
    token_file : Path
        Of the cluster's token.
    timeout_s : float
        How long to wait.
    """
    try:
        token = token_file.read_text(encoding="utf-8").strip()
        request = urllib.request.Request(
            address + path, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return None


def is_guarded(address: str, timeout_s: float = 5.0) -> bool | None:
    """Tell whether a job server refuses whoever has no token; None where it does not answer."""
    try:
        with urllib.request.urlopen(address + "/api/version", timeout=timeout_s):
            return False
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code in (401, 403)
    except (OSError, ValueError, http.client.HTTPException):
        return None


def answers(address: str, token_file: Path) -> bool:
    """Tell whether a job server answers and takes the token."""
    return get(address, "/api/version", token_file) is not None
