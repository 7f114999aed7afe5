"""The tables that a sweep of SleepMG leaves: trials and rows, folds, recordings, confusion, modalities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.config.sleepmg import parameters
from orchestrator.psg.feed import StoredRecording
from orchestrator.store.store import Store
from orchestrator.sweep.objective import Evaluation, Judged, evaluation
from orchestrator.sweep.replicates import (
    REPLICATE_FIELDS,
    mean_evaluation,
    replicate_columns,
    state_of,
)
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs
from orchestrator.sweep.sleepmg.trial import fold_record
from orchestrator.sweep.study import in_order
from search_spaces.sleepmg import SPACE
from search_spaces.space import Choice
from trainables.balanced_step import RECORD
from trainables.metrics import confusion_matrix
from trainables.settings import SleepMGSettings
from trainables.stages import Stage

TRIALS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("kind", pa.string()),
        ("row", pa.string()),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("enqueued", pa.bool_()),
        ("reused_from", pa.string()),
        *(
            (name, pa.string() if isinstance(declared, Choice) else pa.float64())
            for name, declared in SPACE.items()
        ),
        ("multimodal", pa.bool_()),
        ("adversary", pa.bool_()),
        ("mod_f", pa.bool_()),
        ("mod_y", pa.bool_()),
        ("mod_d", pa.bool_()),
        ("fusion", pa.string()),
        ("n_folds", pa.int32()),
        ("n_steps", pa.int32()),
        ("objective", pa.float64()),
        *REPLICATE_FIELDS,
        ("cost", pa.float64()),
        ("worst_subject", pa.float64()),
        ("on_front", pa.bool_()),
        ("stopped_after", pa.int32()),
        ("test_macro_f1", pa.float64()),
        ("test_macro_f1_sd", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("test_kappa", pa.float64()),
        ("domain_accuracy", pa.float64()),
        ("domain_accuracy_best", pa.float64()),
        ("domain_chance", pa.float64()),
        ("signature", pa.string()),
        ("error", pa.string()),
    ]
)
"""``kind`` is ``trial`` or ``row``, ``state`` is ``complete``, ``failed`` or ``stopped`` by the scheduler. Test metrics
are pooled over the folds; the discriminator's accuracy is the mean over folds of that on the training epochs of the
last pass. ``cost`` are the epochs that went through the network in training, in all folds; ``worst_subject`` is the
macro-F1 of the validation subject who fares worst. All are means over the seeds of a trial; ``seed`` is the first."""

_NAMES = pa.list_(pa.string())
FOLDS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("seed", pa.int64()),
        ("fold", pa.int32()),
        ("test_subjects", _NAMES),
        ("validation_subjects", _NAMES),
        ("train_subjects", _NAMES),
        ("fold_id", pa.string()),
        ("best_pass", pa.int32()),
        ("n_passes", pa.int32()),
        ("n_steps", pa.int32()),
        ("validation_macro_f1", pa.float64()),
        ("test_macro_f1", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("test_kappa", pa.float64()),
        ("n_test_epochs", pa.int32()),
        ("domain_accuracy", pa.float64()),
        ("domain_accuracy_best", pa.float64()),
        ("domain_chance", pa.float64()),
    ]
)
RECORDINGS_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("seed", pa.int64()),
        ("fold", pa.int32()),
        ("subject", pa.string()),
        ("recording", pa.string()),
        ("n_epochs", pa.int32()),
        ("macro_f1", pa.float64()),
        ("accuracy", pa.float64()),
        ("kappa", pa.float64()),
    ]
)
CONFUSION_SCHEMA = pa.schema(
    [("trial", pa.string()), ("true", pa.string()), ("predicted", pa.string()), ("n", pa.int64())]
)
MODALITIES_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("seed", pa.int64()),
        ("fold", pa.int32()),
        ("pass", pa.int32()),
        ("modality", pa.string()),
        *((name, pa.float64()) for name in RECORD),
        ("macro_f1", pa.float64()),
        ("starved", pa.bool_()),
    ]
)
"""Means over the steps of a pass, and the validation macro-F1 of the modality's own logits after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A trial or row, before its metrics on the test subjects are known."""

    trial: str
    """``t000``, ``t001`` ... in the order of proposal, or ``row-``, the row's slug and its seed."""
    row: str | None
    """Name of the row; None for a trial of the search."""
    seeds: tuple[int, ...]
    enqueued: bool
    settings: SleepMGSettings
    signature: str | None
    objective: float | None
    error: str | None
    reused_from: str | None = None
    """The trial that trained what this one would have trained again."""
    replicates: tuple[float, ...] = ()
    """Objective with each seed, where there are several."""
    worst_subject: float | None = None
    on_front: bool | None = None
    """Whether no other trial is better in every objective; None where there is one."""
    stopped_after: int | None = None
    """Reports after which the scheduler ended it."""


