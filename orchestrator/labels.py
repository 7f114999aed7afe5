"""The only gate to stage labels. It hands them out by split, and keeps the ledger of who read which, and when.

Stages that judge a finished sweep (of the target's test subjects; of every fold's test subjects) open once, at the end;
asked for earlier, the sweep stops. In a cross-validation the same stages are those of training subjects in other folds:
there, each fold is handed its own with those of its test subjects masked. What is trained after the search, for a model
to keep, may learn from all of them: nobody judges it.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import IntegrityError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog

LabelKey = tuple[str, str, str]
"""Data set, subject, recording."""


class Split(StrEnum):
    """What stages are read for."""

    SOURCE_TRAIN = "source_train"
    SOURCE_EARLY_STOP = "source_early_stop"
    SOURCE_VALIDATION = "source_validation"
    TARGET_VALIDATION = "target_validation"
    TARGET_TEST = "target_test"
    FOLD_TRAIN = "fold_train"
    FOLD_VALIDATION = "fold_validation"
    FOLD_TEST = "fold_test"


JUDGING = (Split.TARGET_TEST, Split.FOLD_TEST)
"""Stages that are read once, after the last trial."""


class LabelGate:
    """Reads stages for one run and writes each reading to the event log.

    Parameters
    ----------
    store : Store
    log : EventLog
        Receives a ``labels_read`` event per reading: the label ledger.
    """

    def __init__(self, store: Store, log: EventLog) -> None:
        self._store = store
        self._log = log
        self._searching = True
        self._test_read = False

    def end_search(self) -> None:
        """Declare that no further trial will be proposed or trained to be judged; only now can test labels be read."""
        self._searching = False

    def read(self, keys: Sequence[LabelKey], split: Split, purpose: str) -> list[NDArray[np.int8]]:
        """Return the stages of each recording, (n_epochs,): 0..4, -1 unscored; index is ``epoch_index``.

        Parameters
        ----------
        keys : sequence of (dataset, subject, recording)
        split : Split
        purpose : str
            A few words for the ledger.

        Raises
        ------
        IntegrityError
            Test labels while the search is running, or a second time.
        """
        if split in JUDGING:
            self._open_test(split, purpose)
        stages = [
            np.asarray(
                self._store.read_table(paths.epochs(*key), ["stage"])["stage"].to_numpy(), np.int8
            )
            for key in keys
        ]
        self._log.emit(
            "labels_read",
            split=split.value,
            purpose=purpose,
            recordings=["/".join(key) for key in keys],
            n_epochs=sum(map(len, stages)),
        )
        return stages

    def _open_test(self, split: Split, purpose: str) -> None:
        if self._searching or self._test_read:
            when = "during the search" if self._searching else "a second time"
            self._log.emit("labels_refused", split=split.value, purpose=purpose)
            raise IntegrityError(
                f"test labels were asked for {when} ({purpose}). They may be read once, after the last "
                "trial; the sweep stops because its result could not be trusted."
            )
        self._test_read = True
