"""Run a sweep: score, arms, trials, and the final table with the target's test labels."""

import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from orchestrator.config.sweep import SweepFile, diff, dump, load_sweep
from orchestrator.errors import ConfigError, InterruptedSweepError, SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep import execution, record, search, trial
from orchestrator.sweep.encoder import encoder_id
from orchestrator.sweep.epochs import batch_signals, batch_stages, unlabelled_epochs
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.plan import SweepPlan, plan_sweep
from orchestrator.sweep.results import Entry, trial_row, trials_table
from orchestrator.sweep.scoring import Scored, run_scoring
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from trainables.stage_loss import class_weights
from trainables.stages import Stage


def run_sweep(store: Store, sweep: SweepFile, *, n_cpus: int | None = None) -> pa.Table:
    """Run a sweep, or what is left of it, and return its final table.

    A sweep whose final table is in the store is looked up. One that was killed goes on: finished trials are in
    its Optuna study, and their predictions in the store.

    Raises
    ------
    ConfigError
        The sweep file or its data changed since the sweep began, or a name in it is unknown.
    SweepFailedError
        Every trial failed.
    InterruptedSweepError
        Ctrl-C during the trials; the same call goes on.
    """
    _check_same_file(store, sweep)
    plan = plan_sweep(sweep, store)
    _check_same_data(store, plan)
    if store.exists(paths.sweep_trials(sweep.name)):
        return store.read_table(paths.sweep_trials(sweep.name))
    with ray_session(n_cpus), EventLog(store, paths.sweep_events(sweep.name)) as log:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        log.emit(
            "sweep_started",
            machine=platform.machine(),
            n_cpus=resources.get("CPU", 0),
            n_gpus=resources.get("GPU", 0),
        )
        scored = run_scoring(store, sweep, plan=plan)
        store.write_bytes(paths.sweep_file(sweep.name), dump(sweep).encode())
        return _run_trials(store, scored, LabelGate(store, log), log)


def _check_same_file(store: Store, sweep: SweepFile) -> None:
    path = paths.sweep_file(sweep.name)
    if not store.exists(path):
        return
    with store.local_copy(path) as file:
        changes = diff(load_sweep(file), sweep)
    if changes:
        raise ConfigError(
            f"sweep {sweep.name!r} was begun with other settings: {'; '.join(changes)}. Give the changed file another "
            f"`name`, or remove {store.uri_of(paths.sweep_folder(sweep.name))}."
        )


def _check_same_data(store: Store, plan: SweepPlan) -> None:
    path = paths.sweep_manifest(plan.sweep.name)
    if not store.exists(path):
        return
    begun_with = json.loads(store.read_bytes(path))["score_id"]
    now = plan.score_request(encoder_id(plan)).score_id
    if begun_with != now:
        raise ConfigError(
            f"the epochs of sweep {plan.sweep.name!r} changed since it began (score table {begun_with}, now {now}). "
            f"Give the sweep another `name`, or remove {store.uri_of(paths.sweep_folder(plan.sweep.name))}."
        )


def _run_trials(store: Store, scored: Scored, gate: LabelGate, log: EventLog) -> pa.Table:
    plan, sweep = scored.plan, scored.plan.sweep
    selectable = [plan.source_batches[i] for i in plan.selectable]
    stages = batch_stages(
        gate, plan.train, selectable, Split.SOURCE_TRAIN, "finetuning on source batches"
    )
    held_out = [b for b in plan.source_batches if b.batch_id not in set(plan.selectable)]
    held_out_stages = batch_stages(
        gate, plan.source, held_out, Split.SOURCE_VALIDATION, "stage mix of held-out batches"
    )
    objective_split = Split.TARGET_VALIDATION if plan.target_validation else Split.SOURCE_VALIDATION
    judge = Judge(
        gate, plan.objective_recordings, "objective", sweep.stages, objective_split, "objective"
    )
    record.write_batches(store, scored, stages, held_out_stages)
    inputs = trial_inputs(store, scored, stages)
    inputs_ref = ray.put(inputs)
    arms = execution.run_arms(sweep, inputs, inputs_ref, log)
    no_adapt = _predictions(store, sweep, arms["no_adapt"][search.SIGNATURE])
    record.write_manifest(store, scored, judge, no_adapt, len(inputs.test_epochs.x))
    trials = _search(store, sweep, inputs, inputs_ref, judge, log)
    if len(trials) < sweep.search.n_trials:  # Ray Tune takes Ctrl-C for itself, and returns
        raise InterruptedSweepError(
            f"sweep {sweep.name!r} was interrupted after {len(trials)} of {sweep.search.n_trials} trials. The same "
            "command goes on where it was."
        )
    if all(entry.error for entry in trials):
        raise SweepFailedError(
            f"all {len(trials)} trials of sweep {sweep.name!r} failed. First one: {trials[0].error}"
        )
    gate.end_search()
    test = Judge(gate, plan.target_test, "test", sweep.stages, Split.TARGET_TEST, "final table")
    entries = [*_arm_entries(store, sweep, inputs, arms, judge), *trials]
    table = trials_table(
        [
            trial_row(
                entry,
                selectable,
                stages,
                test.evaluate(_predictions(store, sweep, entry.signature))
                if entry.signature
                else None,
            )
            for entry in entries
        ]
    )
    record.add_target_counts(store, sweep.name, test, no_adapt)
    store.write_table(paths.sweep_trials(sweep.name), table)
    log.emit("sweep_finished", n_trials=len(trials))
    return table


