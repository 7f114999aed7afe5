"""Sweep files of the method SelectiveFinetuning: finetune on the source batches whose reward lies above tau.

Which subjects exist is known only when the store is read; what depends on them is checked by
``check_objective``.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.config.fields import Modality
from orchestrator.config.proposals import NONE
from orchestrator.config.subjects import listed
from orchestrator.config.sweep_sections import Seed, SweepBase, cannot_share
from orchestrator.config.validation import Section, one_of, wrong_key
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.config import Source
from orchestrator.methods.selective.config import arms
from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.config.objectives import OBJECTIVES
from orchestrator.methods.selective.config.search import Search
from orchestrator.methods.selective.config.target import Target, TargetRoles
from trainables.settings import FEATURE_LAYERS, EncoderSettings, PretrainSettings

SUBJECT = "subject"
"""Value of ``adapt_to``: each test subject by itself."""

ArmName = Annotated[
    str,
    AfterValidator(one_of(tuple(ARMS))),
    WithJsonSchema({"enum": list(ARMS), "type": "string"}),
]


def _sorted_arms(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise PydanticCustomError("arms", "must name each arm once")
    return tuple(name for name in ARMS if name in value)


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
    adapt_to: Literal["target", "subject"] = "target"
    """``target``: to all subjects of the target together, with one reward for each source batch and one finetuning for
    each seed, as the paper has it. ``subject``: to each test subject by itself, with the same tau and learning rate.
    The rewards for a subject are then those against its own target batches; a model is finetuned on what tau keeps by
    these, and predicts the epochs of that subject alone. The predictions of all subjects together are judged. An
    objective with stages (``source_val``, ``oracle_target_val``) and ``transfer_margin`` are the mean over the
    subjects' models, ``target_emd`` the mean of each subject's own distance."""
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
    arms: Annotated[tuple[ArmName, ...], AfterValidator(_sorted_arms)] = arms.DEFAULT
    """Controls to run next to the trials."""

    def first_trials(self) -> list[dict[str, Any]]:
        """Return the enqueued trials, each with a value for every parameter that the search varies."""
        return self.search.first_trials()

    def own_params(self) -> dict[str, Any]:
        """Return the value of each parameter besides tau, which has none unless it varies."""
        return self.search.own_params()

    @model_validator(mode="after")
    def _objective_has_its_subjects(self) -> "SelectiveSweep":
        if OBJECTIVES[self.search.objective].is_oracle:
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
    def _each_subject_has_both_roles(self) -> "SelectiveSweep":
        adapt, test = self.target.adapt, self.target.test
        if self.adapt_to != SUBJECT or adapt is None or test is None or set(adapt) == set(test):
            return self
        problem = (
            "adapts to those who are tested, each by itself, but target.adapt and target.test do not name the same "
            "subjects; name them in target.subjects instead, or write 'adapt_to: target'"
        )
        raise wrong_key("adapt_to", problem)

    @model_validator(mode="after")
    def _earlier_budgets_are_of_one_subject(self) -> "SelectiveSweep":
        search = self.search
        if self.adapt_to != SUBJECT or not search.warm_start:
            return self
        if search.space.tau_reading != "tau_budget":
            return self
        problem = (
            "does not go with tau_budget and 'adapt_to: subject': the table of an earlier sweep has the batches of "
            "all subjects together; remove it, or vary tau_quantile"
        )
        raise wrong_key("search", problem, "warm_start")

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


def check_objective(sweep: SelectiveSweep, target: TargetRoles) -> None:
    """Check that the target has the subjects that the objective needs.

    ``oracle_target_val`` chooses by labelled target subjects, so others must be left to test on.

    Parameters
    ----------
    sweep : SelectiveSweep
        The sweep.
    target : TargetRoles
        Its target subjects.

    Raises
    ------
    ConfigError
        Too few target subjects, no validation subjects among them, or no other subject left.
    """
    if not OBJECTIVES[sweep.search.objective].is_oracle:
        return
    where = f"sweep {sweep.name}: the objective oracle_target_val"
    advice = "Add target subjects, or write 'objective: source_val'"
    subjects = target.subjects
    if len(subjects) < 2:
        raise ConfigError(
            f"{where} needs at least two target subjects, one to choose by and one to test on; "
            f"there are {len(subjects)} ({listed(subjects)}). {advice}."
        )
    if not target.validation:
        raise ConfigError(f"{where} {_NO_TARGET_VALIDATION}.")
    if not target.test:
        raise ConfigError(
            f"{where} leaves no subject to test on: target.validation takes all of "
            f"{listed(target.validation)}. {advice}."
        )
