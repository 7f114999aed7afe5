"""Sweep files of the method pretrain: the source encoder of SelectiveFinetuning, trained in different ways.

No target is named: what a trial is worth is measured on source subjects that are held out.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.fields import Modality, Slug
from orchestrator.config.objectives import Objective
from orchestrator.config.proposals import NONE, Scheduler
from orchestrator.config.ranges import (
    check_enqueued,
    check_first_trials,
    check_inside,
    declared_in,
    varied,
    written,
)
from orchestrator.config.sweep_sections import (
    Globs,
    SearchBase,
    Seed,
    SpaceBase,
    SweepBase,
)
from orchestrator.config.validation import Section, wrong_key
from search_spaces.pretrain import PARAMETERS, SECTIONS, SPACE
from search_spaces.space import Declared, Integer
from trainables.errors import SettingsError
from trainables.settings import EncoderSettings, PretrainSettings

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(SPACE)]
"""A parameter that a search may vary."""


class Source(Section):
    """The labelled side: subjects to learn from."""

    dataset: Slug
    """Name of a data set in the store."""
    subjects: Annotated[Globs, Field(min_length=1)] = ("*",)
    """Globs over its subjects."""
    exclude: Globs = ()
    """Globs over subjects to leave out, for example those of the target."""
    validation: Annotated[Globs, Field(min_length=1)]
    """Globs over source subjects that are never trained on. The first (sorted) stops pretraining
    early, the others give the objective ``source_val``."""


SOURCE_VAL = Objective(
    what="macro-F1 on held-out source subjects",
    reads="held-out labels",
)
"""What a selective sweep may go by, too."""
OBJECTIVES: Mapping[str, Objective] = {"source_val": SOURCE_VAL}
FURTHER: Mapping[str, Objective] = {}


@varied(PARAMETERS)
class Space(SpaceBase):
    """What the trials vary: exactly the parameters that are named here."""

    @model_validator(mode="after")
    def _inside_the_declared_space(self) -> "Space":
        check_inside(self, SPACE, "search_spaces/pretrain.py", _settings_with)
        return self

    @classmethod
    def published(cls) -> "Space":
        """Return the space of a file that names none: all of the declared one."""
        return cls.model_validate({name: written(declared) for name, declared in SPACE.items()})

    def declared(self) -> dict[str, Declared]:
        """Return the parameters that vary in the terms of ``search_spaces``, by name."""
        return declared_in(self, SPACE)


def _settings_with(name: str, value: float) -> EncoderSettings | PretrainSettings:
    changed: dict[str, Any] = {name: value}
    if SECTIONS[name] == "encoder":
        return EncoderSettings(**changed)
    return PretrainSettings(**changed)


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises; each trial pretrains one encoder."""

    max_concurrent: Annotated[int, Field(ge=1)] = 1
    """Trials that run at the same time; each takes two cores, because pretraining has two threads wherever it runs.
    With more than one, a proposal may depend on which trial ended first."""
    objective: Literal["source_val"] = "source_val"
    """Macro-F1 on the held-out source subjects, without the one that stops pretraining early."""
    also: tuple[str, ...] = ()
    """Nothing but an empty list: trials are ranked by the objective alone."""
    replicates: Annotated[int, Field(ge=1)] = 1
    """Nothing but 1: each trial is one encoder, pretrained with the seed of the sweep."""
    scheduler: Scheduler = Scheduler()
    """Nothing but ``none``: a trial trains until its early stop."""
    space: Space = Field(
        default_factory=Space.published, examples=[{"dropout": {"uniform": [0.0, 0.8]}}]
    )
    """What the trials vary; without this key all four parameters, each over its whole declared range."""
    enqueue: tuple[dict[Name, float], ...] = Field(default=(), examples=[[{"learning_rate": 1e-3}]])
    """Values to try first, by parameter; one that is left out takes the value of the file's own section."""

    @model_validator(mode="after")
    def _one_whole_pretraining_for_each_trial(self) -> "Search":
        if self.also:
            raise wrong_key("also", "must be empty: trials are ranked by the objective alone")
        if self.replicates != 1:
            raise wrong_key(
                "replicates",
                "must be 1: a selective sweep pretrains its encoder with one seed; to see what a seed changes, run the "
                "sweep under another name with another 'seed'",
            )
        if self.scheduler.name != NONE:
            raise wrong_key(
                "scheduler", "must be none: a trial trains until its early stop", "name"
            )
        return self

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        for index, trial in enumerate(self.enqueue):
            check_enqueued(index, trial, self.space.declared())
        if len(self.enqueue) > self.n_trials:
            raise wrong_key("enqueue", f"has more trials than n_trials, {self.n_trials}")
        return self


