"""The example files: data sets, sweeps and clusters, to be copied and changed.

They lie in the repository, and a wheel brings them inside the package (``pyproject.toml``).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.errors import ConfigError, SetupError
from orchestrator.store.store import Store

FOLDERS = ("datasets", "sweeps", "cluster")
"""Their folders, all files of which are examples or what these name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenExamples:
    """What :func:`write_examples` has done."""

    folder: str
    """Absolute path."""
    written: tuple[str, ...]
    """Relative to it, sorted."""
    n_there: int
    """Files that were there already, with the same content."""


def example_file(name: str) -> Path:
    """Return an example file by its path in the repository, such as ``sweeps/tau.yaml``."""
    return _root() / name


def example_files() -> Mapping[str, Path]:
    """Return all example files by their paths in the repository, sorted.

    In a repository, that is whatever lies in the three folders, files of the user's own included; without hidden files
    and what Python has compiled.
    """
    root = _root()
    files = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*")))
    return {
        path.relative_to(root).as_posix(): path
        for path in files
        if path.is_file() and path.parent.name != "__pycache__" and not path.name.startswith(".")
    }


def write_examples(folder: str) -> WrittenExamples:
    """Write all example files into a folder, each under its path in the repository.

    Parameters
    ----------
    folder : str
        A local one, made if it is missing. Files that are there with the same content are left alone.

    Raises
    ------
    ConfigError
        `folder` is no local one, or has other files of these names. Nothing was written then.
    SetupError
        It is a file, or cannot be written to. The same call goes on with what is missing.
    """
    if "://" in folder:
        raise ConfigError(
            f"{folder} is no folder of this machine, from which alone the examples are used. Name one."
        )
    target = Path(folder).expanduser().resolve()
    contents = {name: path.read_bytes() for name, path in example_files().items()}
    missing = _missing_in(target, contents)
    if missing:
        store = Store.open(str(target), writable=True)
        for name in missing:
            store.write_bytes(name, contents[name])
    return WrittenExamples(
        folder=str(target), written=missing, n_there=len(contents) - len(missing)
    )


def _missing_in(target: Path, contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return which files a folder lacks; refuse a folder that has others in their places."""
    missing, others = [], []
    try:
        for name, content in contents.items():
            if other := _in_the_way(target, name, content):
                others.append(other)
            elif not (target / name).exists():
                missing.append(name)
    except OSError as error:
        raise SetupError(
            f"cannot use {target}: {error.strerror or error}. Give a folder you may write to."
        ) from error
    if others:
        raise ConfigError(
            f"{target} has other files than the examples of these names, changed copies perhaps: "
            f"{', '.join(dict.fromkeys(others))}. Nothing was written. Name another folder, or move these away."
        )
    return tuple(missing)


def _in_the_way(target: Path, name: str, content: bytes) -> str | None:
    """Return what stands at the place of a file, or of a folder above it, and is not to be replaced."""
    for folder in reversed(PurePosixPath(name).parents[:-1]):
        if os.path.lexists(target / folder) and not (target / folder).is_dir():
            return str(folder)
    path = target / name
    if os.path.lexists(path) and not (path.is_file() and path.read_bytes() == content):
        return name
    return None


def _root() -> Path:
    """Return the folder of the examples: in the package where it was installed from a wheel, else beside it."""
    package = Path(__file__).parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent
