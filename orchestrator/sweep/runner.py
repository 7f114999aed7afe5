"""Run a sweep: encoder, score table, control arms, trials, and the final table with the target's test labels."""

import json
import os
import tempfile
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.alignment.encode import encode_recordings
from orchestrator.alignment.scores import is_complete, score
from orchestrator.alignment.selection import rewards
from orchestrator.config.sweep import SweepFile, diff, dump, load_sweep
from orchestrator.errors import ConfigError, SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweep import trial
from orchestrator.sweep.encoder import Encoder, encoder_function, encoder_id, ensure_encoder
from orchestrator.sweep.epochs import batch_signals, batch_stages, unlabelled_epochs
from orchestrator.sweep.objective import Judge
from orchestrator.sweep.plan import SweepPlan, plan_sweep
from orchestrator.sweep.results import Entry, batches_table, trial_row, trials_table
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress
from orchestrator.telemetry.session import ray_session
from trainables import selective
from trainables.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A sweep with its encoder and score table in the store."""

    plan: SweepPlan
    encoder: Encoder
    score_id: str
    emd_S: NDArray[np.float64]
    """(n_source_batches,), aggregated over the target batches."""
    reward_S: NDArray[np.float64]
    """(n_source_batches,)."""


def run_scoring(
    store: Store, sweep: SweepFile, *, n_cpus: int | None = None, plan: SweepPlan | None = None
) -> Scored:
    """Have encoder, features and score table of a sweep in the store, making what is missing."""
    plan = plan or plan_sweep(sweep, store)
    encoder = ensure_encoder(store, plan)
    request = plan.score_request(encoder.encoder_id)
    with (
        nullcontext() if is_complete(store, request) else ray_session(n_cpus),
        EventLog(store, paths.score_events(request.score_id)) as log,
    ):
        encode_recordings(
            store,
            sorted({*plan.source, *plan.target}, key=lambda r: (r.dataset, r.subject, r.recording)),
            encoder_function(encoder, sweep.score.layer),
            encoder_id=encoder.encoder_id,
            layer=sweep.score.layer,
            modality=sweep.modality,
            log=log,
        )
        emd_ST = score(store, request, log)
    emd_S, reward_S = rewards(emd_ST, sweep.score.aggregate)
    return Scored(
        plan=plan, encoder=encoder, score_id=request.score_id, emd_S=emd_S, reward_S=reward_S
    )


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
    """
    _check_same_file(store, sweep)
    plan = plan_sweep(sweep, store)
    _check_same_data(store, plan)
    if store.exists(paths.sweep_trials(sweep.name)):
        return store.read_table(paths.sweep_trials(sweep.name))
    with ray_session(n_cpus), EventLog(store, paths.sweep_events(sweep.name)) as log:
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
            f"`name`, or remove {store.uri_of(paths.SWEEPS)}/{sweep.name}."
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
            f"Give the sweep another `name`, or remove {store.uri_of(paths.SWEEPS)}/{plan.sweep.name}."
        )


def _run_trials(store: Store, scored: Scored, gate: LabelGate, log: EventLog) -> pa.Table:
    import ray

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
    _write_batches(store, scored, stages, held_out_stages)
    inputs = _inputs(store, scored, stages)
    study_name = sweep.name
    with tempfile.TemporaryDirectory() as scratch:
        journal = _local_journal(store, study_name, Path(scratch))
        inputs_ref = ray.put(inputs)
        signatures = _run_arms(sweep, inputs, inputs_ref, log)
        _write_manifest(store, scored, judge, signatures, inputs)
        entries = [
            Entry(
                trial=f"arm-{arm}",
                arm=arm,
                enqueued=True,
                configuration=trial.arm_configuration(inputs, arm),
                signature=signatures[arm],
                objective=_value(store, study_name, judge, signatures[arm]),
                error=None,
            )
            for arm in sweep.arms
        ]
        entries += _search(store, sweep, inputs, inputs_ref, judge, journal, log)
    if all(entry.error for entry in entries if entry.arm is None):
        first = next(entry for entry in entries if entry.arm is None)
        raise SweepFailedError(
            f"all {sweep.search.n_trials} trials of sweep {study_name!r} failed. First one: {first.error}"
        )
    gate.end_search()
    test = Judge(gate, plan.target_test, "test", sweep.stages, Split.TARGET_TEST, "final table")
    rows = [
        trial_row(
            entry,
            selectable,
            stages,
            test.evaluate(store.read_table(paths.predictions(study_name, entry.signature)))
            if entry.signature
            else None,
        )
        for entry in entries
    ]
    _add_target_counts(store, study_name, test, signatures["no_adapt"])
    table = trials_table(rows)
    store.write_table(paths.sweep_trials(study_name), table)
    log.emit("sweep_finished", n_trials=sweep.search.n_trials)
    return table


