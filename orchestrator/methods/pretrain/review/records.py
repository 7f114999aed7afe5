"""The tables and the manifest of a finished sweep of pretrainings, typed."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.reviews.parameters import Range
from orchestrator.reviews.stored import (
    MANIFEST,
    Majority,
    other_code_of,
    part_of_manifest,
    read_json,
    rows_in,
)
from orchestrator.store import paths
from orchestrator.store.provenance import OtherCode
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What ``manifest.json`` says of the sweep, as far as the review uses it."""

    name: str
    method: str
    objective: str
    declared_stages: tuple[str, ...]
    modality: str
    dataset: str
    train_subjects: tuple[str, ...]
    early_stop_subjects: tuple[str, ...]
    objective_subjects: tuple[str, ...]
    searched: tuple[str, ...]
    space: Mapping[str, Range]
    encoder: Mapping[str, str | float]
    """The file's own section, with every default."""
    pretrain: Mapping[str, float]
    """The same."""
    seed: int
    n_train_epochs: int
    n_early_stop_epochs: int
    n_objective_epochs: int
    """With a declared stage."""
    train_stage_counts: Mapping[str, int]
    majority: Majority
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a review is made from."""

    manifest: Manifest
    trials: tuple[TrialRow, ...]
    subjects: tuple[SubjectRow, ...]
    other_code: tuple[OtherCode, ...]
    """Encoders that other code trained than the sweep began with."""


def read_sweep(store: Store, name: str) -> Sweep:
    """Read the artefacts of a finished sweep; NaN becomes None.

    Raises
    ------
    DataError
        A column or key is missing, so another version wrote the sweep.
    """
    trials = rows_in(TrialRow, store.read_table(paths.sweep_trials(name)), "trials.parquet")
    encoders = (trial.encoder_id for trial in trials if trial.encoder_id is not None)
    return Sweep(
        manifest=read_manifest(store.read_bytes(paths.sweep_manifest(name))),
        trials=trials,
        subjects=rows_in(
            SubjectRow, store.read_table(paths.sweep_subjects(name)), "subjects.parquet"
        ),
        other_code=other_code_of(store, name, encoders),
    )


def read_manifest(data: bytes) -> Manifest:
    """Manifest of a sweep from the bytes of ``manifest.json``; keys the review does not use are ignored.

    Raises
    ------
    DataError
        A key is missing.
    """
    values = read_json(Manifest, data, MANIFEST)
    space = {name: part_of_manifest(Range, stored) for name, stored in values["space"].items()}
    majority = part_of_manifest(Majority, values["majority"])
    return Manifest(**values | {"majority": majority, "space": space})
