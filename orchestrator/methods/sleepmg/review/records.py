"""The tables and the manifest of a finished sleepmg sweep, typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.methods.sleepmg.results import (
    ConfusionRow,
    FoldRow,
    ModalityRow,
    RecordingRow,
    TrialRow,
)
from orchestrator.reviews.parameters import Options, Range
from orchestrator.reviews.stored import (
    MANIFEST,
    Majority,
    part_of_manifest,
    read_json,
    refitted_models,
    rows_in,
)
from orchestrator.store import paths
from orchestrator.store.store import Store


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
    refit: bool = False
    """Whether the model of the chosen trial is trained on all subjects."""
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
    trials: tuple[TrialRow, ...]
    folds: tuple[FoldRow, ...]
    recordings: tuple[RecordingRow, ...]
    confusion: tuple[ConfusionRow, ...]
    modalities: tuple[ModalityRow, ...]
    refitted: frozenset[str] = frozenset()
    """Trials whose models were trained on all subjects."""


def read_sweep(store: Store, name: str) -> Sweep:
    """Read the artefacts of a finished sweep; NaN becomes None.

    Raises
    ------
    DataError
        A column or key is missing, so another version wrote the sweep.
    """
    manifest = read_manifest(store.read_bytes(paths.sweep_manifest(name)))
    trials = rows_in(TrialRow, store.read_table(paths.sweep_trials(name)), "trials.parquet")
    names = (trial.trial for trial in trials)
    return Sweep(
        manifest=manifest,
        trials=trials,
        refitted=refitted_models(store, name, names) if manifest.refit else frozenset(),
        folds=rows_in(FoldRow, store.read_table(paths.sweep_folds(name)), "folds.parquet"),
        recordings=rows_in(
            RecordingRow, store.read_table(paths.sweep_recordings(name)), "recordings.parquet"
        ),
        confusion=rows_in(
            ConfusionRow, store.read_table(paths.sweep_confusion(name)), "confusion.parquet"
        ),
        modalities=rows_in(
            ModalityRow, store.read_table(paths.sweep_modalities(name)), "modalities.parquet"
        ),
    )


def read_manifest(data: bytes) -> Manifest:
    """Manifest of a sweep from the bytes of ``manifest.json``; keys the review does not use are ignored.

    Raises
    ------
    DataError
        A key is missing.
    """
    values = read_json(Manifest, data, MANIFEST)
    return Manifest(
        **values
        | {
            "folds": part_of_manifest(FoldPlan, values["folds"]),
            "majority": part_of_manifest(Majority, values["majority"]),
            "rows": tuple(part_of_manifest(PlannedRow, stored) for stored in values["rows"]),
            "space": {name: _searched(stored) for name, stored in values["space"].items()},
        }
    )


def _searched(stored: Mapping[str, Any]) -> Range | Options:
    if "options" in stored:
        return part_of_manifest(Options, stored)
    return part_of_manifest(Range, stored)
