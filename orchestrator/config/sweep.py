"""A sweep file, of whichever method: read it, write it as resolved, and say what differs between two.

``sweeps/`` holds examples. The module of ``orchestrator.config`` that is named like a method says what a
file of it may contain.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, RootModel, ValidationError

from orchestrator.config.pretrain import PretrainSweep
from orchestrator.config.selective import SelectiveSweep, check_objective
from orchestrator.config.sleepmg import SleepMGSweep
from orchestrator.config.subjects import resolve_subjects
from orchestrator.config.validation import validate
from orchestrator.config.yaml_source import dump_yaml
from orchestrator.errors import ConfigError

__all__ = [
    "PretrainSweep",
    "SelectiveSweep",
    "SleepMGSweep",
    "SweepFile",
    "check_objective",
    "diff",
    "dump",
    "load_sweep",
    "renamed",
    "resolve_subjects",
]

SweepFile = SelectiveSweep | SleepMGSweep | PretrainSweep
"""A sweep file of any method; ``method`` says which."""


SWEEP_CLASSES: Mapping[str, type[SelectiveSweep | SleepMGSweep | PretrainSweep]] = {
    "selective": SelectiveSweep,
    "sleepmg": SleepMGSweep,
    "pretrain": PretrainSweep,
}
"""By method."""


class AnySweep(RootModel[Annotated[SweepFile, Field(discriminator="method")]]):
    """A sweep file, of whichever method: ``method`` says which."""


def load_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file.

    Raises
    ------
    ConfigError
        Everything that is wrong with the file, each at file:line:column.
    """
    return validate(AnySweep, path).root


def renamed(sweep: SweepFile, name: str) -> SweepFile:
    """Return the same sweep under another name.

    Raises
    ------
    ConfigError
        No name that a file may have.
    """
    try:
        return type(sweep).model_validate({**sweep.resolved(), "name": name})
    except ValidationError as error:
        raise ConfigError(f"--as {name!r}: {error.errors()[0]['msg']}.") from None


def dump(sweep: SweepFile) -> str:
    """Write a sweep as YAML with every default filled in; equal sweeps give equal bytes."""
    return dump_yaml(sweep.resolved())


def diff(before: SweepFile, after: SweepFile) -> list[str]:
    """List what differs between two sweeps, in the order of the file.

    Returns
    -------
    list of str
        ``search.n_trials: 12 -> 24`` for each key that differs, ``absent`` for one that is not there; empty for
        equal sweeps. Who is told of a sweep is no part of it.
    """
    old, new = (
        _flat({k: v for k, v in sweep.resolved().items() if k != "notify"})
        for sweep in (before, after)
    )
    return [
        f"{key}: {_plain(old.get(key))} -> {_plain(new.get(key))}"
        for key in {**new, **old}
        if old.get(key) != new.get(key)
    ]


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings, and lists of named ones, to dotted key paths; other lists are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}.")
        elif isinstance(value, list) and value and _is_named(value[0]):
            flat[path] = [item["name"] for item in value]
            for item in value:
                flat |= _flat(
                    {k: v for k, v in item.items() if k != "name"}, f"{path}.{item['name']}."
                )
        else:
            flat[path] = value
    return flat


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and "name" in value


def _plain(value: object) -> str:
    match value:
        case None:
            return "absent"
        case bool():
            return str(value).lower()
        case dict():
            return f"{{{', '.join(f'{key}: {_plain(inner)}' for key, inner in value.items())}}}"
        case list():
            return ", ".join(map(_plain, value))
    return str(value)
