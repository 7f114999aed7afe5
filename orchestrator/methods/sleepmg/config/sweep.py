"""Sweep files of the method SleepMG: cross-validation over the subjects of one data set.

A file holds one configuration (``network``, ``adversary``, ``modulation``, ``training``), and says what
a search varies in it, which rows of an ablation change it, or both.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import MODALITIES, Modality, Slug, Text
from orchestrator.config.ranges import check_first_trials
from orchestrator.config.sweep_sections import Globs, Seed, SweepBase, cannot_share
from orchestrator.config.validation import Section, wrong_key
from orchestrator.methods.sleepmg.config.rows import SETTINGS_SECTIONS, Row
from orchestrator.methods.sleepmg.config.search import Search
from search_spaces.sleepmg import SECTIONS
from search_spaces.space import Params
from trainables.errors import SettingsError
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)

__all__ = ["KFold", "LeaveOneSubjectOut", "Row", "SleepMGSweep", "parameters"]


def _sorted_modalities(value: tuple[Modality, ...]) -> tuple[Modality, ...]:
    if len(set(value)) < max(1, len(value)):
        raise PydanticCustomError("modalities", "must name at least one modality, each once")
    return tuple(sorted(value, key=MODALITIES.index))


def _distinct_seeds(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < max(1, len(value)):
        raise PydanticCustomError("seeds", "must name at least one seed, each once")
    return value


class LeaveOneSubjectOut(Section):
    """One fold for each subject, who is the test subject of that fold."""

    kind: Literal["leave_one_subject_out"]
    """Written ``kind: leave_one_subject_out``."""
    n_validation: Annotated[int, Field(ge=1)] = 1
    """Further subjects of a fold who are not trained on: they stop training early and give the objective."""


class KFold(Section):
    """Subjects in groups, each of which is tested together."""

    kind: Literal["k_fold"]
    """Written ``kind: k_fold``."""
    n_folds: Annotated[int, Field(ge=2)]
    """Groups; at most as many as there are subjects."""
    n_validation: Annotated[int, Field(ge=1)] = 1
    """Further subjects of a fold who are not trained on: they stop training early and give the objective."""


class SleepMGSweep(SweepBase):
    """One configuration of SleepMG on the subjects of one data set, with a search, rows, or both."""

    method: Literal["sleepmg"]
    """Balance the modalities of a network that unlearns its subjects (SleepMG)."""
    seed: Seed = 1
    """Of the search and its trials; folds are made without chance."""
    dataset: Slug
    """Name of a data set in the store."""
    subjects: Annotated[Globs, Field(min_length=1)] = ("*",)
    """Globs over its subjects."""
    exclude: Globs = ()
    """Globs over subjects to leave out."""
    modalities: Annotated[tuple[Modality, ...], AfterValidator(_sorted_modalities)] = MODALITIES
    """Signals that the network sees, always in the order eeg, eog, emg, ecg."""
    scale: Literal["recording", "microvolts"] = "recording"
    """Divide each channel of a recording by its own spread about its own median, or leave it in microvolts."""
    folds: Annotated[LeaveOneSubjectOut | KFold, Field(discriminator="kind")] = LeaveOneSubjectOut(
        kind="leave_one_subject_out"
    )
    """Who is tested with whom."""
    network: NetworkSettings = NetworkSettings()
    """Extractors and heads."""
    adversary: AdversarySettings = AdversarySettings()
    """The subject discriminator behind the gradient reversal."""
    modulation: ModulationSettings = ModulationSettings()
    """Per-modality balance."""
    training: FoldSettings = FoldSettings()
    """How a fold is trained."""
    search: Search | None = None
    """What the search varies; without, only the rows are run."""
    refit: bool = False
    """After the search, train the chosen configuration once more on all subjects, with each seed of a trial; these
    networks, and not those of the folds, are the model that is kept."""
    rows: tuple[Row, ...] = ()
    """Fixed configurations to run before the search: controls, or an ablation."""
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_distinct_seeds)] = (1,)
    """Each row is run once with each of them."""
    figure: Text | None = Field(default=None, examples=["Baselines"])
    """Title of the figure of the rows' confusion matrices."""

    def settings(self) -> SleepMGSettings:
        """Return the configuration of the file's own sections."""
        return self._changed({})

    def settings_for(self, params: Params) -> SleepMGSettings:
        """Return the file's own configuration with sampled parameters put in.

        Parameters
        ----------
        params : mapping
            Values by the names of ``search_spaces.sleepmg.SPACE``; all others stay.

        Raises
        ------
        SettingsError
            No such parameter, or a value that is not allowed.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            if name not in SECTIONS:
                raise SettingsError(f"parameter is {name!r}; allowed: {', '.join(SECTIONS)}.")
            changes.setdefault(SECTIONS[name], {})[name] = value
        return self._changed(changes)

    @property
    def trial_seeds(self) -> tuple[int, ...]:
        """Seeds that each trial of the search trains with."""
        n = self.search.replicates if self.search else 1
        return tuple(range(self.seed, self.seed + n))

    def row_settings(self, row: Row) -> SleepMGSettings:
        """Return the file's own configuration with what a row sets otherwise put in, key by key."""
        return self._changed(row.overrides())

    def own_params(self) -> dict[str, Any]:
        """Return the value that each parameter has in the file's own sections."""
        return parameters(self.settings())

    def first_trials(self) -> tuple[dict[str, Any], ...]:
        """Return the enqueued trials, each with a value for every parameter that the search varies."""
        if self.search is None:
            return ()
        own = self.own_params()
        space = self.search.space.declared()
        trials = [own | trial.given() for trial in self.search.enqueue]
        return tuple({name: trial[name] for name in space} for trial in trials)

    def _changed(self, changes: Mapping[str, Mapping[str, Any]]) -> SleepMGSettings:
        sections = {
            name: dataclasses.replace(getattr(self, name), **changes.get(name, {}))
            for name in SETTINGS_SECTIONS
        }
        return SleepMGSettings(**sections)

    @model_validator(mode="after")
    def _something_to_run(self) -> "SleepMGSweep":
        if self.search is None and not self.rows:
            raise wrong_key("rows", "a file needs a search, rows, or both")
        if not self.rows and self.seeds != (1,):
            raise wrong_key("seeds", "has no effect without rows: trials of a search take 'seed'")
        return self

    @model_validator(mode="after")
    def _refit_has_an_effect(self) -> "SleepMGSweep":
        if self.refit and self.search is None:
            problem = (
                "has no effect without a search: rows keep the networks of their folds; remove it"
            )
            raise wrong_key("refit", problem)
        if self.refit and self.keep_models == "none":
            problem = "trains a model, but keep_models is 'none'; write 'best' or 'all' there, or remove refit"
            raise wrong_key("refit", problem)
        return self

    @model_validator(mode="after")
    def _own_configuration_is_possible(self) -> "SleepMGSweep":
        try:
            settings = self.settings()
        except SettingsError as error:
            if self.modulation.mod_d and not self.adversary.enabled:
                raise wrong_key("adversary", str(error), "enabled") from None
            raise wrong_key("network", str(error), "multimodal") from None
        if conflict := self._conflict(settings):
            raise wrong_key(*conflict)
        return self

    @model_validator(mode="after")
    def _rows_are_possible(self) -> "SleepMGSweep":
        names: dict[str, str] = {}
        for index, row in enumerate(self.rows):
            if row.name in names.values():
                raise wrong_key("rows", "is given twice", index, "name")
            if row.slug in names:
                problem = f"names its trials '{row.slug}', as '{names[row.slug]}' does; change one"
                raise wrong_key("rows", problem, index, "name")
            names[row.slug] = row.name
            try:
                conflict = self._conflict(self.row_settings(row))
            except SettingsError as error:
                raise wrong_key("rows", str(error), index) from None
            if conflict:
                raise wrong_key("rows", f"{conflict[0]} {conflict[1]}", index)
        return self

    def _conflict(self, settings: SleepMGSettings) -> tuple[str, str] | None:
        """Key of this file that a configuration cannot be run with, and why."""
        if settings.network.multimodal and len(self.modalities) == 1:
            return (
                "modalities",
                "has one modality, but network.multimodal is on and needs two or more to join; add a modality, or "
                "write 'multimodal: false' in network, and turn mod_f, mod_y and mod_d off",
            )
        if problem := cannot_share(settings.training.batch_size, self.workers):
            return "workers", problem
        return None

    @model_validator(mode="after")
    def _scheduler_hears_reports(self) -> "SleepMGSweep":
        if self.search and self.search.scheduler.level == "pass" and self.workers > 1:
            problem = "needs workers: 1; several workers report after each fold"
            raise wrong_key("search", problem, "scheduler", "level")
        return self

    @model_validator(mode="after")
    def _search_has_an_effect(self) -> "SleepMGSweep":
        if self.search is None:
            return self
        modulation = self.modulation
        balance = (
            "each of modulation.mod_f, mod_y and mod_d",
            modulation.mod_f or modulation.mod_y or modulation.mod_d,
        )
        switches = {
            "alpha_f": ("modulation.mod_f", modulation.mod_f),
            "alpha_y": ("modulation.mod_y", modulation.mod_y),
            "alpha_d": ("modulation.mod_d", modulation.mod_d),
            "grl_weight": ("adversary.enabled", self.adversary.enabled),
            "ratio": balance,
            "schedule": ("adversary.enabled", self.adversary.enabled),
            "apply_to": balance,
        }
        space = self.search.space.declared()
        for name in space:
            switch, is_on = switches.get(name, ("", True))
            if not is_on:
                problem = f"has no effect: {switch} is off; turn it on, or do not vary {name}"
                raise wrong_key("search", problem, "space", name)
        if "ratio" in space and len(self.modalities) == 2:
            problem = (
                "has no effect: between two modalities all ratios are the same; do not vary it"
            )
            raise wrong_key("search", problem, "space", "ratio")
        check_first_trials(self.first_trials(), space, SECTIONS)
        return self


def parameters(settings: SleepMGSettings) -> dict[str, Any]:
    """Return the value that each parameter of ``search_spaces.sleepmg.SPACE`` has in a configuration."""
    return {name: getattr(getattr(settings, section), name) for name, section in SECTIONS.items()}
