"""What the search of a selective sweep varies, and what it tries first."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.objectives import further_text, objectives_text
from orchestrator.config.ranges import (
    Range,
    beyond,
    check_enqueued,
    declared_in,
    in_file,
    valued,
    varied,
)
from orchestrator.config.sweep_sections import FilledSection, SearchBase, SpaceBase, rising
from orchestrator.config.validation import Section, wrong_key
from orchestrator.methods.selective.config.objectives import FURTHER, OBJECTIVES
from search_spaces.selective import (
    DEFAULTS,
    ENQUEUED_TAU_QUANTILES,
    PARAMETERS,
    SPACE,
    TAU_READINGS,
)
from search_spaces.space import Choice, Declared, Integer, LogUniform, Uniform

if TYPE_CHECKING:
    ObjectiveName = str
    FurtherName = str
else:
    ObjectiveName = Literal[tuple(OBJECTIVES)]
    FurtherName = Literal[tuple(FURTHER)]

_OTHERS = tuple(name for name in PARAMETERS if name not in TAU_READINGS)
"""What a search may vary besides tau."""


def _limits(name: str) -> tuple[float, float]:
    declared = SPACE[name]
    assert not isinstance(declared, Choice)
    return declared.low, declared.high


_TAUS, _RATES, _REWARDS = map(_limits, ("tau_quantile", "learning_rate", "tau_absolute"))
_BUDGETS, _STEPS = (tuple(map(int, _limits(name))) for name in ("tau_budget", "n_steps"))


def _tau_quantile(value: float) -> float:
    if not 0 <= value < 1:
        raise PydanticCustomError(
            "tau_range", "a tau quantile must lie in [0, 1): 0 keeps every batch, 1 would keep none"
        )
    return value


Budget = Annotated[int, Field(ge=_BUDGETS[0], le=_BUDGETS[1])]
Steps = Annotated[int, Field(ge=_STEPS[0], le=_STEPS[1])]
Reward = Annotated[float, Field(ge=_REWARDS[0], le=_REWARDS[1])]
TauQuantile = Annotated[float, AfterValidator(_tau_quantile)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TauRange(Section):
    """Range of the tau quantile, drawn uniformly."""

    uniform: Annotated[
        tuple[TauQuantile, TauQuantile], AfterValidator(rising), Field(examples=[[0, 0.9]])
    ]
    """``[low, high]`` inside [0, 1)."""

    def declared(self) -> Uniform:
        """Return it in the terms of ``search_spaces``."""
        return Uniform(*self.uniform)


class RateRange(FilledSection, Range):
    """Range of a learning rate, drawn uniformly on a log scale, or the one that all trials take."""

    log_uniform: (
        Annotated[tuple[Rate, Rate], AfterValidator(rising), Field(examples=[[1e-4, 1e-3]])] | None
    ) = None
    """``[low, high]`` inside the declared range."""
    fixed: Annotated[Rate, Field(examples=[1e-4])] | None = None
    """One rate for trials and arms, which is then not varied."""

    @model_validator(mode="after")
    def _either(self) -> "RateRange":
        if len({"log_uniform", "fixed"} & self.model_fields_set) != 1:
            raise PydanticCustomError("one_kind", "must have one key: log_uniform or fixed")
        given: list[tuple[tuple[str, *tuple[int, ...]], float | None]] = [(("fixed",), self.fixed)]
        given += [
            (("log_uniform", index), rate) for index, rate in enumerate(self.log_uniform or ())
        ]
        for where, rate in given:
            if rate is not None and not self.extend and not SPACE["learning_rate"].contains(rate):
                raise wrong_key(
                    where[0],
                    beyond(SPACE["learning_rate"], "search_spaces/selective.py"),
                    *where[1:],
                )
        return self

    def declared(self) -> LogUniform | None:
        """Return it in the terms of ``search_spaces``; None where one rate is fixed."""
        return LogUniform(*self.log_uniform) if self.log_uniform is not None else None


class BudgetRange(Section):
    """Range of a number of source batches, drawn uniformly."""

    integer: Annotated[tuple[Budget, Budget], AfterValidator(rising), Field(examples=[[5, 40]])]
    """``[low, high]``, whole numbers of at least 1."""

    def declared(self) -> Integer:
        """Return it in the terms of ``search_spaces``."""
        return Integer(*self.integer)


class RewardRange(Section):
    """Range of a reward, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[Reward, Reward], AfterValidator(rising), Field(examples=[[0.05, 0.5]])
    ]
    """``[low, high]`` in the unit of R = 1/EMD, which the table of an earlier sweep shows."""

    def declared(self) -> LogUniform:
        """Return it in the terms of ``search_spaces``."""
        return LogUniform(*self.log_uniform)


