"""The tables and the manifest of a finished sleepmg sweep, typed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.review.parameters import Options, Range
from orchestrator.review.stored import column_of, read_json, read_rows
from orchestrator.review.trials import Outcome
from orchestrator.store import paths
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial(Outcome):
    """One row of ``trials.parquet``: a whole cross-validation of one configuration."""

    trial: str
    """``t000``, or ``row-<slug>-seed<k>``."""
    kind: str
    """``trial`` or ``row``."""
    row: str | None
    """Name of the row as written in the sweep file; None for a trial of the search."""
    seed: int
    state: str
    """``complete``, ``failed`` or ``stopped`` by the scheduler."""
    enqueued: bool
    """Fixed before the search began; the others were sampled."""
    reused_from: str | None
    """The trial whose training this one shares; None if it was trained itself."""
    alpha_f: float
    alpha_y: float
    alpha_d: float
    grl_weight: float
    """Lambda."""
    learning_rate: float
    dropout: float
    ratio: str
    schedule: str
    apply_to: str
    multimodal: bool
    adversary: bool
    """Whether there is a discriminator."""
    mod_f: bool
    mod_y: bool
    mod_d: bool
    fusion: str
    n_folds: int
    n_steps: int
    """Optimiser updates of all folds together."""
    objective: float | None
    """Macro-F1 of the validation subjects, pooled over folds."""
    n_replicates: int
    objective_low: float | None
    objective_high: float | None
    cost: float | None
    """Epochs that went through the network in training."""
    worst_subject: float | None
    """Macro-F1 of the validation subject who fares worst."""
    on_front: bool | None
    stopped_after: int | None
    test_macro_f1: float | None
    """Of the test subjects, pooled over folds; so are the next two."""
    test_macro_f1_sd: float | None
    """Over the seeds of this trial; None for one seed."""
    test_accuracy: float | None
    test_kappa: float | None
    domain_accuracy: float | None
    """Discriminator on the training epochs of the last pass, mean over folds."""
    domain_accuracy_best: float | None
    """The same of its best pass."""
    domain_chance: float | None
    """One over the number of domains, mean over folds."""
    signature: str | None
    """Hash of the configuration, its data and its seed; None where it failed."""
    error: str | None

    @property
    def is_row(self) -> bool:
        """Whether this is a fixed configuration and not one of the search."""
        return self.kind == "row"

    @property
    def balances(self) -> bool:
        """Whether anything is scaled; coefficients are recorded even where nothing is."""
        return self.mod_f or self.mod_y or self.mod_d


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One row of ``folds.parquet``: one training of a trial."""

    trial: str
    seed: int
    fold: int
    test_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    train_subjects: tuple[str, ...]
    fold_id: str
    best_pass: int | None
    """Pass whose weights were tested, by macro-F1 of the validation subjects."""
    n_passes: int | None
    n_steps: int | None
    validation_macro_f1: float | None
    test_macro_f1: float | None
    test_accuracy: float | None
    test_kappa: float | None
    n_test_epochs: int | None
    domain_accuracy: float | None
    domain_accuracy_best: float | None
    domain_chance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One row of ``recordings.parquet``: one recording as staged when its subject was the test subject."""

    trial: str
    seed: int
    fold: int
    subject: str
    recording: str
    n_epochs: int
    macro_f1: float | None
    accuracy: float | None
    kappa: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of ``confusion.parquet``: test epochs of a trial with this true and this predicted stage."""

    trial: str
    true: str
    predicted: str
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityPass:
    """One row of ``modalities.parquet``: one modality in one pass of one fold; means over its steps."""

    trial: str
    seed: int
    fold: int
    pass_: int
    modality: str
    """``all`` where the channels of all modalities share one extractor."""
    score_y: float | None
    """Probability of the true stage by this modality's share of the classifier."""
    rho_y: float | None
    """That score against those of the other modalities; 1 is as good as they are."""
    k_y: float | None
    """Coefficient of its slice of the classifier; 1 is unscaled."""
    score_d: float | None
    """The same three for the discriminator."""
    rho_d: float | None
    k_d: float | None
    k_f: float | None
    """Coefficient of its extractor."""
    macro_f1: float | None
    """Of the modality's own answers on the validation subjects, after the pass."""
    starved: bool
    """Whether its updates were held back in nearly all steps of the pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRow:
    """A row of the sweep file."""

    name: str
    ours: str | None
    """What about it is a reconstruction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldPlan:
    """How subjects were put into folds."""

    kind: str
    n_folds: int
    n_validation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Majority:
    """What always answering the most frequent stage reaches."""

    stage: str
    macro_f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What ``manifest.json`` says of the sweep, as far as the review uses it."""

    name: str
    method: str
    objective: str
    also: tuple[str, ...]
    """Further objectives of the search."""
    declared_stages: tuple[str, ...]
    dataset: str
    subjects: tuple[str, ...]
    modalities: tuple[str, ...]
    channels: Mapping[str, tuple[str, ...]]
    """Modality -> labels of its channels."""
    scale: str
    folds: FoldPlan
    searched: tuple[str, ...]
    """Parameters that the search varied; none in an ablation."""
    space: Mapping[str, Range | Options]
    rows: tuple[PlannedRow, ...]
    seeds: tuple[int, ...]
    """Of the rows."""
    figure: str | None
    """Title of the figure of confusion matrices."""
    batch_size: int
    n_passes: int
    """At most."""
    workers: int
    seed: int
    """Of the folds, the search and its trials."""
    n_epochs: int
    """Scored epochs of all subjects."""
    stage_counts: Mapping[str, int]
    majority: Majority
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a review is made from."""

    manifest: Manifest
    trials: tuple[Trial, ...]
    folds: tuple[Fold, ...]
    recordings: tuple[Recording, ...]
    confusion: tuple[Cell, ...]
    modalities: tuple[ModalityPass, ...]


