"""What a machine of Amazon's does when it boots, before anybody reaches it."""

from datetime import datetime
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from math import ceil


def off_at(ends_at: datetime) -> str:
    """Return a shell command that turns a machine off in time, in case that nobody else does.

    Two minutes late: whoever does otherwise terminates all machines at once.
    """
    seconds = ceil(ends_at.timestamp()) + 120
    return f"shutdown -h +$(( ({seconds} - $(date +%s) + 59) / 60 ))"


def user_data(ends_at: datetime, others: str | None) -> str:
    """Return the user data of a machine that turns itself off in time, whether it is reached or not.

    Parameters
    ----------
    ends_at : datetime
    others : str or None
        User data of the file: a script, ``#cloud-config``, or whatever else cloud-init takes by its first line.
    """
    script = f"#!/bin/sh\n{off_at(ends_at)}\n"
    if others is None:
        return script
    parts = MIMEMultipart(boundary="sleep-orchestrator")  # given: Ray compares what it is sent
    for text in (script, others):
        parts.attach(MIMEText(text, "plain", "utf-8"))  # cloud-init looks at the first line then
    return parts.as_string()
