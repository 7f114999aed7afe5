"""Rows of a sleepmg sweep: fixed configurations, written as what differs from the file's own sections."""

import dataclasses
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Text
from orchestrator.config.sweep_sections import FilledSection
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)

SETTINGS_SECTIONS = tuple(field.name for field in dataclasses.fields(SleepMGSettings))
"""Sections of the file that make up a ``SleepMGSettings``."""


class Overrides(FilledSection):
    """Some keys of one section; those that are left out keep the value of the file's own section."""

    settings_class: ClassVar[type[Any]]
    """The section as a whole."""

    @model_validator(mode="after")
    def _values_are_possible(self) -> "Overrides":
        self.settings_class(**self.given())
        return self

    def given(self) -> dict[str, Any]:
        """Return the keys that are given, with their values."""
        return {key: getattr(self, key) for key in self.model_fields_set}


OverridesT = TypeVar("OverridesT", bound=Overrides)


def _of(settings_class: type[Any]) -> Callable[[type[OverridesT]], type[OverridesT]]:
    """Give a class of overrides every field of a dataclass of settings, so that none can be forgotten."""
    hints = typing.get_type_hints(settings_class)
    fields: dict[str, Any] = {
        field.name: (hints[field.name] | None, None) for field in dataclasses.fields(settings_class)
    }

    def decorate(cls: type[OverridesT]) -> type[OverridesT]:
        cls.settings_class = settings_class
        return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)

    return decorate


@_of(NetworkSettings)
class NetworkOverrides(Overrides):
    """Keys of ``network``."""


@_of(AdversarySettings)
class AdversaryOverrides(Overrides):
    """Keys of ``adversary``."""


@_of(ModulationSettings)
class ModulationOverrides(Overrides):
    """Keys of ``modulation``."""


@_of(FoldSettings)
class TrainingOverrides(Overrides):
    """Keys of ``training``."""


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _with_a_slug(name: str) -> str:
    if not _slug(name):
        raise PydanticCustomError("no_slug", "needs a letter a-z or a digit: it names a trial")
    return name


class Row(FilledSection):
    """A named fixed configuration: a control, or one row of an ablation."""

    name: Annotated[Text, AfterValidator(_with_a_slug)]
    """Name in tables and figures."""
    ours: Text | None = Field(default=None, examples=["the paper names no such row"])
    """Why this row, or how it is read, is a reconstruction; captions show it."""
    network: NetworkOverrides | None = None
    """Keys of ``network`` that this row sets otherwise."""
    adversary: AdversaryOverrides | None = None
    """Keys of ``adversary`` that this row sets otherwise."""
    modulation: ModulationOverrides | None = None
    """Keys of ``modulation`` that this row sets otherwise."""
    training: TrainingOverrides | None = None
    """Keys of ``training`` that this row sets otherwise."""

    @property
    def slug(self) -> str:
        """The name in a-z, 0-9 and '-', for trial ids and file names: ``featurenet-m`` for ``FeatureNet+M``."""
        return _slug(self.name)

    def overrides(self) -> dict[str, dict[str, Any]]:
        """Return what this row sets otherwise: by section, then by key."""
        sections = {name: getattr(self, name) for name in SETTINGS_SECTIONS}
        return {name: section.given() for name, section in sections.items() if section is not None}
