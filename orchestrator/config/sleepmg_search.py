"""What the search of a sleepmg sweep varies, and what it tries first."""

from dataclasses import replace
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.proposals import Scheduler
from orchestrator.config.ranges import LogUniformRange, UniformRange, check_inside, in_file
from orchestrator.config.sweep_sections import FilledSection, SearchBase
from orchestrator.config.validation import Section, wrong_key
from search_spaces.sleepmg import SECTIONS, SPACE
from search_spaces.space import Choice, LogUniform, Uniform
from trainables.settings import SleepMGSettings

Ratio = Literal["mean_pairwise", "mean_others"]
"""Options of ``ratio`` in ``search_spaces.sleepmg.SPACE``."""

Schedule = Literal["constant", "dann"]
"""Options of ``schedule`` there."""

ApplyTo = Literal["gradient", "update"]
"""Options of ``apply_to`` there."""

Searched = Uniform | LogUniform | Choice
"""What a parameter of ``search_spaces.sleepmg.SPACE`` may be."""

OptionT = TypeVar("OptionT", bound=str)


def _several(value: tuple[OptionT, ...]) -> tuple[OptionT, ...]:
    if len(set(value)) < max(2, len(value)):
        raise PydanticCustomError("options", "must name at least two options, each once")
    return value


class ChoiceRange(Section, Generic[OptionT]):
    """Options of a parameter, all equally likely to be drawn."""

    choice: Annotated[
        tuple[OptionT, ...],
        AfterValidator(_several),
        Field(json_schema_extra={"minItems": 2, "uniqueItems": True}),
    ]
    """At least two of the declared options, each once."""


class RatioRange(ChoiceRange[Ratio]):
    """Options of ``ratio``, all equally likely to be drawn."""


class ScheduleRange(ChoiceRange[Schedule]):
    """Options of ``schedule``, all equally likely to be drawn."""


class ApplyToRange(ChoiceRange[ApplyTo]):
    """Options of ``apply_to``, all equally likely to be drawn."""


class Space(FilledSection):
    """What the trials vary: exactly the parameters that are named here."""

    alpha_f: UniformRange | None = None
    """How strongly extractors are slowed."""
    alpha_y: UniformRange | None = None
    """How strongly classifier slices are slowed."""
    alpha_d: UniformRange | None = None
    """How strongly discriminator slices are slowed."""
    grl_weight: LogUniformRange | None = None
    """Lambda of the gradient reversal."""
    learning_rate: LogUniformRange | None = None
    """Step size."""
    dropout: UniformRange | None = None
    """Probability of every dropout layer."""
    ratio: RatioRange | None = None
    """How one modality's score is compared to those of the others."""
    schedule: ScheduleRange | None = None
    """How lambda goes over the training."""
    apply_to: ApplyToRange | None = None
    """What the coefficients scale."""

    @model_validator(mode="after")
    def _inside_the_declared_space(self) -> "Space":
        check_inside(self, SPACE, "search_spaces/sleepmg.py", _settings_with)
        return self

    def declared(self) -> dict[str, Searched]:
        """Return the parameters that vary in the terms of ``search_spaces``, by name."""
        ranges = {name: getattr(self, name) for name in SPACE}
        return {name: _declared(chosen) for name, chosen in ranges.items() if chosen is not None}


def _settings_with(name: str, value: Any) -> SleepMGSettings:
    own, section = SleepMGSettings(), SECTIONS[name]
    return replace(own, **{section: replace(getattr(own, section), **{name: value})})


def _declared(chosen: UniformRange | LogUniformRange | ChoiceRange[str]) -> Searched:
    match chosen:
        case UniformRange():
            return Uniform(*chosen.uniform)
        case LogUniformRange():
            return LogUniform(*chosen.log_uniform)
        case _:
            return Choice(chosen.choice)


class FirstTrial(FilledSection):
    """A configuration to try first: values of parameters that the search varies."""

    alpha_f: float | None = Field(default=None, examples=[0.2])
    """Of ``space.alpha_f``."""
    alpha_y: float | None = Field(default=None, examples=[0.2])
    """Of ``space.alpha_y``."""
    alpha_d: float | None = Field(default=None, examples=[0.2])
    """Of ``space.alpha_d``."""
    grl_weight: float | None = Field(default=None, examples=[0.01])
    """Of ``space.grl_weight``."""
    learning_rate: float | None = Field(default=None, examples=[1e-3])
    """Of ``space.learning_rate``."""
    dropout: float | None = Field(default=None, examples=[0.5])
    """Of ``space.dropout``."""
    ratio: Ratio | None = Field(default=None, examples=[get_args(Ratio)[0]])
    """Of ``space.ratio``."""
    schedule: Schedule | None = Field(default=None, examples=[get_args(Schedule)[0]])
    """Of ``space.schedule``."""
    apply_to: ApplyTo | None = Field(default=None, examples=[get_args(ApplyTo)[0]])
    """Of ``space.apply_to``."""

    def given(self) -> dict[str, Any]:
        """Return the parameters that are given, with their values."""
        return {name: getattr(self, name) for name in SPACE if name in self.model_fields_set}


class FoldScheduler(Scheduler):
    """One of Optuna's pruners, and how often it looks."""

    level: Literal["fold", "pass"] = "fold"
    """How often it looks: after each fold of a trial, or after each pass through the training epochs."""


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises; each trial is a whole cross-validation."""

    objective: Literal["validation"] = "validation"
    """Macro-F1 of the validation subjects of all folds, pooled; test subjects never choose."""
    scheduler: FoldScheduler = FoldScheduler()
    """Who ends trials that are too far behind, so that others get their time."""
    also: tuple[Literal["cost", "worst_subject"], ...] = Field(
        default=(), examples=[["worst_subject"]]
    )
    """Further objectives: epochs that go through the network in training (less is better); macro-F1 of the validation
    subject who fares worst (more is better). Trials are then ranked by dominance."""
    space: Space
    """What the trials vary."""
    enqueue: tuple[FirstTrial, ...] = ()
    """Values to try first, by parameter; one that is left out takes the value of the file's own section."""

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        space = self.space.declared()
        for index, trial in enumerate(self.enqueue):
            for name, value in trial.given().items():
                if name not in space:
                    problem = f"is not varied by this search; it varies {', '.join(space)}"
                elif not space[name].contains(value):
                    problem = f"lies outside space.{name} {in_file(space[name])}"
                else:
                    continue
                raise wrong_key("enqueue", problem, index, name)
        if len(self.enqueue) > self.n_trials:
            raise wrong_key("enqueue", f"has more trials than n_trials, {self.n_trials}")
        return self
