"""A sweep of SleepMG: rows, trials, and the stages of every fold's test subjects at the end."""

from collections.abc import Mapping
from functools import cached_property

import pyarrow as pa
import ray
from optuna.trial import FrozenTrial

from orchestrator.config.sleepmg import SleepMGSweep, parameters
from orchestrator.config.sleepmg_rows import Row
from orchestrator.errors import SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.psg import feed
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep import reports, study
from orchestrator.sweep.execution import Run, run_fixed
from orchestrator.sweep.failures import digest, digest_text
from orchestrator.sweep.manifest import write_manifest
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.reports import Outcome
from orchestrator.sweep.samplers import check_sampler
from orchestrator.sweep.sleepmg import remote, trial
from orchestrator.sweep.sleepmg.inputs import CrossValidationInputs, cross_validation_inputs
from orchestrator.sweep.sleepmg.plan import CrossValidationPlan, plan_cross_validation
from orchestrator.sweep.sleepmg.results import Entry, Tables
from orchestrator.sweep.sleepmg.worth import Worth
from orchestrator.sweep.tuning import Found, run_search
from orchestrator.sweep.warm_start import check_warm_start
from search_spaces.space import as_data
from trainables.stages import Stage


class SleepMGRun:
    """See :class:`orchestrator.sweep.runner.MethodRun`."""

    def __init__(self, store: Store, sweep: SleepMGSweep) -> None:
        self._store = store
        self._sweep = sweep
        self._plan = plan_cross_validation(sweep, store)
        if sweep.search is not None:
            check_sampler(sweep.search, sweep.search.space.declared())
            check_warm_start(store, sweep, sweep.search, sweep.search.objective)

    @property
    def data_id(self) -> tuple[str, str]:
        """Id of the epochs."""
        return "data_id", self._plan.data_id

    @property
    def n_concurrent(self) -> int:
        """Trials of the search that run at the same time; rows take turns."""
        search = self._sweep.search
        return min(search.max_concurrent, search.n_trials) if search else 1

    def prepare(self) -> None:
        """Make nothing: folds are shared between sweeps one by one."""

    @cached_property
    def _rows(self) -> dict[str, tuple[Row, int]]:
        return rows_by_trial(self._sweep)

    def run(self, gate: LabelGate, run: Run) -> pa.Table:
        """Run rows and trials, and return the final table."""
        store, sweep, plan = self._store, self._sweep, self._plan
        inputs = cross_validation_inputs(store, plan, gate)
        inputs.check()
        judge = objective_judge(gate, plan)
        self._write_manifest(inputs, judge)
        inputs_ref = [ray.put(inputs)]
        outcomes = run_fixed(run, "row", list(self._rows), remote.run_row, inputs_ref)
        if outcomes and all(reports.ERROR in outcome for outcome in outcomes.values()):
            failed = ((name, outcome[reports.ERROR]) for name, outcome in outcomes.items())
            raise SweepFailedError(
                f"all {len(outcomes)} rows of sweep {sweep.name!r} failed:\n{digest_text(digest(failed))}"
            )

        worth = Worth(store, inputs, judge)
        entries = [self._row_entry(name, outcome, worth) for name, outcome in outcomes.items()]
        if sweep.search is not None:
            found = run_search(
                run,
                sweep.search,
                space=sweep.search.space.declared(),
                first=list(sweep.first_trials()),
                trial=remote.run_trial,
                inputs_ref=inputs_ref,
                identify=lambda params: trial.signature_of_all(
                    inputs, sweep.settings_for(params), sweep.trial_seeds
                ),
                evaluate=lambda params: worth.scores(sweep.settings_for(params), sweep.trial_seeds),
                objective_name=sweep.search.objective,
                fixed={
                    name: value
                    for name, value in parameters(sweep.settings()).items()
                    if name not in sweep.search.space.declared()
                },
                describe=lambda params: trial.parts(inputs, sweep.settings_for(params)),
            )
            entries += [self._trial_entry(frozen, found, worth) for frozen in found.trials]
        gate.end_search()
        test = Judge(
            gate, list(plan.recordings), "test", sweep.stages, Split.FOLD_TEST, "final table"
        )
        tables = Tables(store, inputs, plan.recordings, sweep.stages)
        for entry in entries:
            judged = []
            if entry.signature is not None:
                run.log.emit("trial_tested", trial=entry.trial, split=Split.FOLD_TEST.value)
                judged = [
                    (test.judged(predictions), judge.judged(predictions))
                    for predictions in worth.predictions(entry.settings, entry.seeds)
                ]
            tables.add(entry, judged)
        written = tables.tables()
        for path, name in (
            (paths.sweep_folds, "folds"),
            (paths.sweep_recordings, "recordings"),
            (paths.sweep_confusion, "confusion"),
            (paths.sweep_modalities, "modalities"),
        ):
            store.write_table(path(sweep.name), written[name])
        return written["trials"]

    def _row_entry(self, name: str, outcome: Outcome, worth: Worth) -> Entry:
        row, seed = self._rows[name]
        settings = self._sweep.row_settings(row)
        signature = outcome.get(reports.SIGNATURE)
        scores = worth.scores(settings, [seed]) if signature else None
        return Entry(
            trial=name,
            row=row.name,
            seeds=(seed,),
            enqueued=True,
            settings=settings,
            signature=signature,
            objective=scores.values[0] if scores else None,
            worst_subject=worth.worst_subject(settings, [seed]) if scores else None,
            error=outcome.get(reports.ERROR),
        )

    def _trial_entry(self, frozen: FrozenTrial, found: Found, worth: Worth) -> Entry:
        sweep = self._sweep
        assert sweep.search is not None
        settings, seeds = sweep.settings_for(frozen.params), sweep.trial_seeds
        signature = study.signature_of(frozen)
        return Entry(
            trial=study.name_of(frozen),
            row=None,
            seeds=seeds,
            enqueued=study.was_enqueued(frozen),
            settings=settings,
            signature=signature,
            objective=study.objective_of(frozen),
            replicates=study.replicates_of(frozen),
            worst_subject=worth.worst_subject(settings, seeds) if signature else None,
            on_front=study.name_of(frozen) in found.front if sweep.search.also else None,
            stopped_after=study.stopped_after(frozen),
            error=study.error_of(frozen),
            reused_from=study.reused_from(frozen),
        )

    def _write_manifest(self, inputs: CrossValidationInputs, judge: Judge) -> None:
        sweep, plan = self._sweep, self._plan
        counts = judge.stage_counts
        majority = max(sweep.stages, key=lambda stage: counts[stage.name])
        space = sweep.search.space.declared() if sweep.search else {}
        about = {
            "name": sweep.name,
            "method": sweep.method,
            "objective": "validation",
            "also": list(sweep.search.also) if sweep.search else [],
            "declared_stages": [stage.name for stage in sweep.stages],
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
            "batch_size": sweep.training.batch_size,
            "n_passes": sweep.training.n_passes,
            "workers": sweep.workers,
            "seed": sweep.seed,
            "data_id": plan.data_id,
            "n_epochs": len(inputs.epochs.stages),
            "stage_counts": counts,
            "majority": {
                "stage": majority.name,
                "macro_f1": _majority_macro_f1(counts, sweep.stages, majority),
            },
        }
        write_manifest(self._store, sweep.name, about)

    def _channels(self) -> dict[str, list[str]]:
        """Return the channels of each modality, of the first recording that has it."""
        found: dict[str, list[str]] = {}
        for recording in self._plan.recordings:
            labels = feed.channel_labels(self._store, recording)
            for modality in self._sweep.modalities:
                if modality in labels:
                    found.setdefault(modality, list(labels[modality]))
        return found


def rows_by_trial(sweep: SleepMGSweep) -> dict[str, tuple[Row, int]]:
    """Return rows with their seeds, by name of the trial."""
    return {f"row-{row.slug}-seed{seed}": (row, seed) for row in sweep.rows for seed in sweep.seeds}


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


def _majority_macro_f1(
    counts: Mapping[str, int], declared: tuple[Stage, ...], majority: Stage
) -> float:
    """Return the macro-F1 of always answering one stage: its F1 is 2 p / (p + 1), that of the others 0."""
    share = counts[majority.name] / sum(counts[stage.name] for stage in declared)
    return 2 * share / (share + 1) / len(declared)
