"""A sweep file: which subjects adapt to which, how trials are trained, and what the search varies.

``sweeps/`` holds examples. Which subjects exist is known only when the store is read, so globs over
subjects are resolved by ``resolve_subjects``, and what depends on them is checked by
``check_objective``.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Modality, Slug, StageName, Text
from orchestrator.config.suggest import did_you_mean
from orchestrator.config.validation import Section, one_of, validate, wrong_key
from orchestrator.config.yaml_source import dump_yaml
from orchestrator.errors import ConfigError
from search_spaces.selective import DEFAULTS, ENQUEUED_TAU_QUANTILES, SPACE
from search_spaces.space import LogUniform, Uniform
from trainables.settings import FEATURE_LAYERS, EncoderSettings, PretrainSettings
from trainables.stages import Stage

Arm = Literal["no_adapt", "all_source", "random"]
"""A fixed control next to the trials: no finetuning; every batch; a random half of them."""

ARMS: tuple[Arm, ...] = get_args(Arm)
"""All arms, in the order in which they run."""

_DECLARED_TAU, _DECLARED_RATE = SPACE["tau_quantile"], SPACE["learning_rate"]


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


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise PydanticCustomError("not_a_range", "must be [low, high] with low < high")
    return value


def _sorted_stages(value: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if len(set(value)) < max(2, len(value)):
        raise PydanticCustomError("stages", "must name at least two stages, each once")
    return tuple(sorted(value))


def _sorted_arms(value: tuple[Arm, ...]) -> tuple[Arm, ...]:
    if len(set(value)) < len(value):
        raise PydanticCustomError("arms", "must name each arm once")
    return tuple(sorted(value, key=ARMS.index))


TauQuantile = Annotated[float, AfterValidator(_tau_quantile)]
Rate = Annotated[float, AfterValidator(_rate)]
Globs = tuple[Text, ...]


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

    uniform: Annotated[tuple[TauQuantile, TauQuantile], AfterValidator(_rising)]
    """``[low, high]`` inside [0, 1)."""


class RateRange(Section):
    """Range of a learning rate, drawn uniformly on a log scale."""

    log_uniform: Annotated[tuple[Rate, Rate], AfterValidator(_rising)]
    """``[low, high]`` inside the declared range."""


class Space(Section):
    """What the trials vary; the declared space unless a key narrows it."""

    tau_quantile: TauRange = TauRange(uniform=(_DECLARED_TAU.low, _DECLARED_TAU.high))
    """Share of source batches with the lowest rewards that a trial drops."""
    learning_rate: RateRange = RateRange(log_uniform=(_DECLARED_RATE.low, _DECLARED_RATE.high))
    """Step size of finetuning."""

    def declared(self) -> dict[str, Uniform | LogUniform]:
        """Return the space in the terms of ``search_spaces``, by parameter name."""
        return {
            "tau_quantile": Uniform(*self.tau_quantile.uniform),
            "learning_rate": LogUniform(*self.learning_rate.log_uniform),
        }


class Search(Section):
    """What the search varies, how long it looks, and what it maximises."""

    n_trials: Annotated[int, Field(ge=1)]
    """Trials, the enqueued ones included."""
    n_steps: Annotated[int, Field(ge=1)]
    """Optimiser updates of every trial and every arm, so that arms differ in their batches only."""
    objective: Literal["source_val", "oracle_target_val"] = "source_val"
    """Macro-F1 on held-out source subjects, or on labelled target subjects (an oracle no one has in
    practice)."""
    space: Space = Space()
    """What the trials vary."""
    default_learning_rate: Rate = DEFAULTS["learning_rate"]
    """Learning rate of the enqueued trials and of the arms; inside ``space.learning_rate``."""
    enqueue_tau_quantiles: tuple[TauQuantile, ...] = Field(
        default_factory=lambda search: _enqueued_within(search["space"])
    )
    """Tau quantiles tried first, at the default learning rate; inside ``space.tau_quantile``.
    Unless given, those of ``search_spaces.selective.ENQUEUED_TAU_QUANTILES`` that lie inside."""
    max_concurrent: Annotated[int, Field(ge=1)] = 2
    """Trials that run at the same time. With more than one, a proposal may depend on which trial ended first,
    so that a search of more than about a dozen trials need not repeat."""

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
        for index, tau in enumerate(self.enqueue_tau_quantiles):
            if not space["tau_quantile"].contains(tau):
                low, high = self.space.tau_quantile.uniform
                problem = f"lies outside space.tau_quantile [{low:g}, {high:g}]"
            elif tau in self.enqueue_tau_quantiles[:index]:
                problem = "is given twice"
            else:
                continue
            raise wrong_key("enqueue_tau_quantiles", problem, index)
        return self


def _enqueued_within(space: Space) -> tuple[float, ...]:
    inside = space.declared()["tau_quantile"].contains
    return tuple(tau for tau in ENQUEUED_TAU_QUANTILES if inside(tau))


class SweepFile(Section):
    """One search over one space: source, target, training, search and control arms."""

    name: Slug
    """Name of the sweep and of its folder in the store."""
    method: Literal["selective"]
    """Finetune on the source batches whose reward lies above tau (SelectiveFinetuning)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Of pretraining, the search and the random arm."""
    stages: Annotated[tuple[StageName, ...], AfterValidator(_sorted_stages)] = tuple(Stage)
    """Stages to tell apart; epochs of other stages are neither trained on nor evaluated."""
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
    def _objective_has_its_subjects(self) -> "SweepFile":
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

    def resolved(self) -> dict[str, Any]:
        """Return the sweep as plain data, with every default filled in and stages by name."""
        return self.model_dump(mode="json", by_alias=True)


_NO_TARGET_VALIDATION = "needs target.validation: the labelled target subjects to evaluate on"


def load_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file.

    Raises
    ------
    ConfigError
        Everything that is wrong with the file, each at file:line:column.
    """
    return validate(SweepFile, path)