class StepsRange(Section):
    """Range of a number of steps, drawn uniformly."""

    integer: Annotated[tuple[Steps, Steps], AfterValidator(rising), Field(examples=[[20, 200]])]
    """``[low, high]``, whole numbers inside the declared range."""

    def declared(self) -> Integer:
        """Return it in the terms of ``search_spaces``."""
        return Integer(*self.integer)


def _optional(section: type[Section], name: str, **more: Any) -> tuple[Any, Any]:
    return section | None, Field(default=None, description=PARAMETERS[name].what, **more)


@varied(
    PARAMETERS,
    tau_quantile=_optional(TauRange, "tau_quantile", examples=[{"uniform": list(_TAUS)}]),
    tau_budget=_optional(BudgetRange, "tau_budget"),
    tau_absolute=_optional(RewardRange, "tau_absolute"),
    learning_rate=(
        RateRange,
        Field(default=RateRange(log_uniform=_RATES), description=PARAMETERS["learning_rate"].what),
    ),
    n_steps=_optional(StepsRange, "n_steps"),
)
class Space(SpaceBase):
    """What the trials vary; the declared space unless a key narrows it. Tau is varied in one reading."""

    if TYPE_CHECKING:
        learning_rate: RateRange = RateRange()
        n_steps: StepsRange | None = None

    @model_validator(mode="after")
    def _one_reading(self) -> "Space":
        given = [name for name in TAU_READINGS if name in self.model_fields_set]
        if len(given) > 1:
            raise wrong_key(given[1], f"varies tau, as {given[0]} does; keep one of the two")
        if not given:  # a default of the field would stand next to another reading
            declared = TauRange(uniform=_TAUS)
            object.__setattr__(self, "tau_quantile", declared)
        return self

    @property
    def tau_reading(self) -> str:
        """Name of the parameter that tau is."""
        return next(name for name in TAU_READINGS if getattr(self, name) is not None)

    def declared(self) -> dict[str, Declared]:
        """Return the space in the terms of ``search_spaces``, by parameter name."""
        return declared_in(self, (self.tau_reading, *_OTHERS))


