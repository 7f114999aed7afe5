"""No text file is read or written in whatever encoding the user's locale has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = ("orchestrator", "trainables", "search_spaces", "cluster", "benchmarks", "docs", "tests")


def texts_without_encoding(code: str) -> Iterator[int]:
    """Lines that open a text file, or the text of a process, and do not say its encoding."""
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call):
            continue
        if is_of_text(call) and "encoding" not in {keyword.arg for keyword in call.keywords}:
            yield call.lineno


def is_of_text(call: ast.Call) -> bool:
    is_method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    literals = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
    modes = {text for text in literals if set(text) <= set("rwaxbt+")}
    if name in {"open", "fdopen"}:
        # Something else's method of this name, as that of a store, has an argument that is no mode.
        is_file = not is_method or name == "fdopen" or not call.args or bool(modes)
        return is_file and not any("b" in mode for mode in modes)
    of_process = any(k.arg == "text" and ast.unparse(k.value) == "True" for k in call.keywords)
    return of_process or name in {"read_text", "write_text"}


@pytest.mark.heavy
def test_the_encoding_of_every_text_is_said(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{line}"
        for folder in CODE
        for path in sorted((root / folder).rglob("*.py"))
        for line in texts_without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert not found, f'say encoding="utf-8" in {found}'
