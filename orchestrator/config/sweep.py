"""A sweep file, of whichever method: read it, and write it as resolved.

``sweeps/`` holds examples. The module of ``orchestrator.config`` that is named like a method says what a
file of it may contain.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel, ValidationError

from orchestrator.config.defaults import as_meant, newest
from orchestrator.config.pretrain import PretrainSweep
from orchestrator.config.selective import SelectiveSweep, check_objective
from orchestrator.config.sleepmg import SleepMGSweep
from orchestrator.config.subjects import resolve_subjects
from orchestrator.config.validation import validated
from orchestrator.config.yaml_source import dump_yaml, load
from orchestrator.errors import ConfigError

__all__ = [
    "PretrainSweep",
    "SelectiveSweep",
    "SleepMGSweep",
    "SweepFile",
    "check_objective",
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


def load_sweep(path: str | Path, *, unnumbered: int | None = None) -> SweepFile:
    """Read a sweep file.

    Parameters
    ----------
    path : str or Path
    unnumbered : int, optional
        Number of the defaults that a file without ``defaults`` means; those of today unless given.

    Raises
    ------
    ConfigError
        Everything that is wrong with the file, each at file:line:column.
    """
    source = load(path)
    number = source.data.get("defaults", newest() if unnumbered is None else unnumbered)
    if isinstance(number, int) and number < newest():  # any other value is for the model to refuse
        meant = as_meant(source.data, number) | {"defaults": number}
        source = replace(source, data=meant)
    return validated(AnySweep, source).root


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
