"""Content ids: what an artefact depends on, as one short hash, so that it can be looked up before it is made."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def content_id(parts: Mapping[str, Any], length: int = 16) -> str:
    """Return a hex id of `parts`, independent of their order.

    Parameters
    ----------
    parts : mapping
        JSON values only; anything else would not be the same in another process, so it is refused.
    length : int
        Hex digits; 16 are 64 bits.

    Examples
    --------
    >>> content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
