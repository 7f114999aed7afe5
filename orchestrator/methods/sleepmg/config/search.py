"""What the search of a sleepmg sweep varies, and what it tries first."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.objectives import further_text
from orchestrator.config.proposals import Scheduler
from orchestrator.config.ranges import check_enqueued, check_inside, declared_in, valued, varied
from orchestrator.config.sweep_sections import FilledSection, SearchBase, SpaceBase
from orchestrator.config.validation import wrong_key
from orchestrator.methods.sleepmg.config.objectives import FURTHER
from search_spaces.sleepmg import DEFAULTS, PARAMETERS, SECTIONS, SPACE
from search_spaces.space import Declared
from trainables.settings import SleepMGSettings

if TYPE_CHECKING:
    FurtherName = str
else:
    FurtherName = Literal[tuple(FURTHER)]


@varied(PARAMETERS)
class Space(SpaceBase):
    """What the trials vary: exactly the parameters that are named here."""

    @model_validator(mode="after")
    def _inside_the_declared_space(self) -> "Space":
        check_inside(self, SPACE, "search_spaces/sleepmg.py", _settings_with)
        return self

    def declared(self) -> dict[str, Declared]:
        """Return the parameters that vary in the terms of ``search_spaces``, by name."""
        return declared_in(self, SPACE)


def _settings_with(name: str, value: Any) -> SleepMGSettings:
    own, section = SleepMGSettings(), SECTIONS[name]
    return replace(own, **{section: replace(getattr(own, section), **{name: value})})


@valued(PARAMETERS, examples={**DEFAULTS, "learning_rate": 1e-3, "apply_to": "gradient"})
class FirstTrial(FilledSection):
    """A configuration to try first: values of parameters that the search varies."""

    def given(self) -> dict[str, Any]:
        """Return the parameters that are given, with their values."""
        return {name: getattr(self, name) for name in SPACE if name in self.model_fields_set}


class FoldScheduler(Scheduler):
    """One of Optuna's pruners, and how often it looks."""

    level: Literal["fold", "pass"] = "fold"
    """How often it looks: after each fold of a trial, or after each pass through the training epochs."""


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises; each trial is a whole cross-validation."""

    further = FURTHER
    objective: Literal["validation"] = "validation"
    """Macro-F1 of the validation subjects of all folds, pooled; test subjects never choose."""
    scheduler: FoldScheduler = FoldScheduler()
    """Who ends trials that are too far behind, so that others get their time."""
    also: tuple[FurtherName, ...] = Field(
        default=(), examples=[["worst_subject"]], description=further_text(FURTHER.values())
    )
    space: Space
    """What the trials vary."""
    enqueue: tuple[FirstTrial, ...] = ()
    """Values to try first, by parameter; one that is left out takes the value of the file's own section."""

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        for index, trial in enumerate(self.enqueue):
            check_enqueued(index, trial.given(), self.space.declared())
        if len(self.enqueue) > self.n_trials:
            raise wrong_key("enqueue", f"has more trials than n_trials, {self.n_trials}")
        return self
