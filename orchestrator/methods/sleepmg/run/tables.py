"""The tables that a sweep of SleepMG leaves: trials and rows, folds, subjects, recordings, confusion, modalities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.method import Done
from orchestrator.methods.sleepmg.config.sweep import parameters
from orchestrator.methods.sleepmg.results import (
    ConfusionRow,
    FoldRow,
    ModalityRow,
    RecordingRow,
    TrialRow,
)
from orchestrator.methods.sleepmg.trial.cross_validation import Trial, fold_record
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.psg.feed import StoredRecording
from orchestrator.store.store import Store
from orchestrator.sweeps.by_subject import by_subject_table, rows_by_subject
from orchestrator.sweeps.objective import Evaluation, Judged, evaluation
from orchestrator.sweeps.replicates import mean_evaluation, replicate_columns
from orchestrator.sweeps.search.study import in_order
from orchestrator.tables.by_subject import BySubjectRow, Replicate
from orchestrator.tables.rows import table_of
from orchestrator.tables.trials import state_of
from trainables.balanced_step import RECORD
from trainables.metrics import confusion_matrix
from trainables.stages import Stage

Row = TypeVar("Row", TrialRow, FoldRow, RecordingRow, ConfusionRow, ModalityRow)


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
        self._fold_of = {s: fold.number for fold in inputs.folds for s in fold.test}
        self._trials: list[TrialRow] = []
        self._folds: list[FoldRow] = []
        self._by_recording: list[RecordingRow] = []
        self._by_subject: list[BySubjectRow] = []
        self._confusion: list[ConfusionRow] = []
        self._modalities: list[ModalityRow] = []

    def add(
        self,
        one: Done[Trial],
        judged: Sequence[tuple[Judged, Judged]],
        worst_subject: float | None = None,
    ) -> None:
        """Add one trial or row.

        Parameters
        ----------
        one : Done
        judged : sequence of (Judged, Judged)
            Test and validation predictions with each seed; empty for a trial without predictions.
        worst_subject : float, optional
            Macro-F1 of the validation subject who fares worst.
        """
        settings = one.trial.settings
        self._trials.append(
            TrialRow(
                trial=one.name,
                kind=_kind_of(one),
                row=one.trial.row,
                seed=one.trial.seeds[0],
                state=state_of(one.error, one.stopped_after),
                enqueued=one.enqueued,
                reused_from=one.reused_from,
                params=parameters(settings),
                multimodal=settings.network.multimodal,
                adversary=settings.adversary.enabled,
                mod_f=settings.modulation.mod_f,
                mod_y=settings.modulation.mod_y,
                mod_d=settings.modulation.mod_d,
                fusion=settings.network.fusion,
                objective=one.objective,
                **replicate_columns(one.replicates),
                worst_subject=worst_subject,
                on_front=one.on_front,
                stopped_after=one.stopped_after,
                signature=one.signature,
                error=one.error,
                **(self._add_seeds(one, judged) if judged else {}),
            )
        )

    def _add_seeds(
        self, one: Done[Trial], judged: Sequence[tuple[Judged, Judged]]
    ) -> dict[str, Any]:
        """Add what the trial did with each seed; return its means over them."""
        tested = [evaluation(test.true, test.predicted, self._declared) for test, _ in judged]
        folds = [
            self._add_folds(one, seed, *of_seed)
            for seed, of_seed in zip(one.trial.seeds, judged, strict=True)
        ]
        n_steps = np.mean([sum(fold.n_steps for fold in of_seed) for of_seed in folds])
        found: dict[str, Any] = {
            **_prefixed(mean_evaluation(tested)),
            "test_macro_f1_sd": float(np.std([found.macro_f1 for found in tested], ddof=1))
            if len(tested) > 1
            else None,
            "n_folds": len(folds[0]),
            "n_steps": round(float(n_steps)),
            "cost": float(n_steps) * one.trial.settings.training.batch_size,
        }
        if one.trial.settings.adversary.enabled:
            for name in ("domain_accuracy", "domain_accuracy_best", "domain_chance"):
                found[name] = float(
                    np.mean([getattr(fold, name) for of_seed in folds for fold in of_seed])
                )
        counts = np.zeros((len(Stage), len(Stage)), np.int64)
        for seed, (test, _) in zip(one.trial.seeds, judged, strict=True):
            self._add_recordings(one.name, seed, test)
            self._add_subjects(one, seed, test)
            counts += confusion_matrix(test.true, test.predicted)
        self._confusion += [
            ConfusionRow(trial=one.name, true=t.name, predicted=p.name, n=int(counts[t, p]))
            for t in self._declared
            for p in self._declared
        ]
        return found

    def tables(self) -> dict[str, pa.Table]:
        """Return all tables by name: ``trials``, ``folds``, ``by_subject``, ``recordings`` ..."""

        def table(row_type: type[Row], rows: Sequence[Row]) -> pa.Table:
            return table_of(row_type, sorted(rows, key=lambda row: in_order(row.trial)))

        return {
            "trials": table(TrialRow, self._trials),
            "folds": table(FoldRow, self._folds),
            "by_subject": by_subject_table(self._by_subject),
            "recordings": table(RecordingRow, self._by_recording),
            "confusion": table(ConfusionRow, self._confusion),
            "modalities": table(ModalityRow, self._modalities),
        }

    def _add_folds(
        self, one: Done[Trial], seed: int, test: Judged, validation: Judged
    ) -> list[FoldRow]:
        added = []
        for plan in self._inputs.folds:
            fold_id = self._inputs.fold_id(plan, one.trial.settings, seed)
            record = fold_record(self._store, fold_id)
            details = [metrics.get("details", {}) for metrics in record["history"]]
            last = details[-1]
            of_passes = [d["domain_accuracy"] for d in details if "domain_accuracy" in d]
            mine, validated = (_of_fold(judged, plan.number) for judged in (test, validation))
            # A test subject may have no epoch of a declared stage.
            tested = evaluation(*mine, self._declared) if len(mine[0]) else None
            added.append(
                FoldRow(
                    trial=one.name,
                    seed=seed,
                    fold=plan.number,
                    test_subjects=plan.test,
                    validation_subjects=plan.validation,
                    train_subjects=plan.train,
                    fold_id=fold_id,
                    best_pass=record["best_pass"],
                    n_passes=record["n_passes"],
                    n_steps=record["n_steps"],
                    validation_macro_f1=evaluation(*validated, self._declared).macro_f1,
                    test_macro_f1=tested.macro_f1 if tested else None,
                    test_accuracy=tested.accuracy if tested else None,
                    test_kappa=tested.kappa if tested else None,
                    n_test_epochs=len(mine[0]),
                    domain_accuracy=last.get("domain_accuracy"),
                    domain_accuracy_best=max(of_passes, default=None),
                    domain_chance=last.get("domain_chance"),
                )
            )
            self._add_modalities(one, seed, plan.number, record["history"])
        self._folds += added
        return added

    def _add_recordings(self, trial: str, seed: int, test: Judged) -> None:
        of_row = test.rows["recording"].to_numpy()
        for i, recording in enumerate(self._recordings):
            mine = of_row == i
            if mine.any():
                found = evaluation(test.true[mine], test.predicted[mine], self._declared)
                self._by_recording.append(
                    RecordingRow(
                        trial=trial,
                        seed=seed,
                        fold=self._fold_of[recording.subject],
                        subject=recording.subject,
                        recording=recording.recording,
                        n_epochs=found.n_epochs,
                        macro_f1=found.macro_f1,
                        accuracy=found.accuracy,
                        kappa=found.kappa,
                    )
                )

    def _add_subjects(self, one: Done[Trial], seed: int, test: Judged) -> None:
        of = Replicate(
            trial=one.name,
            kind=_kind_of(one),
            control=one.trial.row,
            seed=seed,
            split="test",
        )
        self._by_subject += rows_by_subject(
            of, test, self._recordings, self._declared, self._fold_of
        )

    def _add_modalities(
        self, one: Done[Trial], seed: int, fold: int, history: Sequence[Mapping[str, Any]]
    ) -> None:
        if not one.trial.settings.network.multimodal:
            return
        for metrics in history:
            details = metrics["details"]
            for modality in self._inputs.epochs.modalities:
                recorded = {
                    name: details.get(f"{name}/{modality}") for name in (*RECORD, "macro_f1")
                }
                starved = max(
                    details.get(f"starved_{head}/{modality}", 0.0) for head in ("y", "d", "f")
                )
                self._modalities.append(
                    ModalityRow(
                        trial=one.name,
                        seed=seed,
                        fold=fold,
                        pass_=metrics["n_passes"],
                        modality=modality,
                        starved=not math.isclose(starved, 0.0),
                        **recorded,
                    )
                )


def _kind_of(one: Done[Trial]) -> str:
    return "row" if one.is_control else "trial"


def _prefixed(found: Evaluation) -> dict[str, float]:
    return {
        "test_macro_f1": found.macro_f1,
        "test_accuracy": found.accuracy,
        "test_kappa": found.kappa,
    }


def _of_fold(judged: Judged, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    mine = judged.rows["fold"].to_numpy() == number
    return judged.true[mine], judged.predicted[mine]
