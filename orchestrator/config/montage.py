"""Montages: which channels each modality has, by name. Nothing else in the program knows how many there are.

A montage is a file of its own where several data sets, or made-up recordings, share it; the ones in
``montages/`` are known by their names.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import MODALITIES, Modality, Slug, Text
from orchestrator.config.suggest import did_you_mean
from orchestrator.config.validation import Section, one_of, validate, wrong_key
from orchestrator.errors import ConfigError

_FOLDER = Path(__file__).with_name("montages")

BUNDLED = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""Names of the montages that come with the program."""


def _names(value: Any) -> Any:
    """Let a channel with one name be written without brackets."""
    return tuple(value) if isinstance(value, list) else (value,)


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise PydanticCustomError("no_name", "a channel needs at least one name")
    return names


Channel = Annotated[tuple[Text, ...], BeforeValidator(_names), AfterValidator(_not_empty)]
"""Names of one channel in order of preference; at least one."""

Channels = dict[Modality, Annotated[tuple[Channel, ...], Field(min_length=1)]]
"""Modality to its channels."""

BundledMontage = Annotated[str, AfterValidator(one_of(BUNDLED))]
"""Name of a montage that comes with the program."""


class MontageFile(Section):
    """The channels of each modality."""

    name: Slug
    """Name in data set files and on the command line."""
    title: Text
    """Name for people."""
    channels: Annotated[Channels, Field(min_length=1)]
    """Modality to channels; each channel is a name or a list of names in order of preference. No name may
    stand for two channels."""

    @field_validator("channels")
    @classmethod
    def _distinct(cls, value: Channels) -> Channels:
        owners: dict[str, tuple[Modality, int]] = {}
        for modality, channels in value.items():
            for index, names in enumerate(channels):
                for name in names:
                    owner = owners.setdefault(name.strip().casefold(), (modality, index))
                    if owner != (modality, index):
                        problem = f"the name {name!r} already stands for another channel"
                        raise wrong_key(modality, problem, index)
        return value

    @property
    def labels(self) -> Mapping[Modality, tuple[str, ...]]:
        """Modality to the preferred name of each channel, in the order of the epoch store."""
        return {
            modality: tuple(names[0] for names in self.channels[modality])
            for modality in MODALITIES
            if modality in self.channels
        }


def load_montage(name: str) -> MontageFile:
    """Return a bundled montage by its name, or read a montage file.

    Parameters
    ----------
    name : str
        One of `BUNDLED`, or the path of a YAML file: it ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ConfigError
        No such montage or file; or everything that is wrong with the file, each at file:line:column.
    """
    if name in BUNDLED:
        return bundled_montage(name)
    if Path(name).suffix in {".yaml", ".yml"}:
        return validate(MontageFile, name)
    raise ConfigError(
        f"montage {name!r} is neither bundled nor a YAML file.{did_you_mean(name, BUNDLED)} "
        f"Bundled: {', '.join(BUNDLED)}; a file's name must end in .yaml."
    )


@cache
def bundled_montage(name: str) -> MontageFile:
    """Return one of the montages `BUNDLED`."""
    return validate(MontageFile, _FOLDER / f"{name}.yaml")
