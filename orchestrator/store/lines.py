"""Files that grow by whole lines, and what a writer that was killed, or had no space left, leaves at their end."""

import os
from pathlib import Path


def whole_lines(data: bytes) -> bytes:
    """Return `data` without what follows its last line break."""
    return data[: data.rfind(b"\n") + 1]


def cut_to_lines(file: Path) -> None:
    """Cut off half a line at the end of a file, if the file is there: the next line would be appended to it."""
    if file.is_file():
        data = file.read_bytes()
        whole = whole_lines(data)
        if len(whole) < len(data):
            os.truncate(file, len(whole))