@valued(
    PARAMETERS,
    examples={
        **{"tau_quantile": 0.5, "tau_budget": 10, "tau_absolute": 0.1},
        **{"learning_rate": 1e-3, "n_steps": 60},
    },
    descriptions={
        "learning_rate": "Of ``space.learning_rate``; ``default_learning_rate`` unless given.",
        "n_steps": "Of ``space.n_steps``; ``n_steps`` of the search unless given.",
    },
)
class FirstTrial(FilledSection):
    """A configuration to try first: values of parameters that the search varies."""

    def given(self) -> dict[str, Any]:
        """Return the parameters that are given, with their values."""
        return {name: getattr(self, name) for name in SPACE if name in self.model_fields_set}


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises."""

    further = FURTHER

    n_steps: Annotated[int, Field(ge=1)]
    """Optimiser updates of every arm, of the enqueued trials, and of all others unless ``space.n_steps`` varies them:
    then it lies inside that range. With equal steps, arms differ in their batches only."""
    objective: ObjectiveName = Field(
        default="source_val", description=objectives_text(OBJECTIVES.values())
    )
    also: tuple[FurtherName, ...] = Field(
        default=(), examples=[["transfer_margin"]], description=further_text(FURTHER.values())
    )
    space: Space = Space()
    """What the trials vary."""
    default_learning_rate: Rate = DEFAULTS["learning_rate"]
    """Learning rate of the enqueued trials and of the arms; inside ``space.learning_rate``."""
    enqueue_taus: tuple[float, ...] = Field(
        default_factory=lambda search: _enqueued_within(search["space"]),
        examples=[list(ENQUEUED_TAU_QUANTILES)],
    )
    """Values of tau to try first, in its reading and inside its range, at the default learning rate. Unless given,
    those of ``search_spaces.selective.ENQUEUED_TAU_QUANTILES`` that lie inside; none for another reading."""

    enqueue: tuple[FirstTrial, ...] = ()
    """Whole configurations to try after those of ``enqueue_taus``; each with a tau in the sweep's reading."""

    @model_validator(mode="after")
    def _one_learning_rate_where_it_is_fixed(self) -> "Search":
        fixed = self.space.learning_rate.fixed
        if fixed is None:
            return self
        if "default_learning_rate" not in self.model_fields_set:
            object.__setattr__(self, "default_learning_rate", fixed)
        elif self.default_learning_rate != fixed:
            problem = (
                f"is not the rate that space.learning_rate fixes, {fixed:g}; remove one of the two"
            )
            raise wrong_key("default_learning_rate", problem)
        return self

    @model_validator(mode="after")
    def _cost_differs(self) -> "Search":
        if "cost" in self.also and self.space.n_steps is None:
            problem = (
                "is the same for all trials unless space.n_steps varies it; do so, or remove it"
            )
            raise wrong_key("also", problem, self.also.index("cost"))
        return self

    @model_validator(mode="after")
    def _whole_first_trials_inside_the_space(self) -> "Search":
        space = self.space.declared()
        reading = self.space.tau_reading
        for index, trial in enumerate(self.enqueue):
            check_enqueued(index, trial.given(), space)
            if reading not in trial.model_fields_set:
                raise wrong_key("enqueue", f"needs a {reading}", index)
        n = len(self.first_trials())
        if self.enqueue and n > self.n_trials:
            problem = f"is less than the {n} trials of enqueue_taus and enqueue"
            raise wrong_key("n_trials", problem)
        return self

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        space = self.space.declared()
        rates = self.space.learning_rate.log_uniform
        if rates and not space["learning_rate"].contains(self.default_learning_rate):
            raise wrong_key(
                "default_learning_rate",
                f"the default learning rate {self.default_learning_rate:g} lies outside "
                f"space.learning_rate [{rates[0]:g}, {rates[1]:g}]; give one inside",
            )
        if "n_steps" in space and not space["n_steps"].contains(self.n_steps):
            limits = in_file(space["n_steps"])
            problem = f"lies outside space.n_steps {limits}; arms and enqueued trials take it"
            raise wrong_key("n_steps", problem)
        reading = self.space.tau_reading
        for index, tau in enumerate(self.enqueue_taus):
            if not space[reading].contains(tau):
                problem = f"lies outside space.{reading} {in_file(space[reading])}"
            elif tau in self.enqueue_taus[:index]:
                problem = "is given twice"
            else:
                continue
            raise wrong_key("enqueue_taus", problem, index)
        return self

    def own_params(self) -> dict[str, Any]:
        """Return the parameters besides tau with the values that a trial has unless they vary."""
        return {"learning_rate": self.default_learning_rate, "n_steps": self.n_steps}

    def first_trials(self) -> list[dict[str, Any]]:
        """Return the enqueued trials, each with a value for every parameter."""
        own = self.own_params()
        given = [{self.space.tau_reading: tau} for tau in self.enqueue_taus]
        given += [trial.given() for trial in self.enqueue]
        return [{name: (own | trial)[name] for name in self.space.declared()} for trial in given]


def _enqueued_within(space: Space) -> tuple[float, ...]:
    if space.tau_reading != "tau_quantile":
        return ()
    inside = space.declared()["tau_quantile"].contains
    return tuple(tau for tau in ENQUEUED_TAU_QUANTILES if inside(tau))
