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
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage

TRIALS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("kind", pa.string()),
        ("state", pa.string()),
        ("enqueued", pa.bool_()),
        ("reused_from", pa.string()),
        ("learning_rate", pa.float64()),
        ("weight_decay", pa.float64()),
        ("dropout", pa.float64()),
        ("batch_size", pa.int32()),
        ("n_passes", pa.int32()),
        ("best_pass", pa.int32()),
        ("n_steps", pa.int32()),
        ("early_stop_macro_f1", pa.float64()),
        ("objective", pa.float64()),
        ("accuracy", pa.float64()),
        ("kappa", pa.float64()),
        ("n_subjects", pa.int32()),
        ("lowest_subject_macro_f1", pa.float64()),
        ("mean_subject_macro_f1", pa.float64()),
        ("encoder_id", pa.string()),
        ("signature", pa.string()),
        ("error", pa.string()),
    ]
)
"""``kind`` is ``trial``, ``state`` is ``complete`` or ``failed``; the signature is the id of the encoder. The objective
is the macro-F1 of all held-out epochs pooled; the last metrics are those of each held-out subject by itself."""

SUBJECTS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("subject", pa.string()),
        ("n_epochs", pa.int32()),
        ("macro_f1", pa.float64()),
        ("accuracy", pa.float64()),
        ("kappa", pa.float64()),
    ]
)


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
        self._trials: list[dict[str, Any]] = []
        self._subjects: list[dict[str, Any]] = []

    def add(self, entry: Entry, judged: Judged | None) -> None:
        """Add one trial, with its judged predictions unless it failed."""
        row = {
            "trial": entry.trial,
            "kind": "trial",
            "state": "complete" if entry.error is None else "failed",
            "enqueued": entry.enqueued,
            "reused_from": entry.reused_from,
            **parameters(entry.encoder, entry.pretrain),
            "objective": entry.objective,
            "encoder_id": entry.signature,
            "signature": entry.signature,
            "error": entry.error,
        }
        if entry.signature is not None and judged is not None:
            about = stored_encoder(self._store, entry.signature).metadata
            pooled = evaluation(judged.true, judged.predicted, self._declared)
            subjects = self._of_subjects(entry.trial, judged)
            of_each = [subject["macro_f1"] for subject in subjects]
            row |= {
                **{name: about[name] for name in ("n_passes", "best_pass", "n_steps")},
                "early_stop_macro_f1": about["early_stop_macro_f1"],
                "accuracy": pooled.accuracy,
                "kappa": pooled.kappa,
                "n_subjects": len(subjects),
                "lowest_subject_macro_f1": min(of_each),
                "mean_subject_macro_f1": float(np.mean(of_each)),
            }
            self._subjects += subjects
        self._trials.append(row)

    def tables(self) -> dict[str, pa.Table]:
        """Return both tables by name: ``trials``, ``subjects``."""
        return {
            name: pa.Table.from_pylist(
                sorted(rows, key=lambda r: in_order(r["trial"])), schema=schema
            )
            for name, rows, schema in (
                ("trials", self._trials, TRIALS_SCHEMA),
                ("subjects", self._subjects, SUBJECTS_SCHEMA),
            )
        }

    def _of_subjects(self, trial: str, judged: Judged) -> list[dict[str, Any]]:
        """Return a row for each subject with an epoch of a declared stage; at least one has."""
        subjects = np.array([recording.subject for recording in self._recordings])
        of_row = subjects[judged.rows["recording"].to_numpy()]
        rows = []
        for subject in np.unique(of_row):
            mine = of_row == subject
            found = evaluation(judged.true[mine], judged.predicted[mine], self._declared)
            rows.append(
                {
                    "trial": trial,
                    "subject": str(subject),
                    "n_epochs": found.n_epochs,
                    "macro_f1": found.macro_f1,
                    "accuracy": found.accuracy,
                    "kappa": found.kappa,
                }
            )
        return rows
