"""The labelled side of a sweep: which recordings are learned from, stopped on and judged on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.config.subjects import resolve_subjects
from orchestrator.errors import ConfigError
from orchestrator.methods.pretrain.config import Source
from orchestrator.psg.feed import (
    StoredRecording,
    check_modality,
    stored_recordings,
    usable_epochs,
)
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """The recordings of the labelled side by role. No two roles share a subject."""

    train: tuple[StoredRecording, ...]
    early_stop: tuple[StoredRecording, ...]
    """Of the first held-out subject."""
    validation: tuple[StoredRecording, ...]
    """Of the other held-out subjects."""


def plan_source(source: Source, modality: str, store: Store) -> SourcePlan:
    """Resolve the subjects of a source, with one who stops pretraining and at least one to judge by.

    Unlabelled recordings have no part in it.

    Raises
    ------
    ConfigError
        An unknown data set, subject or modality, or too few validation subjects.
    """
    stored = stored_recordings(store, source.dataset)
    recordings = [recording for recording in stored if recording.labelled]
    subjects, everybody = subjects_of(recordings), subjects_of(stored)
    validation = resolve_subjects(source.validation, (), subjects, everybody)
    excluded = (*source.exclude, *validation)
    learned = resolve_subjects(source.subjects, excluded, subjects, everybody)
    if len(validation) < 2:
        raise ConfigError(
            f"source.validation gives {len(validation)} subject ({', '.join(validation)}); at least 2 are needed: the "
            "first stops pretraining, the others give the objective."
        )
    plan = SourcePlan(
        train=recordings_of(recordings, learned),
        early_stop=recordings_of(recordings, validation[:1]),
        validation=recordings_of(recordings, validation[1:]),
    )
    check_modality(store, plan.train[0], modality)  # all of a data set have the same
    return plan


def check_scored(store: Store, role: str, recordings: Sequence[StoredRecording]) -> None:
    """Refuse recordings without a scored epoch, with which all training would be in vain.

    Looks at flags, not at stages.

    Raises
    ------
    ConfigError
        No epoch of any of them is scored and not flat.
    """
    if not is_scored(store, recordings):
        names = ", ".join(recording.recording for recording in recordings)
        raise ConfigError(
            f"no epoch of the {role} recordings ({names}) is scored and not flat, so there is nothing to judge by. "
            "Choose other subjects."
        )


def is_scored(store: Store, recordings: Sequence[StoredRecording]) -> bool:
    """Tell whether any epoch is scored and not flat; by the flags, not by the stages."""
    return any(len(usable_epochs(store, recording)) for recording in recordings)


def subjects_of(recordings: Iterable[StoredRecording]) -> list[str]:
    """Return the subjects of some recordings, sorted."""
    return sorted({recording.subject for recording in recordings})


def recordings_of(
    recordings: Sequence[StoredRecording], subjects: Sequence[str]
) -> tuple[StoredRecording, ...]:
    """Return the recordings of some subjects, sorted."""
    return in_order(r for r in recordings if r.subject in set(subjects))


def in_order(recordings: Iterable[StoredRecording]) -> tuple[StoredRecording, ...]:
    """Return recordings sorted by data set, subject and name."""
    return tuple(sorted(recordings, key=lambda r: (r.dataset, r.subject, r.recording)))