def _inputs(store: Store, scored: Scored, stages: NDArray[np.int64]) -> trial.TrialInputs:
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
        class_weights=selective.class_weights(stages.reshape(-1), sweep.stages),
        learned_stages=learned,
        objective_epochs=unlabelled_epochs(store, plan.objective_recordings, sweep.modality),
        test_epochs=unlabelled_epochs(store, plan.target_test, sweep.modality),
        default_learning_rate=sweep.search.default_learning_rate,
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
    )


def _run_arms(
    sweep: SweepFile, inputs: trial.TrialInputs, inputs_ref: Any, log: EventLog
) -> dict[str, str]:
    """Train and predict the control arms side by side; returns the signature of each."""
    import ray

    @ray.remote(num_cpus=1, max_calls=1)  # the process ends with its arm: trials get their own
    def run_arm(shared: trial.TrialInputs, arm: str) -> str:
        return trial.run(shared, trial.arm_configuration(shared, arm))

    # no_adapt is predicted in any case: it says what the pretrained model is worth.
    arms = sorted({*sweep.arms, "no_adapt"})
    pending = {run_arm.remote(inputs_ref, arm): arm for arm in arms}
    signatures: dict[str, str] = {}
    with progress("arms", len(arms)) as advance:
        while pending:
            (ref,), _ = ray.wait(list(pending), num_returns=1)
            arm = pending.pop(ref)
            signatures[arm] = ray.get(ref)
            log.emit("arm_done", arm=arm, signature=signatures[arm])
            advance(arm)
    return signatures


def _search(
    store: Store,
    sweep: SweepFile,
    inputs: trial.TrialInputs,
    inputs_ref: Any,
    judge: Judge,
    journal: Path,
    log: EventLog,
) -> list[Entry]:
    from orchestrator.sweep import search

    study = search.Study(sweep.name, journal, sweep.seed)
    n_requeued = study.continue_interrupted()
    n_left = sweep.search.n_trials - len(study.trials)
    log.emit("search_started", n_trials=n_left, n_finished=len(study.trials), n_requeued=n_requeued)
    if n_left > 0:
        with progress("trials", n_left) as advance:

            def objective(name: str) -> float:
                value = _value(store, sweep.name, judge, name)
                log.emit("trial_done", signature=name, objective=value)
                advance(f"objective {value:.3f}")
                if not store.is_local:
                    store.write_bytes(paths.sweep_journal(sweep.name), journal.read_bytes())
                return value

            _tune(store, sweep, inputs_ref, study, objective, n_left, journal)
    if not store.is_local:
        store.write_bytes(paths.sweep_journal(sweep.name), journal.read_bytes())
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


