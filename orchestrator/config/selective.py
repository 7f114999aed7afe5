"""Sweep files of the method SelectiveFinetuning: finetune on the source batches whose reward lies above tau.

Which subjects exist is known only when the store is read; what depends on them is checked by
``check_objective``.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Modality, Slug
from orchestrator.config.proposals import NONE
from orchestrator.config.subjects import listed, resolve_subjects
from orchestrator.config.sweep_sections import (
    FilledSection,
    Globs,
    SearchBase,
    Seed,
    SweepBase,
    cannot_share,
    rising,
)
from orchestrator.config.validation import Section, one_of, wrong_key
from orchestrator.errors import ConfigError
from search_spaces.selective import DEFAULTS, ENQUEUED_TAU_QUANTILES, SPACE, TAU_READINGS
from search_spaces.space import Integer, LogUniform, Uniform
from trainables.settings import FEATURE_LAYERS, EncoderSettings, PretrainSettings

Arm = Literal["no_adapt", "all_source", "random"]
"""A fixed control next to the trials: no finetuning; every batch; a random half of them."""

ARMS: tuple[Arm, ...] = get_args(Arm)
"""All arms, in the order in which they run."""

_DECLARED_TAU, _DECLARED_RATE = SPACE["tau_quantile"], SPACE["learning_rate"]
_DECLARED_REWARD, _MOST_BATCHES = SPACE["tau_absolute"], int(SPACE["tau_budget"].high)
_FEWEST_STEPS, _MOST_STEPS = int(SPACE["n_steps"].low), int(SPACE["n_steps"].high)


def _tau_quantile(value: float) -> float:
    if not 0 <= value < 1:
        raise PydanticCustomError(
            "tau_range", "a tau quantile must lie in [0, 1): 0 keeps every batch, 1 would keep none"
        )
    return value


def _rate(value: float) -> float:
    if not _DECLARED_RATE.contains(value):
        raise PydanticCustomError(
            "rate_range",
            "must lie in [{low}, {high}], the range of search_spaces/selective.py",
            {"low": _DECLARED_RATE.low, "high": _DECLARED_RATE.high},
        )
    return value


def _sorted_arms(value: tuple[Arm, ...]) -> tuple[Arm, ...]:
    if len(set(value)) < len(value):
        raise PydanticCustomError("arms", "must name each arm once")
    return tuple(sorted(value, key=ARMS.index))


Budget = Annotated[int, Field(ge=1, le=_MOST_BATCHES)]
Steps = Annotated[int, Field(ge=_FEWEST_STEPS, le=_MOST_STEPS)]
Reward = Annotated[float, Field(ge=_DECLARED_REWARD.low, le=_DECLARED_REWARD.high)]
TauQuantile = Annotated[float, AfterValidator(_tau_quantile)]
Rate = Annotated[float, AfterValidator(_rate)]


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


class Target(Section):
    """The side to adapt to; its stages are read for the final table only."""

    dataset: Slug
    """Name of a data set in the store; may be that of the source."""
    subjects: Annotated[Globs, Field(min_length=1)] = ("*",)
    """Globs over its subjects."""
    exclude: Globs = ()
    """Globs over subjects to leave out."""
    validation: Globs = ()
    """Globs over target subjects whose stages give the objective ``oracle_target_val``."""


class Score(Section):
    """How far a source batch is from the target: reward R = 1/EMD."""

    layer: Annotated[str, AfterValidator(one_of(FEATURE_LAYERS))] = "afr_gap"
    """Features of an epoch: AFR output averaged over time (30-d), the same flattened (2400-d), or
    both branches averaged over time (128-d)."""
    metric: Literal["euclidean", "sqeuclidean"] = "euclidean"
    """Ground cost between two epochs."""
    standardise: Literal["source", "none"] = "source"
    """Divide each feature by its spread over the source epochs, or use it as it is."""
    aggregate: Literal["mean", "median", "min"] = "mean"
    """Makes one distance of those to every target batch."""


class TauRange(Section):
    """Range of the tau quantile, drawn uniformly."""

    uniform: Annotated[
        tuple[TauQuantile, TauQuantile], AfterValidator(rising), Field(examples=[[0, 0.9]])
    ]
    """``[low, high]`` inside [0, 1)."""


class RateRange(Section):
    """Range of a learning rate, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[Rate, Rate], AfterValidator(rising), Field(examples=[[1e-4, 1e-3]])
    ]
    """``[low, high]`` inside the declared range."""


class BudgetRange(Section):
    """Range of a number of source batches, drawn uniformly."""

    integer: Annotated[tuple[Budget, Budget], AfterValidator(rising), Field(examples=[[5, 40]])]
    """``[low, high]``, whole numbers of at least 1."""


