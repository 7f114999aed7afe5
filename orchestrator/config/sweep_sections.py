"""Parts that the sweep files of all methods share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.defaults import newest
from orchestrator.config.fields import Slug, StageName, Text
from orchestrator.config.notices import Notify
from orchestrator.config.objectives import Direction, Objective
from orchestrator.config.proposals import NONE, Sampler, Scheduler
from orchestrator.config.validation import Section, wrong_key
from search_spaces.space import Declared
from trainables.stages import Stage

Globs = tuple[Text, ...]
"""Globs over subjects; resolved by ``resolve_subjects`` when the store is read."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of random numbers."""


def _known_defaults(value: int) -> int:
    if not 0 <= value <= newest():
        raise PydanticCustomError(
            "defaults",
            "unknown: this version knows the defaults 0 to {newest}. Use the version of the program that wrote it, "
            "or a later one",
            {"newest": newest()},
        )
    return value


def rising(value: tuple[float, float]) -> tuple[float, float]:
    """Refuse a pair that is no range ``[low, high]``: a validator."""
    if not value[0] < value[1]:
        raise PydanticCustomError("not_a_range", "must be [low, high] with low < high")
    return value


def cannot_share(batch_size: int, workers: int) -> str | None:
    """Say why `workers` cannot share the epochs of one step, if they cannot."""
    if batch_size % workers == 0:
        return None
    return f"must divide the {batch_size} epochs of a step evenly"


def _sorted_stages(value: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if len(set(value)) < max(2, len(value)):
        raise PydanticCustomError("stages", "must name at least two stages, each once")
    return tuple(sorted(value))


class FilledSection(Section):
    """A section whose optional keys may be left out, but not left empty.

    ``search:`` with nothing after it would otherwise pass for a file that searches nothing.
    """

    @model_validator(mode="after")
    def _no_empty_key(self) -> Self:
        for key in type(self).model_fields:
            if key in self.model_fields_set and getattr(self, key) is None:
                raise wrong_key(key, "must have a value; give one, or remove the key")
        return self


class SpaceBase(FilledSection):
    """What the trials of a search vary."""

    def declared(self) -> Mapping[str, Declared]:
        """Return the parameters that vary in the terms of ``search_spaces``, by name."""
        raise NotImplementedError


class SearchBase(Section):
    """What every search says, whatever its method."""

    further: ClassVar[Mapping[str, Objective]] = {}
    """What a search of this method may weigh against its objective."""

    n_trials: Annotated[int, Field(ge=1)]
    """Trials, the enqueued ones included."""
    max_concurrent: Annotated[int, Field(ge=1)] = 2
    """Trials that run at the same time. With more than one, a proposal may depend on which trial ended first,
    so that a search of more than about a dozen trials need not repeat."""
    sampler: Sampler = Sampler()
    """Who proposes trials, after those that the file enqueues."""
    scheduler: Scheduler = Scheduler()
    """Who ends trials that are too far behind, so that others get their time."""
    also: tuple[str, ...] = ()
    """Further objectives: trials are then ranked by dominance, and no single one is the best."""
    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    """How often each trial trains, with seeds that follow the sweep's own; its objective is the mean."""
    warm_start: Annotated[tuple[Slug, ...], Field(examples=[["tau"]])] = ()
    """Finished sweeps of the same method and objective in the same store, whose trials the sampler learns from; those
    outside this search's ranges are left out and listed."""
    failure_quota: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the trials that may fail; with one more, the sweep ends."""
    max_hours: Annotated[float, Field(gt=0, examples=[8])] | None = None
    """Hours of trials, side by side counted once and interruptions not at all, after which no other one begins."""
    max_gpu_hours: Annotated[float, Field(gt=0, examples=[40])] | None = None
    """The same for hours times GPUs, trials side by side added up, without those that share another one's training."""
    max_usd: Annotated[float, Field(gt=0, examples=[50])] | None = None
    """USD for the cluster's machines while the search runs, all attempts together, after which no other trial begins.
    For a cluster that was launched with prices; spot counts at the on-demand price."""
    plateau: Annotated[int, Field(ge=1, examples=[20])] | None = None
    """No other trial begins after so many in a row that did not beat the best one."""

    if TYPE_CHECKING:  # fields of each method

        @property
        def space(self) -> SpaceBase:
            """What the trials vary."""

        @property
        def objective(self) -> str:
            """What the search maximises, one of the objectives of its method."""

    @property
    def n_objectives(self) -> int:
        """How many values a trial has."""
        return 1 + len(self.also)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Optuna's direction for each value of a trial."""
        return ("maximize", *(self.further[name].direction for name in self.also))

    @model_validator(mode="after")
    def _several_objectives_are_not_cut_short(self) -> Self:
        if len(set(self.also)) < len(self.also):
            raise wrong_key("also", "must name each objective once")
        if self.also and self.scheduler.name != NONE:
            problem = "Optuna ends no trials of a search with several objectives; remove `also`"
            raise wrong_key("scheduler", problem, "name")
        if self.also and self.plateau is not None:
            raise wrong_key("plateau", "needs a single objective; remove it, or remove `also`")
        return self

    @model_validator(mode="after")
    def _limits_have_values(self) -> Self:
        for key in ("max_hours", "max_gpu_hours", "max_usd", "plateau"):
            if key in self.model_fields_set and getattr(self, key) is None:
                raise wrong_key(key, "must have a value; give one, or remove the key")
        return self


class SweepBase(FilledSection):
    """What every sweep file says, whatever its method."""

    name: Slug
    """Name of the sweep and of its folder in the store."""
    method: str
    """Which method is trained; each has a class of sweep files."""
    seed: Seed = 1
    """Of everything that the sweep draws at random."""
    stages: Annotated[tuple[StageName, ...], AfterValidator(_sorted_stages)] = tuple(Stage)
    """Stages to tell apart; epochs of other stages are neither trained on nor evaluated."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that train each trial. More than 1 worker trains each trial under Ray Train with data parallelism:
    every step's epochs are shared out to the workers."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """Share of the cluster's CPUs that each worker takes; below 1, workers share a CPU."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that each worker takes, and trains on; below 1, trials share a GPU. 0: on CPUs."""
    keep_models: Literal["best", "all", "none"] = "best"
    """Whose trained networks stay in the store: of the chosen trial (with several objectives, of all on the front) and
    of every control that was trained; of all; or of none."""
    notify: Notify | None = None
    """Who is told when the sweep has ended, or has lost something."""
    defaults: Annotated[int, AfterValidator(_known_defaults)] = Field(
        default_factory=newest, examples=[0]
    )
    """Which defaults keys have that are left out: those of an earlier version, or today's. A stored sweep keeps the
    number that it began with, so that a new version does not change it."""

    if TYPE_CHECKING:  # a field of each method, which the model of one may lack

        @property
        def search(self) -> SearchBase | None:
            """What the search varies, how long it looks, and what it maximises."""

    @property
    def device(self) -> str:
        """Where torch trains: ``cpu`` or ``cuda``."""
        return "cuda" if self.gpus_per_worker else "cpu"

    def first_trials(self) -> Sequence[dict[str, Any]]:
        """Return the trials to run before any other, each with a value for every parameter that the search varies."""
        raise NotImplementedError

    def own_params(self) -> dict[str, Any]:
        """Return the values that the file's own sections give to the parameters that a search may vary."""
        raise NotImplementedError

    def resolved(self) -> dict[str, Any]:
        """Return the sweep as plain data, with every default filled in and stages by name."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
