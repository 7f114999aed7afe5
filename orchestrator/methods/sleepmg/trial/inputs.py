"""What all trials of a cross-validation share: the arrays, whose epochs they are, and the folds."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, DataError
from orchestrator.labels import LabelGate, Split
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import CrossValidationPlan, FoldPlan, TrainingPlan
from orchestrator.psg import feed
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import key_of
from trainables.epochs import MultimodalEpochs
from trainables.errors import EpochsError, SettingsError
from trainables.fold import VERSION, Fold, n_batches_of_pass
from trainables.settings import SleepMGSettings
from trainables.stages import UNSCORED


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidationInputs:
    """Put into the object store once, read by all trials without a copy."""

    store_uri: str
    sweep: SleepMGSweep
    data_id: str
    epochs: MultimodalEpochs
    """Usable epochs of all subjects; ``subject`` is a position in `subjects`."""
    subjects: tuple[str, ...]
    recording: NDArray[np.int32]
    """(n,), position in the plan's list of recordings."""
    epoch_index: NDArray[np.int32]
    """(n,)."""
    folds: tuple[FoldPlan, ...]

    def rows_of(self, subjects: Sequence[str]) -> NDArray[np.intp]:
        """Return the rows of some subjects' epochs, ascending."""
        wanted = [self.subjects.index(subject) for subject in subjects]
        return np.flatnonzero(np.isin(self.epochs.subject, wanted))

    def learned(self, plan: TrainingPlan) -> tuple[str, ...]:
        """Return the modalities that a training subject has."""
        has = np.atleast_1d(self.epochs.present[self.rows_of(plan.train)].any(axis=0))
        return tuple(m for m, is_there in zip(self.epochs.modalities, has, strict=True) if is_there)

    def fold(self, plan: TrainingPlan, settings: SleepMGSettings) -> tuple[MultimodalEpochs, Fold]:
        """Return what one training may see: the stages of its test subjects are masked.

        Raises
        ------
        EpochsError
            A declared stage has no training epoch.
        """
        stages = self.epochs.stages.copy()
        stages[self.rows_of(plan.test)] = UNSCORED
        # What no training subject has, no extractor learns: its random weights must not answer for others.
        learned = np.isin(self.epochs.modalities, self.learned(plan))
        groups = None
        if settings.adversary.domains == "group":
            group_of = {subject: fold.number for fold in self.folds for subject in fold.test}
            groups = np.array([group_of[subject] for subject in self.subjects])[self.epochs.subject]
        epochs = replace(
            self.epochs,
            x={
                modality: x if learned[m] else np.zeros_like(x)
                for m, (modality, x) in enumerate(self.epochs.x.items())
            },
            present=self.epochs.present & learned,
            stages=stages,
        )
        fold = Fold.of(
            epochs,
            self.rows_of(plan.train),
            self.rows_of(plan.validation) if plan.n_passes is None else None,
            self.sweep.stages,
            groups,
        )
        return epochs, fold

    def check(self) -> None:
        """Refuse folds that cannot be trained, before the first of them is.

        Raises
        ------
        DataError
            A declared stage has no training epoch in a fold, or nothing can stop its training.
        ConfigError
            Fewer training epochs than a batch that several workers share.
        """
        configurations = [self.sweep.row_settings(row) for row in self.sweep.rows]
        if self.sweep.search is not None:
            configurations.append(self.sweep.settings())
        for plan in self.folds:
            where = f"fold {plan.number} (test subjects {', '.join(plan.test)})"
            for settings in configurations:
                try:
                    epochs, fold = self.fold(plan, settings)
                    n_batches_of_pass(fold, settings.training, self.sweep.workers)
                except EpochsError as error:
                    raise DataError(f"{where}: {error}") from error
                except SettingsError as error:
                    raise ConfigError(f"{where}: {error}") from error
                if settings.adversary.enabled and fold.n_domains < 2:
                    raise ConfigError(
                        f"{where}: the subjects to train on are one domain only, and a discriminator needs two. With "
                        "`domains: group` these are groups of `folds`: give more folds, or write `domains: subject`."
                    )
                self._check_signals(where, epochs)

    def _check_signals(self, where: str, epochs: MultimodalEpochs) -> None:
        """Refuse a recording that would be staged by nothing."""
        empty = np.unique(self.recording[~epochs.present.any(axis=1)])
        if len(empty):
            subjects = sorted(
                {self.subjects[self.epochs.subject[self.recording == i][0]] for i in empty}
            )
            raise DataError(
                f"{where}: a recording of {', '.join(subjects)} has none of the modalities that the subjects to train "
                "on have. Add the subject to `exclude`, or name other `modalities`."
            )

    def fold_id(self, plan: TrainingPlan, settings: SleepMGSettings, seed: int) -> str:
        """Return the content id of a trained fold, before it exists; sweeps with equal folds share them."""
        return content_id(
            {
                "data_id": self.data_id,
                "train": list(plan.train),
                "validation": list(plan.validation),
                "test": list(plan.test),
                **({} if plan.n_passes is None else {"n_passes": plan.n_passes}),
                "groups": [list(fold.test) for fold in self.folds]
                if settings.adversary.domains == "group"
                else None,
                "stages": [stage.name for stage in self.sweep.stages],
                "settings": dataclasses.asdict(settings),
                "workers": self.sweep.workers,
                "device": self.sweep.device,
                "version": VERSION,
                "seed": seed,
            }
        )


def cross_validation_inputs(
    store: Store, plan: CrossValidationPlan, gate: LabelGate
) -> CrossValidationInputs:
    """Read signals and stages of all recordings. A recording without a modality has zeros there."""
    sweep = plan.sweep
    stages = gate.read(
        [key_of(r) for r in plan.recordings],
        Split.FOLD_TRAIN,
        "training and early stop; a fold does not see the stages of its test subjects"
        + ("; after the search, a training sees those of all" if sweep.refit else ""),
    )
    usable = [feed.usable_epochs(store, recording) for recording in plan.recordings]
    present = np.array(
        [[feed.has_modality(store, r, m) for m in sweep.modalities] for r in plan.recordings]
    )
    return CrossValidationInputs(
        store_uri=store.uri,
        sweep=sweep,
        data_id=plan.data_id,
        epochs=MultimodalEpochs(
            x={
                modality: _signals(store, plan, usable, modality, present[:, m])
                for m, modality in enumerate(sweep.modalities)
            },
            present=np.repeat(present, [len(epochs) for epochs in usable], axis=0),
            subject=np.concatenate(
                [
                    np.full(len(epochs), plan.subjects.index(r.subject))
                    for r, epochs in zip(plan.recordings, usable, strict=True)
                ]
            ),
            stages=np.concatenate(
                [of[epochs] for of, epochs in zip(stages, usable, strict=True)]
            ).astype(np.int64),
        ),
        subjects=plan.subjects,
        recording=np.concatenate([np.full(len(e), i, np.int32) for i, e in enumerate(usable)]),
        epoch_index=np.concatenate(usable),
        folds=plan.folds,
    )


def _signals(
    store: Store,
    plan: CrossValidationPlan,
    usable: Sequence[NDArray[np.int32]],
    modality: str,
    present: NDArray[np.bool_],
) -> NDArray[np.float32]:
    found = {
        i: feed.read_signals(store, recording, modality, usable[i], plan.sweep.scale)
        for i, recording in enumerate(plan.recordings)
        if present[i]
    }
    shape = next(iter(found.values())).shape[1:]
    return np.concatenate(
        [
            found[i] if i in found else np.zeros((len(epochs), *shape), np.float32)
            for i, epochs in enumerate(usable)
        ]
    )
