"""The manifest of a sweep: what it runs on, the versions, and the code that it began with."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from platform import python_version
from typing import Any

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.store import paths
from orchestrator.store.decoding import read_json
from orchestrator.store.provenance import (
    KEY,
    Code,
    encoders_of_other_code,
    recorded_code,
    this_code,
)
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import note

PACKAGES = ("sleep-orchestrator", "ray", "torch", "optuna", "mne", "numpy")
"""Whose versions every manifest has."""


def write_manifest(
    store: Store, sweep: SweepBase, about: Mapping[str, Any], *, packages: Iterable[str] = PACKAGES
) -> None:
    """Write the manifest of a sweep, which keeps the code that it began with.

    Parameters
    ----------
    store : Store
    sweep : SweepBase
    about : mapping
        What its method has to say besides what every sweep has.
    packages : iterable of str
        Whose versions count.
    """
    began_with = code_begun_with(store, sweep.name)
    manifest = {
        "name": sweep.name,
        "method": sweep.method,
        "declared_stages": [stage.name for stage in sweep.stages],
        "seed": sweep.seed,
        **about,
        "versions": {
            "python": python_version(),
            **{package: version(package) for package in packages},
        },
        **({} if began_with is None else {KEY: asdict(began_with)}),
    }
    _write(store, sweep.name, manifest)


def add_to_manifest(store: Store, name: str, more: Mapping[str, Any]) -> None:
    """Write into the manifest of a sweep what is known only after its trials."""
    _write(store, name, {**read_json(store, paths.sweep_manifest(name)), **more})


def code_begun_with(store: Store, name: str) -> Code | None:
    """Return the code that a sweep began with, which is this one where it begins; None where that was not recorded."""
    path = paths.sweep_manifest(name)
    return recorded_code(store, path) if store.exists(path) else this_code()


def tell_other_code(store: Store, name: str, log: EventLog) -> None:
    """Say that a sweep goes on with another ``trainables/`` than it began with; what is done stays as it is."""
    before, now = code_begun_with(store, name), this_code()
    if before is None or before.trainables_sha256 == now.trainables_sha256:
        return
    log.emit("other_code", before=asdict(before), now=asdict(now))
    note(f"sweep {name!r} was begun with {before.text} and goes on with {now.text}")


def tell_encoders_of_other_code(
    store: Store, name: str, log: EventLog, encoder_ids: Iterable[str]
) -> None:
    """Say which encoders of a sweep were trained by another ``trainables/`` than it began with."""
    for other in encoders_of_other_code(store, code_begun_with(store, name), encoder_ids):
        trained_by, began_with = other.trained_by, other.began_with
        log.emit(
            "encoder_of_other_code",
            encoders=other.encoders,
            trained_by=asdict(trained_by),
            began_with=asdict(began_with),
        )
        first, *more = other.encoders
        named = f"encoder {first} and {len(more)} more were" if more else f"encoder {first} was"
        note(f"{named} trained by {trained_by.text}; sweep {name!r} began with {began_with.text}")


def _write(store: Store, name: str, manifest: Mapping[str, Any]) -> None:
    store.write_bytes(
        paths.sweep_manifest(name), json.dumps(manifest, indent=1, sort_keys=True).encode()
    )