def trial_inputs(store: Store, scored: Scored, stages: NDArray[np.int64]) -> trial.TrialInputs:
    """Gather the arrays that all trials share; those of the target hold no stage."""
    plan, sweep = scored.plan, scored.plan.sweep
    learned = tuple(Stage[name] for name in scored.encoder.metadata["learned_stages"])
    selectable = [plan.source_batches[i] for i in plan.selectable]
    return trial.TrialInputs(
        store_uri=store.uri,
        sweep_name=sweep.name,
        score_id=scored.score_id,
        weights=scored.encoder.weights,
        reward_S=scored.reward_S[list(plan.selectable)],
        batches_x=batch_signals(store, plan.train, selectable, sweep.modality),
        batches_stages=stages,
        class_weights=class_weights(stages.reshape(-1), sweep.stages),
        learned_stages=learned,
        objective_epochs=unlabelled_epochs(store, plan.objective_recordings, sweep.modality),
        test_epochs=unlabelled_epochs(store, plan.target_test, sweep.modality),
        default_learning_rate=sweep.search.default_learning_rate,
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
    )


def _arm_entries(
    store: Store,
    sweep: SweepFile,
    inputs: trial.TrialInputs,
    arms: dict[str, execution.Outcome],
    judge: Judge,
) -> list[Entry]:
    entries = []
    for arm in sweep.arms:
        signature = arms[arm].get(search.SIGNATURE)
        entries.append(
            Entry(
                trial=f"arm-{arm}",
                arm=arm,
                enqueued=True,
                configuration=trial.arm_configuration(inputs, arm),
                signature=signature,
                objective=judge.evaluate(_predictions(store, sweep, signature)).macro_f1
                if signature
                else None,
                error=arms[arm].get(search.ERROR),
            )
        )
    return entries


def _search(
    store: Store,
    sweep: SweepFile,
    inputs: trial.TrialInputs,
    inputs_ref: "ray.ObjectRef[trial.TrialInputs]",
    judge: Judge,
    log: EventLog,
) -> list[Entry]:
    """Run what is left of the search, and return all of its trials, earlier attempts included."""
    with tempfile.TemporaryDirectory() as scratch:
        journal = _local_journal(store, sweep.name, Path(scratch))
        study = search.Study(sweep.name, journal, sweep.seed)
        n_requeued = study.continue_interrupted()
        n_finished = len(study.trials)
        n_left = sweep.search.n_trials - n_finished
        log.emit("search_started", n_trials=n_left, n_finished=n_finished, n_requeued=n_requeued)
        if n_left > 0:
            with progress("trials", n_left) as advance:

                def objective(signature: str) -> float:
                    value = judge.evaluate(_predictions(store, sweep, signature)).macro_f1
                    log.emit("trial_done", signature=signature, objective=value)
                    advance(f"objective {value:.3f}")
                    return value

                def told() -> None:
                    if not store.is_local:
                        store.write_bytes(paths.sweep_journal(sweep.name), journal.read_bytes())

                # Nothing reads Tune's own files again, so on S3 they are not kept.
                tune_folder = (
                    Path(store.uri_of(paths.sweep_tune(sweep.name)))
                    if store.is_local
                    else Path(scratch) / "tune"
                )
                execution.run_trials(sweep, inputs_ref, study, objective, told, n_left, tune_folder)
        return [
            Entry(
                trial=f"t{number:03d}",
                arm=None,
                enqueued=search.was_enqueued(frozen),
                configuration=trial.trial_configuration(inputs, frozen.params),
                signature=search.signature_of(frozen),
                objective=frozen.value,
                error=search.error_of(frozen),
            )
            for number, frozen in enumerate(study.trials)
        ]


def _local_journal(store: Store, name: str, scratch: Path) -> Path:
    """Return the journal as a local file: Optuna appends to it. On S3 a copy follows every told trial."""
    path = paths.sweep_journal(name)
    if store.is_local:
        return Path(store.uri_of(path))
    journal = scratch / "optuna.journal"
    if store.exists(path):
        journal.write_bytes(store.read_bytes(path))
    return journal


def _predictions(store: Store, sweep: SweepFile, signature: str) -> pa.Table:
    return store.read_table(paths.predictions(sweep.name, signature))
