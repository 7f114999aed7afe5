"""A sweep of pretrainings: trials, and a final table that is about the source alone."""

import dataclasses

import numpy as np
import pyarrow as pa
import ray

from orchestrator.config.pretrain import PretrainSweep, parameters
from orchestrator.labels import LabelGate, Split
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep import study
from orchestrator.sweep.execution import Run
from orchestrator.sweep.manifest import tell_encoders_of_other_code, write_manifest
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.pretrain import remote, trial
from orchestrator.sweep.pretrain.plan import PretrainPlan, plan_pretraining
from orchestrator.sweep.pretrain.results import Entry, Tables
from orchestrator.sweep.samplers import check_sampler
from orchestrator.sweep.search import Scores
from orchestrator.sweep.selective.trial import predictions_table
from orchestrator.sweep.tuning import run_search
from orchestrator.sweep.warm_start import check_warm_start
from search_spaces.space import Params, as_data
from trainables.stages import Stage


class PretrainRun:
    """See :class:`orchestrator.sweep.runner.MethodRun`."""

    def __init__(self, store: Store, sweep: PretrainSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_pretraining(sweep, store)
        check_sampler(sweep.search, sweep.search.space.declared())
        check_warm_start(store, sweep, sweep.search, sweep.search.objective)

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    @property
    def n_concurrent(self) -> int:
        """Trials that run at the same time."""
        return min(self._sweep.search.max_concurrent, self._sweep.search.n_trials)

    def prepare(self) -> None:
        """Make nothing: encoders are shared between sweeps one by one."""

    def run(self, gate: LabelGate, run: Run) -> pa.Table:
        """Run all trials, and return the final table."""
        store, sweep, plan = self._store, self._sweep, self._plan
        inputs = trial.trial_inputs(store, plan, gate)
        inputs.check()
        judge = objective_judge(gate, plan)
        self._write_manifest(inputs, judge)

        def evaluate(params: Params) -> Scores:
            predictions = self._predictions(trial.signature(plan, params))
            return Scores(values=(judge.evaluate(predictions).macro_f1,))

        found = run_search(
            run,
            sweep.search,
            space=sweep.search.space.declared(),
            first=sweep.first_trials(),
            trial=remote.run_trial,
            inputs_ref=[ray.put(inputs)],
            identify=lambda params: trial.signature(plan, params),
            evaluate=evaluate,
            objective_name=sweep.search.objective,
            fixed={
                name: value
                for name, value in parameters(sweep.encoder, sweep.pretrain).items()
                if name not in sweep.search.space.declared()
            },
        )
        gate.end_search()
        encoders = [name for frozen in found.trials if (name := study.signature_of(frozen))]
        tell_encoders_of_other_code(store, sweep.name, run.log, encoders)
        tables = Tables(store, plan.source.validation, sweep.stages)
        for frozen in found.trials:
            encoder, pretrain = sweep.settings_for(frozen.params)
            signature = study.signature_of(frozen)
            tables.add(
                Entry(
                    trial=study.name_of(frozen),
                    enqueued=study.was_enqueued(frozen),
                    encoder=encoder,
                    pretrain=pretrain,
                    signature=signature,
                    objective=study.objective_of(frozen),
                    error=study.error_of(frozen),
                    reused_from=study.reused_from(frozen),
                ),
                judge.judged(self._predictions(signature)) if signature else None,
            )
        written = tables.tables()
        store.write_table(paths.sweep_subjects(sweep.name), written["subjects"])
        return written["trials"]

    def _write_manifest(self, inputs: trial.TrialInputs, judge: Judge) -> None:
        """Write what the sweep runs on, and what always answering one stage is worth.

        Raises
        ------
        DataError
            No epoch of the objective has a declared stage: told here, before any trial is run.
        """
        sweep, plan, epochs = self._sweep, self._plan, inputs.objective_epochs
        unanswered = predictions_table(
            "objective", epochs, np.zeros((len(epochs.x), len(Stage)), np.float32)
        )
        n_judged = judge.evaluate(unanswered).n_epochs
        counts = {s.name: int((inputs.epochs.train.stages == s).sum()) for s in Stage}
        majority = max(sweep.stages, key=lambda stage: counts[stage.name])
        space = sweep.search.space.declared()
        about = {
            "name": sweep.name,
            "method": sweep.method,
            "objective": sweep.search.objective,
            "declared_stages": [stage.name for stage in sweep.stages],
            "modality": sweep.modality,
            "dataset": sweep.source.dataset,
            "train_subjects": _subjects(plan.source.train),
            "early_stop_subjects": _subjects(plan.source.early_stop),
            "objective_subjects": _subjects(plan.source.validation),
            "searched": list(space),
            "space": {name: as_data(declared) for name, declared in space.items()},
            "encoder": dataclasses.asdict(sweep.encoder),
            "pretrain": dataclasses.asdict(sweep.pretrain),
            "seed": sweep.seed,
            "data_id": plan.data_id,
            "n_train_epochs": len(inputs.epochs.train.stages),
            "n_early_stop_epochs": len(inputs.epochs.early_stop.stages),
            "n_objective_epochs": n_judged,
            "train_stage_counts": counts,
            "majority": {
                "stage": majority.name,
                "macro_f1": judge.constant(majority, unanswered),
            },
        }
        write_manifest(self._store, sweep.name, about)

    def _predictions(self, signature: str) -> pa.Table:
        return self._store.read_table(paths.predictions(self._sweep.name, signature))


def objective_judge(gate: LabelGate, plan: PretrainPlan) -> Judge:
    """Return the judge of the held-out subjects that do not stop pretraining."""
    return Judge(
        gate,
        plan.source.validation,
        "objective",
        plan.sweep.stages,
        Split.SOURCE_VALIDATION,
        "objective",
    )


def _subjects(recordings: tuple[StoredRecording, ...]) -> list[str]:
    return sorted({recording.subject for recording in recordings})