class Tables:
    """Collects the tables, entry by entry."""

    def __init__(
        self,
        store: Store,
        inputs: CrossValidationInputs,
        recordings: Sequence[StoredRecording],
        declared: Sequence[Stage],
    ) -> None:
        self._store = store
        self._inputs = inputs
        self._recordings = recordings
        self._declared = declared
        self._trials: list[dict[str, Any]] = []
        self._folds: list[dict[str, Any]] = []
        self._by_recording: list[dict[str, Any]] = []
        self._confusion: list[dict[str, Any]] = []
        self._modalities: list[dict[str, Any]] = []

    def add(self, entry: Entry, judged: Sequence[tuple[Judged, Judged]]) -> None:
        """Add one trial or row.

        Parameters
        ----------
        entry : Entry
        judged : sequence of (Judged, Judged)
            Test and validation predictions with each seed; empty for a trial without predictions.
        """
        row = {
            "trial": entry.trial,
            "kind": "row" if entry.row else "trial",
            "row": entry.row,
            "seed": entry.seeds[0],
            "state": state_of(entry.error, entry.stopped_after),
            "enqueued": entry.enqueued,
            "reused_from": entry.reused_from,
            **parameters(entry.settings),
            "multimodal": entry.settings.network.multimodal,
            "adversary": entry.settings.adversary.enabled,
            "mod_f": entry.settings.modulation.mod_f,
            "mod_y": entry.settings.modulation.mod_y,
            "mod_d": entry.settings.modulation.mod_d,
            "fusion": entry.settings.network.fusion,
            "n_folds": 0,
            "n_steps": 0,
            "objective": entry.objective,
            **replicate_columns(entry.replicates),
            "worst_subject": entry.worst_subject,
            "on_front": entry.on_front,
            "stopped_after": entry.stopped_after,
            "signature": entry.signature,
            "error": entry.error,
        }
        if judged:
            row |= self._add_seeds(entry, judged)
        self._trials.append(row)

    def _add_seeds(self, entry: Entry, judged: Sequence[tuple[Judged, Judged]]) -> dict[str, Any]:
        """Add what the trial did with each seed; return its means over them."""
        tested = [evaluation(test.true, test.predicted, self._declared) for test, _ in judged]
        folds = [
            self._add_folds(entry, seed, *of_seed)
            for seed, of_seed in zip(entry.seeds, judged, strict=True)
        ]
        n_steps = np.mean([sum(fold["n_steps"] for fold in of_seed) for of_seed in folds])
        found: dict[str, Any] = {
            **_prefixed(mean_evaluation(tested)),
            "test_macro_f1_sd": float(np.std([one.macro_f1 for one in tested], ddof=1))
            if len(tested) > 1
            else None,
            "n_folds": len(folds[0]),
            "n_steps": round(float(n_steps)),
            "cost": float(n_steps) * entry.settings.training.batch_size,
        }
        if entry.settings.adversary.enabled:
            for name in ("domain_accuracy", "domain_accuracy_best", "domain_chance"):
                found[name] = float(np.mean([f[name] for of_seed in folds for f in of_seed]))
        counts = np.zeros((len(Stage), len(Stage)), np.int64)
        for seed, (test, _) in zip(entry.seeds, judged, strict=True):
            self._add_recordings(entry.trial, seed, test)
            counts += confusion_matrix(test.true, test.predicted)
        self._confusion += [
            {"trial": entry.trial, "true": t.name, "predicted": p.name, "n": int(counts[t, p])}
            for t in self._declared
            for p in self._declared
        ]
        return found

    def tables(self) -> dict[str, pa.Table]:
        """Return all tables by name: ``trials``, ``folds``, ``recordings``, ``confusion``, ``modalities``."""
        rows = {
            "trials": (self._trials, TRIALS_SCHEMA),
            "folds": (self._folds, FOLDS_SCHEMA),
            "recordings": (self._by_recording, RECORDINGS_SCHEMA),
            "confusion": (self._confusion, CONFUSION_SCHEMA),
            "modalities": (self._modalities, MODALITIES_SCHEMA),
        }
        return {
            name: pa.Table.from_pylist(
                sorted(of, key=lambda r: in_order(r["trial"])), schema=schema
            )
            for name, (of, schema) in rows.items()
        }

    def _add_folds(
        self, entry: Entry, seed: int, test: Judged, validation: Judged
    ) -> list[dict[str, Any]]:
        added = []
        for plan in self._inputs.folds:
            fold_id = self._inputs.fold_id(plan, entry.settings, seed)
            record = fold_record(self._store, fold_id)
            details = [metrics.get("details", {}) for metrics in record["history"]]
            last = details[-1]
            of_passes = [d["domain_accuracy"] for d in details if "domain_accuracy" in d]
            mine, validated = (_of_fold(judged, plan.number) for judged in (test, validation))
            row = {
                "trial": entry.trial,
                "seed": seed,
                "fold": plan.number,
                "test_subjects": plan.test,
                "validation_subjects": plan.validation,
                "train_subjects": plan.train,
                "fold_id": fold_id,
                **{name: record[name] for name in ("best_pass", "n_passes", "n_steps")},
                "n_test_epochs": len(mine[0]),
                "domain_accuracy": last.get("domain_accuracy"),
                "domain_accuracy_best": max(of_passes, default=None),
                "domain_chance": last.get("domain_chance"),
            }
            # A test subject may have no epoch of a declared stage.
            row |= _prefixed(evaluation(*mine, self._declared)) if len(mine[0]) else {}
            row["validation_macro_f1"] = evaluation(*validated, self._declared).macro_f1
            added.append(row)
            self._add_modalities(entry, seed, plan.number, record["history"])
        self._folds += added
        return added

    def _add_recordings(self, trial: str, seed: int, test: Judged) -> None:
        of_row = test.rows["recording"].to_numpy()
        fold_of = {s: fold.number for fold in self._inputs.folds for s in fold.test}
        for i, recording in enumerate(self._recordings):
            mine = of_row == i
            if mine.any():
                found = evaluation(test.true[mine], test.predicted[mine], self._declared)
                self._by_recording.append(
                    {
                        "trial": trial,
                        "seed": seed,
                        "fold": fold_of[recording.subject],
                        "subject": recording.subject,
                        "recording": recording.recording,
                        "n_epochs": found.n_epochs,
                        "macro_f1": found.macro_f1,
                        "accuracy": found.accuracy,
                        "kappa": found.kappa,
                    }
                )

    def _add_modalities(
        self, entry: Entry, seed: int, fold: int, history: Sequence[Mapping[str, Any]]
    ) -> None:
        if not entry.settings.network.multimodal:
            return
        for metrics in history:
            details = metrics["details"]
            for modality in self._inputs.epochs.modalities:
                row = {name: details.get(f"{name}/{modality}") for name in (*RECORD, "macro_f1")}
                starved = max(
                    details.get(f"starved_{head}/{modality}", 0.0) for head in ("y", "d", "f")
                )
                self._modalities.append(
                    {
                        "trial": entry.trial,
                        "seed": seed,
                        "fold": fold,
                        "pass": metrics["n_passes"],
                        "modality": modality,
                        **row,
                        "starved": not math.isclose(starved, 0.0),
                    }
                )


def _prefixed(found: Evaluation) -> dict[str, float]:
    return {
        "test_macro_f1": found.macro_f1,
        "test_accuracy": found.accuracy,
        "test_kappa": found.kappa,
    }


def _of_fold(judged: Judged, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    mine = judged.rows["fold"].to_numpy() == number
    return judged.true[mine], judged.predicted[mine]
