"""User data of Amazon's machines: they turn themselves off, whether anybody reaches them or not."""

import email
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.cluster.boot import user_data


def minutes(script: str, folder: Path) -> int:
    """Run a script with a `shutdown` that only says when it would."""
    stand_in = folder / "shutdown"
    stand_in.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    said = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    option, when = said.stdout.split()
    assert option == "-h"
    return int(when)


def test_a_machine_turns_itself_off_two_minutes_late(tmp_path: Path) -> None:
    script = user_data(datetime.now(UTC) + timedelta(minutes=30), None)
    assert script.startswith("#!/bin/sh\n")
    assert minutes(script, tmp_path) in (32, 33)


def test_what_the_file_has_for_the_first_boot_is_kept(tmp_path: Path) -> None:
    ends_at = datetime.now(UTC) + timedelta(minutes=30)
    own = "#cloud-config\npackages: [rsync]\n"
    given = user_data(ends_at, own)
    assert given == user_data(ends_at, own)  # Ray replaces a head that is sent something else
    first, second = (
        part for part in email.message_from_string(given).walk() if not part.is_multipart()
    )
    texts = [bytes(part.get_payload(decode=True)).decode() for part in (first, second)]
    assert minutes(texts[0], tmp_path) in (32, 33)
    assert texts[1] == own
    assert {first.get_content_type(), second.get_content_type()} == {"text/plain"}
