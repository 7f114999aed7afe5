"""The tables that a sweep of pretrainings leaves: trials, and the subjects that the objective is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.config.pretrain import parameters
from orchestrator.psg.feed import StoredRecording
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Judged, evaluation
from orchestrator.sweep.selective.encoder import stored_encoder
from orchestrator.sweep.study import in_order
from orchestrator.tables.pretrain import SubjectRow, TrialRow
from orchestrator.tables.rows import table_of
from orchestrator.tables.trials import state_of
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A trial as the study has it."""

    trial: str
    """``t000``, ``t001`` ... in the order of proposal."""
    enqueued: bool
    encoder: EncoderSettings
    pretrain: PretrainSettings
    signature: str | None
    """Id of the encoder; None for a failed trial."""
    objective: float | None
    error: str | None
    reused_from: str | None = None
    """The trial that trained what this one would have trained again."""


class Tables:
    """Collects the tables, entry by entry."""

    def __init__(
        self, store: Store, recordings: Sequence[StoredRecording], declared: Sequence[Stage]
    ) -> None:
        self._store = store
        self._recordings = recordings
        self._declared = declared
        self._trials: list[TrialRow] = []
        self._subjects: list[SubjectRow] = []

    def add(self, entry: Entry, judged: Judged | None) -> None:
        """Add one trial, with its judged predictions unless it failed."""
        reached: dict[str, Any] = {}
        if entry.signature is not None and judged is not None:
            about = stored_encoder(self._store, entry.signature).metadata
            pooled = evaluation(judged.true, judged.predicted, self._declared)
            subjects = self._of_subjects(entry.trial, judged)
            of_each = [subject.macro_f1 for subject in subjects]
            reached = {
                **{name: about[name] for name in ("n_passes", "best_pass", "n_steps")},
                "early_stop_macro_f1": about["early_stop_macro_f1"],
                "accuracy": pooled.accuracy,
                "kappa": pooled.kappa,
                "n_subjects": len(subjects),
                "lowest_subject_macro_f1": min(of_each),
                "mean_subject_macro_f1": float(np.mean(of_each)),
            }
            self._subjects += subjects
        self._trials.append(
            TrialRow(
                trial=entry.trial,
                state=state_of(entry.error),
                enqueued=entry.enqueued,
                reused_from=entry.reused_from,
                params=parameters(entry.encoder, entry.pretrain),
                objective=entry.objective,
                encoder_id=entry.signature,
                signature=entry.signature,
                error=entry.error,
                **reached,
            )
        )

    def tables(self) -> dict[str, pa.Table]:
        """Return both tables by name: ``trials``, ``subjects``."""
        return {
            "trials": table_of(TrialRow, sorted(self._trials, key=lambda row: in_order(row.trial))),
            "subjects": table_of(
                SubjectRow, sorted(self._subjects, key=lambda row: in_order(row.trial))
            ),
        }

    def _of_subjects(self, trial: str, judged: Judged) -> list[SubjectRow]:
        """Return a row for each subject with an epoch of a declared stage; at least one has."""
        subjects = np.array([recording.subject for recording in self._recordings])
        of_row = subjects[judged.rows["recording"].to_numpy()]
        rows = []
        for subject in np.unique(of_row):
            mine = of_row == subject
            found = evaluation(judged.true[mine], judged.predicted[mine], self._declared)
            rows.append(
                SubjectRow(
                    trial=trial,
                    subject=str(subject),
                    n_epochs=found.n_epochs,
                    macro_f1=found.macro_f1,
                    accuracy=found.accuracy,
                    kappa=found.kappa,
                )
            )
        return rows
