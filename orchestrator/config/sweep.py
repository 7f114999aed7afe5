"""A sweep file, of whichever method: read it, and write it as resolved.

``sweeps/`` holds examples. What a file of a method may contain, the ``config`` of that method says.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, RootModel, ValidationError

from orchestrator.config.defaults import as_meant, newest
from orchestrator.config.methods import METHODS, room
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.config.validation import validated
from orchestrator.config.yaml_source import dump_yaml, source_of
from orchestrator.errors import ConfigError

SWEEP_CLASSES: Mapping[str, type[SweepBase]] = {
    method: room(method, "config").SWEEP for method in METHODS
}
"""Model of a sweep file by method."""

if TYPE_CHECKING:
    _OfAnyMethod = SweepBase
else:
    _OfAnyMethod = Annotated[reduce(or_, SWEEP_CLASSES.values()), Field(discriminator="method")]


class AnySweep(RootModel[_OfAnyMethod]):
    """A sweep file, of whichever method: ``method`` says which."""


def load_sweep(
    given: str | Path | Mapping[str, Any], *, unnumbered: int | None = None
) -> SweepBase:
    """Read a sweep file, or a mapping with the same keys.

    Parameters
    ----------
    given : str, Path or mapping
    unnumbered : int, optional
        Number of the defaults that a file without ``defaults`` means; those of today unless given.

    Raises
    ------
    ConfigError
        Everything that is wrong with it, in a file each at file:line:column.
    """
    source = source_of(given)
    number = source.data.get("defaults", newest() if unnumbered is None else unnumbered)
    if isinstance(number, int) and number < newest():  # any other value is for the model to refuse
        meant = as_meant(source.data, number) | {"defaults": number}
        source = replace(source, data=meant)
    return validated(AnySweep, source).root


def renamed(sweep: SweepBase, name: str) -> SweepBase:
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


def dump(sweep: SweepBase) -> str:
    """Write a sweep as YAML with every default filled in; equal sweeps give equal bytes."""
    return dump_yaml(sweep.resolved())
