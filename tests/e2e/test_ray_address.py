"""A `RAY_ADDRESS` at which nobody answers: a sentence within 15 s, whatever the command and the kind of silence."""

import shutil
import socket
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny

pytestmark = pytest.mark.e2e

IN_TIME_S = 25
"""Three commands at once; one by itself takes less than 15 s."""


def test_nobody_answers(cli: "Cli", tiny: "Tiny", tiny_done: "Done") -> None:
    shutil.copytree(tiny_done.store / "epochs", cli.cwd / "runs" / "epochs")
    ingest = ("ingest", tiny.dataset, "--data", tiny.data, "--store", "elsewhere")
    with socket.create_server(("", 0)) as silent:
        started = time.monotonic()
        asked = {
            (address, says): cli.having(RAY_ADDRESS=address).start(*arguments)
            for address, says, arguments in (
                ("127.0.0.1:1", "Connection refused", ingest),
                (f"127.0.0.1:{silent.getsockname()[1]}", "silence", ("sweep", tiny.sweep)),
                ("nosuch.invalid:6379", "nosuch.invalid", ("doctor",)),
            )
        }
        for (address, says), process in asked.items():
            out, err = process.communicate(timeout=60)
            assert process.returncode == 6, out + err
            text = " ".join(err.split())
            assert f"no Ray cluster answers at RAY_ADDRESS={address} within 5 s" in text
            assert says in text
            assert "unset RAY_ADDRESS" in text
            assert "Traceback" not in out + err
    assert time.monotonic() - started < IN_TIME_S
    assert not (cli.cwd / "runs/sweeps/small/lock.json").exists()
