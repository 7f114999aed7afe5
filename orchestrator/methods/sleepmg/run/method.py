"""The method sleepmg on one sweep: each trial and row is a whole cross-validation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.errors import SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.method import Done, MethodBase, Scores, StoredWeights, Trained, Trainer
from orchestrator.methods.sleepmg.config.search import Search
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import (
    CrossValidationPlan,
    TrainingPlan,
    plan_cross_validation,
)
from orchestrator.methods.sleepmg.run.objective_values import ObjectiveValues
from orchestrator.methods.sleepmg.run.tables import Tables
from orchestrator.methods.sleepmg.trial import cross_validation as trial
from orchestrator.methods.sleepmg.trial.cross_validation import Trial, described
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs, cross_validation_inputs
from orchestrator.methods.sleepmg.trial.refit import refit_of
from orchestrator.psg import feed
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.failures import digest, digest_text
from orchestrator.sweeps.manifest import write_manifest
from orchestrator.sweeps.objective import Judge
from orchestrator.sweeps.reports import so_far
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Params, as_data
from trainables.stages import Stage


class SleepMGMethod(MethodBase[SleepMGSweep]):
    """See :class:`orchestrator.method.Method`; its controls are the rows of the sweep file, with each seed."""

    control_kind = "row"
    trainer: Trainer[CrossValidationInputs, Trial] = trial.TRAINER

    def __init__(self, store: Store, sweep: SleepMGSweep) -> None:
        super().__init__(store, sweep)
        self._plan = plan_cross_validation(sweep, store)
        self._inputs: CrossValidationInputs
        self._judge: Judge
        self._values: ObjectiveValues

    @property
    def objective_name(self) -> str:
        """What the search maximises."""
        default: str = Search.model_fields["objective"].default
        return default if self.search is None else super().objective_name

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    @property
    def controls(self) -> Sequence[str]:
        """Names of the rows with their seeds."""
        return list(trial.rows_by_trial(self.sweep))

    def begin(self, gate: LabelGate, out: Store) -> CrossValidationInputs:
        """Read signals and stages; folds are looked for in `out`, and written there."""
        inputs = cross_validation_inputs(self._store, self._plan, gate)
        inputs.check()
        self._judge = objective_judge(gate, self._plan)
        self._inputs = replace(inputs, store_uri=out.uri)
        self._values = ObjectiveValues(out, self._inputs, self._judge)
        return self._inputs

    def record(self, gate: LabelGate, log: EventLog) -> None:
        """Write the manifest."""
        write_manifest(self._store, self.sweep, self._about())

    def record_controls(self, errors: Mapping[str, str | None]) -> None:
        """Refuse to go on where every row failed."""
        failed = [(name, error) for name, error in errors.items() if error is not None]
        if len(failed) == len(errors):
            raise SweepFailedError(
                f"all {len(errors)} rows of sweep {self.sweep.name!r} failed:\n{digest_text(digest(failed))}"
            )

    def configured(self, name: str, params: Params | None) -> Trial:
        """Return what a trial trains, or a row by its name."""
        return trial.configured(self._inputs, name, params)

    def objective(self, trial: Trial, predictions: Sequence[pa.Table]) -> float:
        """Return the macro-F1 of the validation subjects of all folds, pooled; the mean over the seeds."""
        return float(np.mean([self._judge.evaluate(table).macro_f1 for table in predictions]))

    def judge(self, trial: Trial) -> Scores:
        """Return what a trained trial is worth."""
        return self._values.scores(trial)

    def judge_part(self, trial: Trial, report: Mapping[str, Any]) -> float:
        """Return what the trial itself knows of the folds that are done."""
        return so_far({}, report)

    def described(self, trial: Trial) -> Mapping[str, Any]:
        """Return how many reports there are, and after what."""
        return described(self._inputs, trial)

    def tables(
        self, done: Sequence[Done[Trial]], gate: LabelGate, log: EventLog
    ) -> Mapping[str, pa.Table]:
        """Return trials and rows, folds, test subjects, recordings, confusion and modalities."""
        plan, stages = self._plan, self.sweep.stages
        test = Judge(gate, list(plan.recordings), "test", stages, Split.FOLD_TEST, "final table")
        tables = Tables(self._store, self._inputs, plan.recordings, stages)
        for one in done:
            judged, worst_subject = [], None
            if one.signature is not None:
                log.emit("trial_tested", trial=one.name, split=Split.FOLD_TEST.value)
                worst_subject = self._values.worst_subject(one.trial)
                judged = [
                    (test.judged(predictions), self._judge.judged(predictions))
                    for predictions in self._values.predictions(one.trial)
                ]
            tables.add(one, judged, worst_subject)
        path_of = {
            "folds": paths.sweep_folds,
            "by_subject": paths.sweep_trials_by_subject,
            "recordings": paths.sweep_recordings,
            "confusion": paths.sweep_confusion,
            "modalities": paths.sweep_modalities,
            "trials": paths.sweep_trials,
        }
        return {path_of[name](self.sweep.name): table for name, table in tables.tables().items()}

    def refit(self, one: Done[Trial]) -> Trial | None:
        """Return the trainings on all subjects, if the sweep file wants them."""
        return refit_of(self._inputs, one.trial) if self.sweep.refit else None

    def trained(self, one: Done[Trial], row: Mapping[str, Any]) -> Trained:
        """Return the networks of all folds and seeds, or those of all subjects, which are one ensemble."""
        plan = self._plan
        return Trained(
            network="sleepmg",
            weights=self._weights(one.trial),
            modalities=self.sweep.modalities,
            scale=self.sweep.scale,
            stages=self.sweep.stages,
            learned_from=plan.recordings,
            metrics=[
                {
                    "split": "fold test",
                    "dataset": self.sweep.dataset,
                    "subjects": list(plan.subjects),
                    "macro_f1": row["test_macro_f1"],
                    "accuracy": row["test_accuracy"],
                    "kappa": row["test_kappa"],
                }
            ],
            about={
                "settings": asdict(one.trial.settings),
                "signature": one.signature,
                "data_id": plan.data_id,
                **_about_refit(one.trial),
                "folds": [
                    {"fold": fold.number, "test": list(fold.test), "train": list(fold.train)}
                    for fold in plan.folds
                ],
            },
        )

    def _weights(self, trial: Trial) -> list[StoredWeights]:
        def stored(plan: TrainingPlan, seed: int, number: int | None = None) -> StoredWeights:
            fold_id = self._inputs.fold_id(plan, trial.settings, seed)
            learned = self._inputs.learned(plan)
            return StoredWeights(
                path=paths.fold_weights(fold_id),
                seed=seed,
                fold=number,
                record=paths.fold_json(fold_id),
                modalities=None if learned == tuple(self.sweep.modalities) else learned,
            )

        if trial.refit:
            return [stored(*one) for one in zip(trial.refit, trial.seeds, strict=True)]
        return [
            stored(fold, seed, fold.number) for seed in trial.seeds for fold in self._plan.folds
        ]

    def _about(self) -> dict[str, Any]:
        """Return what the sweep runs on, and what always answering one stage is worth."""
        sweep, plan, judge, inputs = self.sweep, self._plan, self._judge, self._inputs
        counts = judge.stage_counts
        majority = max(sweep.stages, key=lambda stage: counts[stage.name])
        space = self.space
        return {
            "objective": self.objective_name,
            "also": list(sweep.search.also) if sweep.search else [],
            "dataset": sweep.dataset,
            "subjects": list(plan.subjects),
            "modalities": list(sweep.modalities),
            "channels": self._channels(),
            "scale": sweep.scale,
            "folds": {
                "kind": sweep.folds.kind,
                "n_folds": len(plan.folds),
                "n_validation": sweep.folds.n_validation,
            },
            "searched": list(space),
            "space": {name: as_data(declared) for name, declared in space.items()},
            "rows": [{"name": row.name, "ours": row.ours} for row in sweep.rows],
            "seeds": list(sweep.seeds),
            "figure": sweep.figure,
            "refit": sweep.refit,
            "batch_size": sweep.training.batch_size,
            "n_passes": sweep.training.n_passes,
            "workers": sweep.workers,
            "data_id": plan.data_id,
            "n_epochs": len(inputs.epochs.stages),
            "stage_counts": counts,
            "majority": {
                "stage": majority.name,
                "macro_f1": _majority_macro_f1(counts, sweep.stages, majority),
            },
        }

    def _channels(self) -> dict[str, list[str]]:
        """Return the channels of each modality, of the first recording that has it."""
        found: dict[str, list[str]] = {}
        for recording in self._plan.recordings:
            labels = feed.channel_labels(self._store, recording)
            for modality in self.sweep.modalities:
                if modality in labels:
                    found.setdefault(modality, list(labels[modality]))
        return found


def objective_judge(gate: LabelGate, plan: CrossValidationPlan) -> Judge:
    """Return the judge of the validation subjects of all folds."""
    return Judge(
        gate,
        list(plan.recordings),
        "objective",
        plan.sweep.stages,
        Split.FOLD_VALIDATION,
        "objective",
    )


def _about_refit(trial: Trial) -> dict[str, Any]:
    """Return what is known of trainings on all subjects: how long each was, and that nobody judged it."""
    if not trial.refit:
        return {}
    n_passes = {
        str(seed): plan.n_passes for seed, plan in zip(trial.seeds, trial.refit, strict=True)
    }
    return {"refit": {"n_passes_by_seed": n_passes, "judged": False}}


def _majority_macro_f1(
    counts: Mapping[str, int], declared: tuple[Stage, ...], majority: Stage
) -> float:
    """Return the macro-F1 of always answering one stage: its F1 is 2 p / (p + 1), that of the others 0."""
    share = counts[majority.name] / sum(counts[stage.name] for stage in declared)
    return 2 * share / (share + 1) / len(declared)
