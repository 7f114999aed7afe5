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
from orchestrator.review.parameters import Options, Range
from orchestrator.review.stored import read_json
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.rows import read_rows


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
    trials: tuple[TrialRow, ...]
    folds: tuple[FoldRow, ...]
    recordings: tuple[RecordingRow, ...]
    confusion: tuple[ConfusionRow, ...]
    modalities: tuple[ModalityRow, ...]


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
            TrialRow, store.read_table(paths.sweep_trials(name)).to_pylist(), "trials.parquet"
        ),
        folds=read_rows(
            FoldRow, store.read_table(paths.sweep_folds(name)).to_pylist(), "folds.parquet"
        ),
        recordings=read_rows(
            RecordingRow,
            store.read_table(paths.sweep_recordings(name)).to_pylist(),
            "recordings.parquet",
        ),
        confusion=read_rows(
            ConfusionRow,
            store.read_table(paths.sweep_confusion(name)).to_pylist(),
            "confusion.parquet",
        ),
        modalities=read_rows(
            ModalityRow,
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
