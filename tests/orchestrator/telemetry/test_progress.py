"""Progress goes to standard error: plain lines in a file, a bar on a terminal."""

import io
import os
import pty
import sys

import pytest

from orchestrator.telemetry.progress import progress


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("ingest ucddb", 2) as advance:
        advance("ucddb002")
        advance("ucddb003: truncated")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "ingest ucddb 1/2 ucddb002\ningest ucddb 2/2 ucddb003: truncated\n"


def test_lines_are_neither_wrapped_nor_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["x" * 300, "night [1]", "[bold]n[/bold]", "n[/]", ":warning: n", "https://a/b 12"]
    with progress("ingest", len(names)) as advance:
        for name in names:
            advance(name)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"ingest {i}/6 {name}" for i, name in enumerate(names, start=1)]


def test_a_bar_on_a_terminal_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(parent, "rb", buffering=0) as terminal:
        with os.fdopen(child, "w", encoding="utf-8") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            with progress("ingest", 2) as advance:
                advance("night [1]")
                advance("night [/2]")
        seen = io.BytesIO()
        try:
            while chunk := terminal.read(4096):
                seen.write(chunk)
        except OSError:  # the end of a terminal that nobody holds any more
            pass
    text = seen.getvalue().decode()
    assert "\x1b[" in text
    assert "2/2" in text
    assert "night [/2]" in text
