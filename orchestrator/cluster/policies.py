"""What an IAM policy allows beyond what it should."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError


def policy_findings(path: Path) -> list[str]:
    """Return what in a policy file is wider than it needs to be.

    Raises
    ------
    ConfigError
        It is no policy.
    """
    try:
        statements = json.loads(path.read_text(encoding="utf-8"))["Statement"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read as an IAM policy: {error}.") from error
    return [
        f"{path}: statement {statement.get('Sid', number)} {problem}"
        for number, statement in enumerate(_several(statements))
        if statement.get("Effect") == "Allow"
        for problem in _too_wide(statement)
    ]


def _too_wide(statement: dict[str, Any]) -> Iterator[str]:
    for key in ("NotAction", "NotResource", "NotPrincipal"):
        if key in statement:
            yield f"has {key}, which allows everything else; name what is allowed"
    actions = _several(statement.get("Action", []))
    for action in actions:
        if action == "*" or action.endswith(":*"):
            yield f"allows the action {action!r}; name the actions that are needed"
    for resource in _several(statement.get("Resource", [])):
        if resource == "*" and not all(action.startswith("ec2:Describe") for action in actions):
            yield "allows its actions on every resource; name them, or a condition on their tag"
        if resource.startswith("arn:aws:s3:::*") or resource == "arn:aws:s3:::":
            yield "reaches every bucket; name one"


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