class PretrainSweep(SweepBase):
    """One search over the ways to pretrain a source encoder."""

    method: Literal["pretrain"]
    """Pretrain the source encoder of SelectiveFinetuning in different ways."""
    seed: Seed = 1
    """Of every pretraining and of the search."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Nothing but 1: an encoder is pretrained in one process, as a selective sweep does it."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """Nothing but 0: an encoder is pretrained on CPUs."""
    modality: Modality = "eeg"
    """The signal that the encoder sees."""
    source: Source
    """The labelled side; there is no other."""
    encoder: EncoderSettings = EncoderSettings()
    """The network, but for what the search varies in it."""
    pretrain: PretrainSettings = PretrainSettings()
    """How it is trained, but for what the search varies in it."""
    search: Search
    """What the search varies, how long it looks, and what it maximises."""

    def settings_for(self, params: Mapping[str, float]) -> tuple[EncoderSettings, PretrainSettings]:
        """Return the file's own settings with sampled parameters put in.

        Parameters
        ----------
        params : mapping of str to float
            Values by the names of ``search_spaces.pretrain.SPACE``; all others stay.

        Raises
        ------
        SettingsError
            No such parameter, or a value that is not allowed.
        """
        changes: dict[str, dict[str, Any]] = {"encoder": {}, "pretrain": {}}
        for name, value in params.items():
            if name not in SECTIONS:
                raise SettingsError(f"parameter is {name!r}; allowed: {', '.join(SECTIONS)}.")
            changes[SECTIONS[name]][name] = _as_declared(name, value)
        return (
            dataclasses.replace(self.encoder, **changes["encoder"]),
            dataclasses.replace(self.pretrain, **changes["pretrain"]),
        )

    def own_params(self) -> dict[str, float]:
        """Return the value that each parameter has in the file's own sections."""
        return parameters(self.encoder, self.pretrain)

    def first_trials(self) -> list[dict[str, float]]:
        """Return the enqueued trials, each with a value for every parameter that the search varies."""
        own = self.own_params()
        space = self.search.space.declared()
        trials = [own | dict[str, float](trial.items()) for trial in self.search.enqueue]
        return [{name: _as_declared(name, trial[name]) for name in space} for trial in trials]

    @model_validator(mode="after")
    def _trains_as_pretraining_does_elsewhere(self) -> "PretrainSweep":
        if self.workers != 1:
            raise wrong_key("workers", f"must be 1: {_ONE_PROCESS}")
        if self.gpus_per_worker:
            raise wrong_key("gpus_per_worker", f"must be 0: {_ONE_PROCESS}")
        return self

    @model_validator(mode="after")
    def _first_trials_are_whole_and_differ(self) -> "PretrainSweep":
        space = self.search.space.declared()
        check_first_trials(self.first_trials(), space, SECTIONS)
        return self


_ONE_PROCESS = (
    "a source encoder is pretrained in one process on CPUs, as a selective sweep does it, which then finds it in the "
    "store; for more trials at a time raise search.max_concurrent"
)


def parameters(encoder: EncoderSettings, pretrain: PretrainSettings) -> dict[str, float]:
    """Return the value that each parameter of ``search_spaces.pretrain.SPACE`` has in some settings."""
    sections = {"encoder": encoder, "pretrain": pretrain}
    return {name: getattr(sections[section], name) for name, section in SECTIONS.items()}


def _as_declared(name: str, value: float) -> float:
    """Return a count as a whole number, whether a file wrote 64 or 64.0: an encoder's id tells them apart."""
    return int(value) if isinstance(SPACE[name], Integer) else float(value)


SWEEP = PretrainSweep
