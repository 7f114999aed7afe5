"""The rows and the manifest of a finished selective sweep, typed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.objectives import Objective
from orchestrator.errors import DataError
from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.config.objectives import OBJECTIVES
from orchestrator.methods.selective.config.sweep import SUBJECT
from orchestrator.methods.selective.results import BatchRow, PredictedRow, TrialRow
from orchestrator.reviews.stored import MANIFEST, kept_models, other_code_of, read_json, rows_in
from orchestrator.store import paths
from orchestrator.store.provenance import OtherCode
from orchestrator.store.store import Store
from orchestrator.tables.rows import read_rows


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
    target_adapt_subjects: tuple[str, ...] | None = None
    """None in manifests of before there were roles: then, all target subjects were adapted to."""
    target_is_labelled: bool = True
    adapt_to: str = "target"
    """``subject``: selection and finetuning of a trial are those of each target subject by itself."""

    @property
    def adapts_to_subjects(self) -> bool:
        """Whether each target subject is adapted to by itself."""
        return self.adapt_to == SUBJECT

    @property
    def adapted_to(self) -> tuple[str, ...]:
        """Those target subjects to test on whose signals the selection saw."""
        adapted = self.target_adapt_subjects
        if adapted is None:
            return self.target_subjects
        return tuple(subject for subject in self.target_subjects if subject in adapted)

    @property
    def about_objective(self) -> Objective:
        """What is known of the objective."""
        return OBJECTIVES[self.objective]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a review is made from."""

    manifest: Manifest
    trials: tuple[TrialRow, ...]
    batches: tuple[BatchRow, ...]
    predicted: tuple[PredictedRow, ...]
    """Empty for a sweep of before there was such a table."""
    kept: frozenset[str]
    """Trials and arms whose models are in the store."""
    other_code: tuple[OtherCode, ...]
    """The encoder, where other code trained it than the sweep began with."""


def read_sweep(store: Store, name: str) -> Sweep:
    """Read trials, batches and manifest of a finished sweep; errors as in the readers below."""
    manifest = read_manifest(store.read_bytes(paths.sweep_manifest(name)))
    trials = read_trials(store.read_table(paths.sweep_trials(name)).to_pylist())
    return Sweep(
        manifest=manifest,
        trials=trials,
        kept=kept_models(store, name, (trial.trial for trial in trials)),
        batches=rows_in(BatchRow, store.read_table(paths.sweep_batches(name)), "batches.parquet"),
        predicted=_predicted(store, name),
        other_code=other_code_of(store, name, [manifest.encoder_id]),
    )


def _predicted(store: Store, name: str) -> tuple[PredictedRow, ...]:
    if not store.exists(paths.sweep_predicted(name)):
        return ()
    return rows_in(PredictedRow, store.read_table(paths.sweep_predicted(name)), "predicted.parquet")


def read_trials(rows: Iterable[Mapping[str, Any]]) -> tuple[TrialRow, ...]:
    """Trials and arms of ``trials.parquet``, in stored order; NaN becomes None.

    Raises
    ------
    DataError
        A column is missing or an arm is unknown, so the table was not written by this version.
    """
    trials = read_rows(TrialRow, rows, "trials.parquet")
    for trial in trials:
        if trial.is_arm and trial.arm not in ARMS:
            raise DataError(
                f"trials.parquet of the sweep has the arm {trial.arm!r}, so another version wrote it. "
                f"Known: {', '.join(ARMS)}."
            )
    return trials


def read_manifest(data: bytes) -> Manifest:
    """Manifest of a sweep from the bytes of ``manifest.json``; keys the review does not use are ignored.

    Raises
    ------
    DataError
        A key is missing or the objective is unknown.
    """
    manifest = Manifest(**read_json(Manifest, data, MANIFEST))
    if manifest.objective not in OBJECTIVES:
        raise DataError(
            f"manifest.json of the sweep has the objective {manifest.objective!r}, so another version wrote it. "
            f"Known: {', '.join(OBJECTIVES)}."
        )
    return manifest