def dump(sweep: SweepFile) -> str:
    """Write a sweep as YAML with every default filled in; equal sweeps give equal bytes."""
    return dump_yaml(sweep.resolved())


def diff(before: SweepFile, after: SweepFile) -> list[str]:
    """List what differs between two sweeps, in the order of the file.

    Returns
    -------
    list of str
        ``search.n_trials: 12 -> 24`` for each key that differs; empty for equal sweeps.
    """
    old, new = _flat(before.resolved()), _flat(after.resolved())
    return [
        f"{key}: {_plain(old[key])} -> {_plain(new[key])}" for key in new if old[key] != new[key]
    ]


def resolve_subjects(
    patterns: Sequence[str], exclude: Sequence[str], available: Iterable[str]
) -> list[str]:
    """Find the subjects that globs name.

    Parameters
    ----------
    patterns, exclude : sequence of str
        Globs (``*``, ``?``, ``[...]``, case matters) of subjects to take and to leave out.
    available : iterable of str
        Subjects there are.

    Returns
    -------
    list of str
        Sorted, each once, at least one.

    Raises
    ------
    ConfigError
        A glob, of either kind, matches nothing (a typo in ``exclude`` would let a target subject
        into the source), or nothing is left.

    Examples
    --------
    >>> resolve_subjects(["sc4*"], ["sc402"], ["sc401", "sc402", "st701"])
    ['sc401']
    """
    names = sorted(set(available))
    taken = _matching(patterns, names) - _matching(exclude, names)
    if not taken:
        raise ConfigError(
            f"No subject is left of {_listed(patterns)} after excluding {_listed(exclude)}. "
            f"Available: {_listed(names)}."
        )
    return sorted(taken)


def check_objective(sweep: SweepFile, target_subjects: Sequence[str]) -> None:
    """Check that the target has the subjects that the objective needs.

    ``oracle_target_val`` chooses by labelled target subjects, so others must be left to test on.

    Parameters
    ----------
    sweep : SweepFile
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
            f"there are {len(target_subjects)} ({_listed(target_subjects)}). {advice}."
        )
    if not sweep.target.validation:
        raise ConfigError(f"{where} {_NO_TARGET_VALIDATION}.")
    validation = resolve_subjects(sweep.target.validation, [], target_subjects)
    if set(validation) == set(target_subjects):
        raise ConfigError(
            f"{where} leaves no subject to test on: target.validation takes all of "
            f"{_listed(target_subjects)}. {advice}."
        )


def _matching(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise ConfigError(
                f"No subject matches '{pattern}'.{did_you_mean(pattern, names)} "
                f"Available: {_listed(names)}."
            )
        found.update(matches)
    return found


def _listed(names: Sequence[str], limit: int = 30) -> str:
    shown = [*names[:limit], *([f"and {len(names) - limit} more"] if len(names) > limit else [])]
    return ", ".join(shown) or "none"


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted key paths; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        inner = (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
        flat.update(inner)
    return flat


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
