"""A second user of the machine, whose part tests can take where they run as root."""

import os
import subprocess

import pytest

STRANGER = 65534
"""Runs none of these tests, and owns nothing."""

IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="takes the part of a second user: as root")


def as_stranger(command: str) -> str:
    """Run a command of the shell as the second user, and return what it says on standard error."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        encoding="utf-8",
    )
    return done.stderr
