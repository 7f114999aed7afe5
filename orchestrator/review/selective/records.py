"""The rows and the manifest of a finished selective sweep, typed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.arms import ARMS
from orchestrator.errors import DataError
from orchestrator.review.stored import read_json, read_rows
from orchestrator.review.trials import Outcome

STAGE_COLUMNS = ("W", "N1", "N2", "N3", "REM")
"""Names of the stage counts in ``batches.parquet``; ``trials.parquet`` puts ``kept_`` before them."""

ORACLE_PREFIX = "oracle_"
"""Objectives that read stages of the target begin like this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial(Outcome):
    """One row of ``trials.parquet``: a configuration of the sweep or a control arm."""

    trial: str
    """Id, such as ``t000`` or ``arm-no_adapt``."""
    kind: str
    """``trial`` or ``arm``."""
    arm: str | None
    """A key of :data:`orchestrator.config.arms.ARMS`; None for a trial."""
    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    enqueued: bool
    """Fixed before the search began; the others were sampled."""
    on_line: bool
    """Enqueued, with the learning rate and the steps of the arms: these trials differ in tau alone."""
    reused_from: str | None
    """The trial whose training this one shares; None if it was trained itself."""
    tau_quantile: float | None
    """Fraction of the selectable batches below the cut; None for an arm."""
    tau_absolute: float | None
    """The same cut on the reward: kept is R > ``tau_absolute``. In 1/feature units."""
    learning_rate: float | None
    n_kept: int
    """Source batches used for finetuning."""
    n_selectable: int
    n_subjects_kept: int
    n_steps: int
    """Optimiser updates of the finetuning."""
    objective: float | None
    """What the search maximised, macro-F1 of the split that the objective names."""
    n_replicates: int
    objective_low: float | None
    objective_high: float | None
    cost: float | None
    """Epochs that went through the network in training."""
    transfer_margin: float | None
    """Gain over no adaptation of the objective's subject who gains least."""
    on_front: bool | None
    stopped_after: int | None
    target_macro_f1: float | None
    target_accuracy: float | None
    target_kappa: float | None
    kept_W: int
    kept_N1: int
    kept_N2: int
    kept_N3: int
    kept_REM: int
    signature: str
    """Hash of the set of kept batches."""
    error: str | None

    @property
    def is_arm(self) -> bool:
        """Whether this is a control and not a configuration of the search."""
        return self.kind == "arm"

    @property
    def kept_fraction(self) -> float | None:
        """Share of the selectable batches that was kept; None where nothing could be selected."""
        return self.n_kept / self.n_selectable if self.n_selectable else None

    @property
    def kept_epochs(self) -> tuple[int, ...]:
        """Epochs per stage in the kept batches, in the order of ``STAGE_COLUMNS``."""
        return (self.kept_W, self.kept_N1, self.kept_N2, self.kept_N3, self.kept_REM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One row of ``batches.parquet``: consecutive usable epochs of one source recording."""

    batch_id: int
    subject: str
    recording: str
    first_epoch: int
    n: int
    """Epochs in the batch."""
    selectable: bool
    """False for a held-out subject: scored and shown, never trained on."""
    emd: float | None
    """Mean earth mover's distance to the target batches, in feature units."""
    reward: float | None
    """R = 1/EMD; infinite at distance 0."""
    W: int
    N1: int
    N2: int
    N3: int
    REM: int

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs per stage, in the order of ``STAGE_COLUMNS``."""
        return (self.W, self.N1, self.N2, self.N3, self.REM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What ``manifest.json`` says of the sweep, as far as the review uses it."""

    name: str
    method: str
    objective: str
    also: tuple[str, ...]
    """Further objectives of the search."""
    declared_stages: tuple[str, ...]
    """Stages that the metrics average over."""
    source_dataset: str
    target_dataset: str
    source_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    early_stop_subject: str | None
    target_subjects: tuple[str, ...]
    transductive: bool
    """Whether the metric is computed on the epochs whose signals the selection saw."""
    batch_size: int
    n_source_batches: int
    n_selectable: int
    n_target_batches: int
    n_target_epochs: int
    layer: str
    metric: str
    """Ground distance of the EMD."""
    aggregate: str
    """How the EMDs of a source batch to the target batches become one number."""
    encoder_id: str
    score_id: str
    default_learning_rate: float
    n_steps: int
    """Of the trained arms, and of the trials unless the search varied them."""
    seed: int
    target_evaluation_epochs: int
    target_stage_counts: Mapping[str, int]
    pretrain: Mapping[str, float | None]
    versions: Mapping[str, str]

    @property
    def is_oracle(self) -> bool:
        """Whether the objective read stages of the target."""
        return self.objective.startswith(ORACLE_PREFIX)

    @property
    def objective_measure(self) -> str:
        """What the objective is measured in."""
        measures = {"target_information": "0 to 1", "target_emd": "minus a distance"}
        return measures.get(self.objective, "macro-F1")

    @property
    def objective_is_macro_f1(self) -> bool:
        """Whether its spread is in the units of the target metric."""
        return self.objective_measure == "macro-F1"

    @property
    def objective_is_drawn(self) -> bool:
        """Whether the objective fits on an axis of macro-F1."""
        return self.objective != "target_emd"


def read_trials(rows: Iterable[Mapping[str, Any]]) -> tuple[Trial, ...]:
    """Trials and arms of ``trials.parquet``, in stored order; NaN becomes None.

    Raises
    ------
    DataError
        A column is missing or an arm is unknown, so the table was not written by this version.
    """
    trials = read_rows(Trial, rows, "trials.parquet")
    for trial in trials:
        if trial.is_arm and trial.arm not in ARMS:
            raise DataError(
                f"trials.parquet of the sweep has the arm {trial.arm!r}, so another version wrote it. "
                f"Known: {', '.join(ARMS)}."
            )
    return trials


def read_batches(rows: Iterable[Mapping[str, Any]]) -> tuple[Batch, ...]:
    """Source batches of ``batches.parquet``, in stored order; NaN becomes None.

    Raises
    ------
    DataError
        A column is missing, so the table was not written by this version.
    """
    return read_rows(Batch, rows, "batches.parquet")


def read_manifest(data: bytes) -> Manifest:
    """Manifest of a sweep from the bytes of ``manifest.json``; keys the review does not use are ignored.

    Raises
    ------
    DataError
        A key is missing.
    """
    return Manifest(**read_json(Manifest, data, "manifest.json"))