class RewardRange(Section):
    """Range of a reward, drawn uniformly on a log scale."""

    log_uniform: Annotated[
        tuple[Reward, Reward], AfterValidator(rising), Field(examples=[[0.05, 0.5]])
    ]
    """``[low, high]`` in the unit of R = 1/EMD, which the table of an earlier sweep shows."""


class StepsRange(Section):
    """Range of a number of steps, drawn uniformly."""

    integer: Annotated[tuple[Steps, Steps], AfterValidator(rising), Field(examples=[[20, 200]])]
    """``[low, high]``, whole numbers inside the declared range."""


class Space(FilledSection):
    """What the trials vary; the declared space unless a key narrows it. Tau is varied in one reading."""

    tau_quantile: TauRange | None = Field(
        default=None, examples=[{"uniform": [_DECLARED_TAU.low, _DECLARED_TAU.high]}]
    )
    """Share of source batches with the lowest rewards that a trial drops; the reading unless another one is given."""
    tau_budget: BudgetRange | None = None
    """Most source batches that a trial keeps, those of the highest rewards."""
    tau_absolute: RewardRange | None = None
    """Tau as the paper has it: a trial keeps the source batches with R > tau, perhaps none."""
    learning_rate: RateRange = RateRange(log_uniform=(_DECLARED_RATE.low, _DECLARED_RATE.high))
    """Step size of finetuning."""
    n_steps: StepsRange | None = None
    """Optimiser updates of a trial. Unless given, all take ``search.n_steps``, so that trials differ in tau and rate
    only; with it, the arms stay at ``search.n_steps``, and the review compares with them only what took as many."""

    @model_validator(mode="after")
    def _one_reading(self) -> "Space":
        given = [name for name in TAU_READINGS if name in self.model_fields_set]
        if len(given) > 1:
            raise wrong_key(given[1], f"varies tau, as {given[0]} does; keep one of the two")
        if not given:  # a default of the field would stand next to another reading
            declared = TauRange(uniform=(_DECLARED_TAU.low, _DECLARED_TAU.high))
            object.__setattr__(self, "tau_quantile", declared)
        return self

    @property
    def tau_reading(self) -> str:
        """Name of the parameter that tau is."""
        return next(name for name in TAU_READINGS if getattr(self, name) is not None)

    def declared(self) -> dict[str, Uniform | LogUniform | Integer]:
        """Return the space in the terms of ``search_spaces``, by parameter name."""
        tau: Uniform | LogUniform | Integer
        if self.tau_budget is not None:
            tau = Integer(*self.tau_budget.integer)
        elif self.tau_absolute is not None:
            tau = LogUniform(*self.tau_absolute.log_uniform)
        else:
            assert self.tau_quantile is not None
            tau = Uniform(*self.tau_quantile.uniform)
        space = {
            self.tau_reading: tau,
            "learning_rate": LogUniform(*self.learning_rate.log_uniform),
        }
        return (
            space if self.n_steps is None else space | {"n_steps": Integer(*self.n_steps.integer)}
        )


class Search(SearchBase):
    """What the search varies, how long it looks, and what it maximises."""

    n_steps: Annotated[int, Field(ge=1)]
    """Optimiser updates of every arm, of the enqueued trials, and of all others unless ``space.n_steps`` varies them:
    then it lies inside that range. With equal steps, arms differ in their batches only."""
    objective: Literal["source_val", "target_information", "target_emd", "oracle_target_val"] = (
        "source_val"
    )
    """Macro-F1 on held-out source subjects; how certain the predictions for the target are and how evenly they spread
    over the stages, without a label; minus the EMD of the source to the target under the finetuned encoder, without a
    label either; or macro-F1 on labelled target subjects (an oracle no one has in practice)."""
    also: tuple[Literal["cost", "transfer_margin"], ...] = Field(
        default=(), examples=[["transfer_margin"]]
    )
    """Further objectives: epochs that go through the network in training (less is better); what adaptation gains for
    the objective's subject who gains least (more is better). Trials are then ranked by dominance."""
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

    @model_validator(mode="after")
    def _first_trials_inside_the_space(self) -> "Search":
        space = self.space.declared()
        if not space["learning_rate"].contains(self.default_learning_rate):
            low, high = self.space.learning_rate.log_uniform
            raise wrong_key(
                "default_learning_rate",
                f"the default learning rate {self.default_learning_rate:g} lies outside "
                f"space.learning_rate [{low:g}, {high:g}]; give one inside",
            )
        if "n_steps" in space and not space["n_steps"].contains(self.n_steps):
            low, high = space["n_steps"].low, space["n_steps"].high
            problem = (
                f"lies outside space.n_steps [{low}, {high}]; arms and enqueued trials take it"
            )
            raise wrong_key("n_steps", problem)
        reading = self.space.tau_reading
        for index, tau in enumerate(self.enqueue_taus):
            if not space[reading].contains(tau):
                low, high = space[reading].low, space[reading].high
                problem = f"lies outside space.{reading} [{low:g}, {high:g}]"
            elif tau in self.enqueue_taus[:index]:
                problem = "is given twice"
            else:
                continue
            raise wrong_key("enqueue_taus", problem, index)
        return self

    def first_trials(self) -> list[dict[str, float]]:
        """Return the enqueued trials, each with a value for every parameter."""
        own = {"learning_rate": self.default_learning_rate, "n_steps": self.n_steps}
        space = self.space.declared()
        return [{name: own.get(name, tau) for name in space} for tau in self.enqueue_taus]