def read_sweep(store: Store, name: str) -> Sweep:
    """Read the artefacts of a finished sweep; NaN becomes None.

    Raises
    ------
    DataError
        A column or key is missing, so another version wrote the sweep.
    """
    return Sweep(
        manifest=read_manifest(store.read_bytes(paths.sweep_manifest(name))),
        trials=read_rows(
            Trial, store.read_table(paths.sweep_trials(name)).to_pylist(), "trials.parquet"
        ),
        folds=read_rows(
            Fold, store.read_table(paths.sweep_folds(name)).to_pylist(), "folds.parquet"
        ),
        recordings=read_rows(
            Recording,
            store.read_table(paths.sweep_recordings(name)).to_pylist(),
            "recordings.parquet",
        ),
        confusion=read_rows(
            Cell, store.read_table(paths.sweep_confusion(name)).to_pylist(), "confusion.parquet"
        ),
        modalities=read_rows(
            ModalityPass,
            store.read_table(paths.sweep_modalities(name)).to_pylist(),
            "modalities.parquet",
        ),
    )


def read_manifest(data: bytes) -> Manifest:
    """Manifest of a sweep from the bytes of ``manifest.json``; keys the review does not use are ignored.

    Raises
    ------
    DataError
        A key is missing.
    """
    values = read_json(Manifest, data, "manifest.json")
    (folds,) = read_rows(FoldPlan, [values["folds"]], "manifest.json")
    (majority,) = read_rows(Majority, [values["majority"]], "manifest.json")
    return Manifest(
        **values
        | {
            "folds": folds,
            "majority": majority,
            "rows": read_rows(PlannedRow, values["rows"], "manifest.json"),
            "space": {name: _searched(stored) for name, stored in values["space"].items()},
        }
    )


def _searched(stored: Mapping[str, Any]) -> Range | Options:
    record_type: type[Range | Options] = Options if "options" in stored else Range
    (found,) = read_rows(record_type, [stored], "manifest.json")
    return found


def columns(record_type: type[Trial | Fold | Recording]) -> tuple[str, ...]:
    """Names of the stored columns, in order."""
    return tuple(column_of(field.name) for field in fields(record_type))
