"""What a data-set file says of file names: globs, and expressions that find a part of a name."""

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Text


def _pattern(value: str) -> str:
    """Refuse globs that could leave the data folder or that ``Path.glob`` does not take."""
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        problem = "must be relative to the folder of the recordings, without '..'"
    elif any("**" in part and part != "**" for part in path.parts):
        problem = "'**' must stand alone between slashes, as in '**/*.edf'"
    elif path.name in {"", "**"}:
        problem = "must end in a file name, as in '**/*.edf'"
    else:
        return value
    raise PydanticCustomError("not_a_glob", "{problem}", {"problem": problem})


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise PydanticCustomError(
            "not_a_regex", "not a regular expression: {problem}", {"problem": str(error)}
        ) from None
    return value


Glob = Annotated[Text, AfterValidator(_pattern)]
Regex = Annotated[Text, AfterValidator(_regex)]


def found_in(expression: str, name: str) -> str | None:
    """Return group 1, or the whole match, of an expression in a file name; None without a match."""
    match = re.search(expression, name)
    if match is None:
        return None
    return match.group(1 if match.re.groups else 0) or None