def _enqueued_within(space: Space) -> tuple[float, ...]:
    if space.tau_reading != "tau_quantile":
        return ()
    inside = space.declared()["tau_quantile"].contains
    return tuple(tau for tau in ENQUEUED_TAU_QUANTILES if inside(tau))


class SelectiveSweep(SweepBase):
    """One search over one space: source, target, training, search and control arms."""

    method: Literal["selective"]
    """Finetune on the source batches whose reward lies above tau (SelectiveFinetuning)."""
    seed: Seed = 1
    """Of pretraining, the search and the random arm."""
    modality: Modality = "eeg"
    """The signal that the encoder sees."""
    source: Source
    """The labelled side."""
    target: Target
    """The side to adapt to."""
    batch_size: Annotated[int, Field(ge=8, le=1024)] = 128
    """Consecutive usable epochs of one recording that are kept or dropped together, and one
    training batch."""
    encoder: EncoderSettings = EncoderSettings()
    """The network."""
    pretrain: PretrainSettings = PretrainSettings()
    """How the source encoder is trained."""
    score: Score = Score()
    """How rewards are computed."""
    search: Search
    """What the search varies, how long it looks, and what it maximises."""
    arms: Annotated[tuple[Arm, ...], AfterValidator(_sorted_arms)] = ARMS
    """Controls to run next to the trials."""

    @model_validator(mode="after")
    def _objective_has_its_subjects(self) -> "SelectiveSweep":
        if self.search.objective == "oracle_target_val":
            if not self.target.validation:
                raise wrong_key("search", _NO_TARGET_VALIDATION, "objective")
        elif self.target.validation:
            raise wrong_key(
                "target",
                f"has no effect with the objective {self.search.objective}; "
                "remove it, or write 'objective: oracle_target_val' in search",
                "validation",
            )
        return self

    @model_validator(mode="after")
    def _every_worker_has_as_many_epochs(self) -> "SelectiveSweep":
        if problem := cannot_share(self.batch_size, self.workers):
            raise wrong_key("workers", problem)
        return self

    @model_validator(mode="after")
    def _scheduler_hears_reports(self) -> "SelectiveSweep":
        if self.search.scheduler.name != NONE and self.workers > 1:
            problem = "needs workers: 1; several workers report at the end of a trial only"
            raise wrong_key("search", problem, "scheduler", "name")
        return self


_NO_TARGET_VALIDATION = "needs target.validation: the labelled target subjects to evaluate on"


def check_objective(sweep: SelectiveSweep, target_subjects: Sequence[str]) -> None:
    """Check that the target has the subjects that the objective needs.

    ``oracle_target_val`` chooses by labelled target subjects, so others must be left to test on.

    Parameters
    ----------
    sweep : SelectiveSweep
        The sweep.
    target_subjects : sequence of str
        Its target subjects, as ``resolve_subjects`` found them.

    Raises
    ------
    ConfigError
        Too few target subjects, no validation subjects among them, or no other subject left.
    """
    if sweep.search.objective != "oracle_target_val":
        return
    where = f"sweep {sweep.name}: the objective oracle_target_val"
    advice = "Add target subjects, or write 'objective: source_val'"
    if len(target_subjects) < 2:
        raise ConfigError(
            f"{where} needs at least two target subjects, one to choose by and one to test on; "
            f"there are {len(target_subjects)} ({listed(target_subjects)}). {advice}."
        )
    if not sweep.target.validation:
        raise ConfigError(f"{where} {_NO_TARGET_VALIDATION}.")
    validation = resolve_subjects(sweep.target.validation, [], target_subjects)
    if set(validation) == set(target_subjects):
        raise ConfigError(
            f"{where} leaves no subject to test on: target.validation takes all of "
            f"{listed(target_subjects)}. {advice}."
        )
