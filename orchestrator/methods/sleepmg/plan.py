"""From a sweep file and the store's manifest to folds: who is tested, who stops the training, who is learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.config.subjects import resolve_subjects
from orchestrator.errors import ConfigError
from orchestrator.methods.sleepmg.config.sweep import KFold, SleepMGSweep
from orchestrator.psg import feed
from orchestrator.psg.feed import StoredRecording
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """Who has which role in one training. No subject has two."""

    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    """They stop the training early and give the objective."""
    train: tuple[str, ...]
    n_passes: int | None = None
    """After how many passes it ends, where there is no validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldPlan(TrainingPlan):
    """One fold of a cross-validation."""

    number: int
    """From 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidationPlan:
    """The recordings of a sweep and its folds."""

    sweep: SleepMGSweep
    recordings: tuple[StoredRecording, ...]
    """Sorted by subject and name."""
    folds: tuple[FoldPlan, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted({recording.subject for recording in self.recordings}))

    @property
    def data_id(self) -> str:
        """Content id of everything that the arrays of a trial depend on."""
        sweep = self.sweep
        return content_id(
            {
                "recordings": [
                    [r.dataset, r.subject, r.recording, r.epochs_sha256] for r in self.recordings
                ],
                "modalities": list(sweep.modalities),
                "scale": sweep.scale,
                "clip_spreads": feed.CLIP_SPREADS,
            }
        )


def plan_cross_validation(sweep: SleepMGSweep, store: Store) -> CrossValidationPlan:
    """Resolve the subjects of a sweep and make its folds; unlabelled recordings have no part in it.

    Raises
    ------
    ConfigError
        An unknown data set, subject or modality, or too few subjects for the folds.
    """
    stored = feed.stored_recordings(store, sweep.dataset)
    labelled = [r for r in stored if r.labelled]
    subjects = resolve_subjects(
        sweep.subjects,
        sweep.exclude,
        {r.subject for r in labelled},
        {r.subject for r in stored},
    )
    recordings = tuple(
        sorted(
            (r for r in labelled if r.subject in set(subjects)),
            key=lambda r: (r.subject, r.recording),
        )
    )
    for modality in sweep.modalities:
        if not any(feed.has_modality(store, r, modality) for r in recordings):
            raise ConfigError(
                f"no recording of data set {sweep.dataset!r} has modality {modality!r}; the first has "
                f"{', '.join(feed.channel_labels(store, recordings[0]))}. Change `modalities` of the sweep file."
            )
    folds = make_folds(subjects, sweep)
    for subject in subjects:
        if not any(len(feed.usable_epochs(store, r)) for r in recordings if r.subject == subject):
            raise ConfigError(
                f"no epoch of subject {subject} is scored and not flat; add the subject to `exclude`."
            )
    return CrossValidationPlan(sweep=sweep, recordings=recordings, folds=folds)


def make_folds(subjects: Sequence[str], sweep: SleepMGSweep) -> tuple[FoldPlan, ...]:
    """Group sorted subjects in their order, and test each group once.

    The validation subjects of a fold are those that follow its test subjects, beginning again after the last one: so
    over all folds of leave-one-subject-out each subject validates equally often.

    Raises
    ------
    ConfigError
        More folds than subjects, or too few subjects to learn from.
    """
    n_folds = sweep.folds.n_folds if isinstance(sweep.folds, KFold) else len(subjects)
    if n_folds > len(subjects):
        raise ConfigError(
            f"folds.n_folds is {n_folds}, but there are {len(subjects)} subjects; at most one fold each is possible."
        )
    groups = [tuple(map(str, group)) for group in np.array_split(np.array(subjects), n_folds)]
    n_validation = sweep.folds.n_validation
    needed = 2 if _needs_domains(sweep) else 1
    folds = []
    for number, test in enumerate(groups):
        after = subjects.index(test[-1]) + 1
        others = [s for s in (*subjects[after:], *subjects[:after]) if s not in test]
        validation, train = others[:n_validation], others[n_validation:]
        if len(train) < needed:
            raise ConfigError(
                f"fold {number} tests {', '.join(test)} and keeps {n_validation} of the other {len(others)} subjects "
                f"for validation, so {len(train)} are left to train on; {needed} are needed"
                + (" for a discriminator of subjects" if needed == 2 else "")
                + ". Add subjects, or lower n_validation."
            )
        folds.append(
            FoldPlan(
                number=number,
                test=test,
                validation=tuple(sorted(validation)),
                train=tuple(sorted(train)),
            )
        )
    return tuple(folds)


def _needs_domains(sweep: SleepMGSweep) -> bool:
    configurations = [sweep.row_settings(row) for row in sweep.rows]
    if sweep.search is not None:
        configurations.append(sweep.settings())
    return any(settings.adversary.enabled for settings in configurations)