def _tune(
    store: Store,
    sweep: SweepFile,
    inputs_ref: Any,
    study: Any,
    objective: Callable[[str], float],
    n_trials: int,
    journal: Path,
) -> None:
    """Run trials with Ray Tune. Its own snapshots stay in scratch: the study is the record."""
    from ray import tune

    # Trials report where their predictions are; the objective comes from the driver, which may read labels.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints a banner whatever the verbosity
    rate = sweep.search.default_learning_rate
    first = [
        {"tau_quantile": tau, "learning_rate": rate} for tau in sweep.search.enqueue_tau_quantiles
    ]
    searcher = study.search(sweep.search.space.declared(), first, objective)
    tune.Tuner(
        tune.with_resources(partial(_tune_trial, inputs_ref=inputs_ref), {"CPU": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=n_trials,
            max_concurrent_trials=sweep.search.max_concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=sweep.name, storage_path=str(journal.parent / "tune"), verbose=0
        ),
    ).fit()


def _tune_trial(params: dict[str, float], *, inputs_ref: Any) -> dict[str, Any]:
    """Body of a Tune trial: report the signature of its predictions, or why there are none."""
    import ray

    try:
        inputs: trial.TrialInputs = ray.get(inputs_ref)
        return {"signature": trial.run(inputs, trial.trial_configuration(inputs, params))}
    except Exception as error:  # one bad trial never ends a sweep; the reason goes into the table
        return {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}


def _local_journal(store: Store, name: str, scratch: Path) -> Path:
    """Return the journal as a local file: Optuna appends to it. On S3 a copy follows every told trial."""
    path = paths.sweep_journal(name)
    if store.is_local:
        return Path(store.uri_of(path))
    journal = scratch / "optuna.journal"
    if store.exists(path):
        journal.write_bytes(store.read_bytes(path))
    return journal


def _value(store: Store, sweep_name: str, judge: Judge, signature: str) -> float:
    return judge.evaluate(store.read_table(paths.predictions(sweep_name, signature))).macro_f1


def _write_batches(
    store: Store, scored: Scored, stages: NDArray[np.int64], held_out_stages: NDArray[np.int64]
) -> None:
    plan = scored.plan
    every = np.empty((len(plan.source_batches), plan.sweep.batch_size), np.int64)
    chosen = np.isin(np.arange(len(every)), plan.selectable)
    every[chosen], every[~chosen] = stages, held_out_stages
    store.write_table(
        paths.sweep_batches(plan.sweep.name),
        batches_table(plan.source_batches, plan.selectable, scored.emd_S, scored.reward_S, every),
    )


def _write_manifest(
    store: Store, scored: Scored, judge: Judge, arms: dict[str, str], inputs: trial.TrialInputs
) -> None:
    plan, sweep, encoder = scored.plan, scored.plan.sweep, scored.encoder
    counts = encoder.metadata["train_stage_counts"]
    majority = max(sweep.stages, key=lambda stage: counts[stage.name])
    no_adapt = store.read_table(paths.predictions(sweep.name, arms["no_adapt"]))
    manifest = {
        "name": sweep.name,
        "method": sweep.method,
        "objective": sweep.search.objective,
        "declared_stages": [stage.name for stage in sweep.stages],
        "learned_stages": encoder.metadata["learned_stages"],
        "source_dataset": sweep.source.dataset,
        "target_dataset": sweep.target.dataset,
        "source_subjects": _subjects(plan.train),
        "validation_subjects": _subjects((*plan.early_stop, *plan.source_validation)),
        "early_stop_subject": plan.early_stop[0].subject,
        "target_subjects": _subjects(plan.target_test),
        "target_validation_subjects": _subjects(plan.target_validation),
        "transductive": plan.transductive,
        "batch_size": sweep.batch_size,
        "n_source_batches": len(plan.source_batches),
        "n_selectable": len(plan.selectable),
        "n_target_batches": len(plan.target_batches),
        "n_target_epochs": len(inputs.test_epochs.x),
        "layer": sweep.score.layer,
        "metric": sweep.score.metric,
        "standardise": sweep.score.standardise,
        "aggregate": sweep.score.aggregate,
        "encoder_id": encoder.encoder_id,
        "score_id": scored.score_id,
        "default_learning_rate": sweep.search.default_learning_rate,
        "n_steps": sweep.search.n_steps,
        "seed": sweep.seed,
        "pretrain": {
            "source_val_macro_f1": judge.evaluate(no_adapt).macro_f1,
            "majority_macro_f1": judge.constant(majority, no_adapt),
            "majority_stage": majority.name,
            "n_steps": encoder.metadata["n_steps"],
            "n_passes": encoder.metadata["n_passes"],
            "best_pass": encoder.metadata["best_pass"],
        },
        "versions": {
            "python": python_version(),
            **{
                name: version(name)
                for name in ("sleep-orchestrator", "ray", "torch", "optuna", "mne", "pot", "numpy")
            },
        },
    }
    _write_json(store, paths.sweep_manifest(sweep.name), manifest)


def _add_target_counts(store: Store, name: str, test: Judge, no_adapt: str) -> None:
    """Write the stages of the target into the manifest, now that they may be known."""
    manifest = json.loads(store.read_bytes(paths.sweep_manifest(name)))
    manifest["target_stage_counts"] = test.stage_counts
    predictions = store.read_table(paths.predictions(name, no_adapt))
    manifest["target_evaluation_epochs"] = test.evaluate(predictions).n_epochs
    _write_json(store, paths.sweep_manifest(name), manifest)


def _write_json(store: Store, path: str, content: dict[str, Any]) -> None:
    store.write_bytes(path, json.dumps(content, indent=1, sort_keys=True).encode())


def _subjects(recordings: Any) -> list[str]:
    return sorted({recording.subject for recording in recordings})
