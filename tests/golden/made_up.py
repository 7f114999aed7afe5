"""Every id under which a store is searched, computed from made-up content: no training, no Parquet, no Ray.

``python tests/golden/made_up.py`` prints them. They stand in ``ids.json``, and ``test_ids.py`` compares.
"""

import dataclasses
import hashlib
import inspect
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.alignment.batches import Batch
from orchestrator.config.methods import METHODS, room
from orchestrator.config.sweep import load_sweep
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.methods.pretrain.config import PretrainSweep
from orchestrator.methods.pretrain.plan.pretraining import PretrainPlan
from orchestrator.methods.pretrain.plan.source import SourcePlan
from orchestrator.methods.pretrain.trial import pretraining as pretrain_trial
from orchestrator.methods.selective.config import arms
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import SweepPlan
from orchestrator.methods.selective.trial import configuration
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import CrossValidationPlan, make_folds
from orchestrator.methods.sleepmg.trial import cross_validation as sleepmg_trial
from orchestrator.methods.sleepmg.trial.inputs import CrossValidationInputs
from orchestrator.psg.convert import Settings
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.feed import StoredRecording
from orchestrator.psg.ingest import ingest_id_of
from orchestrator.psg.recordings import find_recordings
from orchestrator.store import paths
from orchestrator.store.hashing import content_id
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import UnlabelledEpochs
from orchestrator.tables.by_subject import BySubjectRow
from orchestrator.tables.rows import schema_of
from trainables.epochs import MultimodalEpochs
from trainables.fold import VERSION
from trainables.settings import FinetuneSettings
from trainables.stages import Stage

FOLDER = Path(__file__).parent
DATASETS = FOLDER / "datasets"
SWEEPS = FOLDER / "sweeps"
HAND_MADE = FOLDER / "hand-made.edf"
"""One minute of a ramp in one channel at 10 Hz, written byte by byte."""

N_SELECTABLE = 12


def ids() -> dict[str, Any]:
    """Return all of them, by kind and by what they are of."""
    return {
        "content": content_id({"b": [1, 2.5, None], "a": {"text": "N2"}}),
        "ingest": {file.stem: _ingest_ids(file) for file in sorted(DATASETS.glob("*.yaml"))},
        "selective": {name: _selective_ids(sweep) for name, sweep in _sweeps(SelectiveSweep)},
        "sleepmg": {name: _sleepmg_ids(sweep) for name, sweep in _sweeps(SleepMGSweep)},
        "pretrain": {name: _pretrain_ids(sweep) for name, sweep in _sweeps(PretrainSweep)},
        "in no id": _in_no_id(),
        "paths": _paths(),
        "tables": _tables(),
        "defaults": {
            sweep.method: sweep.resolved()
            for sweep in (load_sweep(file) for file in sorted(SWEEPS.glob("*-bare.yaml")))
        },
    }


def _sweeps(kind: type[SweepBase]) -> Iterator[tuple[str, Any]]:
    """Sweeps of a method: with every key unlike its default, and with the defaults of earlier versions, as stored."""
    for file in sorted((FOLDER / "defaults").glob("*.yaml")):
        sweep = load_sweep(file, unnumbered=int(file.stem.partition("-")[0]))
        if isinstance(sweep, kind):
            yield f"defaults {file.stem}", sweep
    for file in sorted(SWEEPS.glob("*-full.yaml")):
        if isinstance(sweep := load_sweep(file), kind):
            yield file.stem, sweep


def _ingest_ids(file: Path) -> dict[str, str]:
    """Return the ingest id of each recording that the dataset file finds in a folder with the hand-made one."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HAND_MADE, Path(folder) / "s01.edf")
        (Path(folder) / "s01_stage.txt").write_bytes(b"0\n2\n")
        data = Store.open(folder)
        dataset = load_dataset(file)
        return {
            source.recording: ingest_id_of(
                source, Settings.of(dataset), _content(data, source.path, source.stage_path)
            )
            for source in find_recordings(dataset, data)
        }


def _content(data: Store, *files: str | None) -> str:
    return hashlib.sha256(b"".join(data.read_bytes(file) for file in files if file)).hexdigest()


def _recordings(dataset: str, *subjects: str) -> tuple[StoredRecording, ...]:
    return tuple(
        StoredRecording(
            dataset=dataset,
            subject=subject,
            recording=f"{subject}-night",
            epochs_sha256=hashlib.sha256(f"{dataset}/{subject}".encode()).hexdigest(),
        )
        for subject in subjects
    )


def _selective_ids(sweep: SelectiveSweep) -> dict[str, Any]:
    train = _recordings("old", "s01", "s02")
    plan = SweepPlan(
        sweep=sweep,
        train=train,
        early_stop=_recordings("old", "s03"),
        source_validation=_recordings("old", "s04"),
        target_validation=(),
        target_test=_recordings("new", "n01", "n02"),
        target_adapt=_recordings("new", "n01", "n02"),
        judged=True,
        source_batches=tuple(
            Batch(
                batch_id=i,
                subject=train[i % 2].subject,
                recording=train[i % 2].recording,
                epochs=np.arange(8, dtype=np.int32),
            )
            for i in range(N_SELECTABLE)
        ),
        target_batches=(),
    )
    encoder_id = plan.encoder_request().encoder_id
    score_id = plan.score_request(encoder_id).score_id
    inputs = _trial_inputs(sweep, score_id, plan.adapted_alone)
    taus: dict[str, Mapping[str, float]] = {
        "quantile": {"tau_quantile": 0.5, "learning_rate": 1e-3},
        "quantile, default rate": {"tau_quantile": 0.25},
        "budget": {"tau_budget": 3, "learning_rate": 1e-3},
        "absolute": {"tau_absolute": 0.3, "n_steps": 20},
        "absolute, nothing kept": {"tau_absolute": 100.0},
    }
    signatures = {
        name: configuration.configured(inputs, name, params).signature
        for name, params in taus.items()
    }
    for arm in arms.ARMS:
        signatures[f"arm {arm}"] = configuration.configured(inputs, arm, None).signature
    return {"encoder_id": encoder_id, "score_id": score_id, "signatures": signatures}


def _trial_inputs(
    sweep: SelectiveSweep, score_id: str, alone: tuple[str, ...]
) -> configuration.TrialInputs:
    none = UnlabelledEpochs(
        x=np.zeros((0, 1, 3000), np.float32),
        recording=np.zeros(0, np.int32),
        epoch_index=np.zeros(0, np.int32),
    )
    reward_S = np.array([0.1 * (1 + 7 * i % N_SELECTABLE) for i in range(N_SELECTABLE)])
    subjects = tuple(
        configuration.TargetSubject(
            subject=subject,
            recordings=(i,),
            emd_S=1 / np.roll(reward_S, i),
            reward_S=np.roll(reward_S, i),
        )
        for i, subject in enumerate(alone)
    )
    return configuration.TrialInputs(
        store_uri="nowhere",
        sweep_name=sweep.name,
        score_id=score_id,
        weights=b"",
        reward_S=reward_S,
        subjects=subjects,
        batches_x=np.zeros((0, 8, 1, 3000), np.float32),
        batches_stages=np.zeros((0, 8), np.int64),
        class_weights=np.ones(5, np.float32),
        learned_stages=tuple(Stage),
        objective_epochs=none,
        test_epochs=none,
        default_learning_rate=sweep.search.default_learning_rate,
        n_steps=sweep.search.n_steps,
        seed=sweep.seed,
        sweep=sweep,
    )


def _sleepmg_ids(sweep: SleepMGSweep) -> dict[str, Any]:
    subjects = ("s01", "s02", "s03", "s04", "s05", "s06")
    plan = CrossValidationPlan(
        sweep=sweep, recordings=_recordings("home", *subjects), folds=make_folds(subjects, sweep)
    )
    inputs = CrossValidationInputs(
        store_uri="nowhere",
        sweep=sweep,
        data_id=plan.data_id,
        epochs=MultimodalEpochs(
            x={"eeg": np.zeros((6, 1, 3000), np.float32)},
            present=np.ones((6, 1), bool),
            subject=np.arange(6),
            stages=np.zeros(6, np.int64),
        ),
        subjects=subjects,
        recording=np.arange(6, dtype=np.int32),
        epoch_index=np.zeros(6, np.int32),
        folds=plan.folds,
    )
    configurations = {row.name: sweep.row_settings(row) for row in sweep.rows}
    if sweep.search is not None:
        configurations["search"] = sweep.settings()
    return {
        "data_id": plan.data_id,
        "fold_ids": {
            name: [inputs.fold_id(fold, settings, sweep.trial_seeds[0]) for fold in plan.folds]
            for name, settings in configurations.items()
        },
        "signatures": {
            name: sleepmg_trial.trial_of(inputs, settings, sweep.trial_seeds).signature
            for name, settings in configurations.items()
        },
    }


def _pretrain_ids(sweep: PretrainSweep) -> dict[str, Any]:
    plan = PretrainPlan(
        sweep=sweep,
        source=SourcePlan(
            train=_recordings("old", "s01", "s02"),
            early_stop=_recordings("old", "s03"),
            validation=_recordings("old", "s04"),
        ),
    )
    return {
        "data_id": plan.data_id,
        "encoder_ids": [
            pretrain_trial.Trial(request=plan.encoder_request(params)).signature
            for params in sweep.first_trials()
        ],
    }


def _in_no_id() -> dict[str, Any]:
    """Return what predictions depend on without being told apart by it: it may not change at all."""
    return {
        "finetuning": dataclasses.asdict(FinetuneSettings()),
        "fold version": VERSION,
        "quantile of the random arm": arms.QUANTILE,
    }


def _tables() -> dict[str, list[str]]:
    """Return names and types of the columns of each table, in their order."""
    row_types = {
        f"{method} {name}": row_type
        for method in METHODS
        for name, row_type in sorted(vars(room(method, "results")).items())
        if isinstance(row_type, type) and name.endswith("Row")
    }
    row_types["all BySubjectRow"] = BySubjectRow
    return {
        name: [f"{column.name} {column.type}" for column in schema_of(row_type)]
        for name, row_type in row_types.items()
    }


def _paths() -> dict[str, str]:
    """Return where each artefact lies, its path made of the names of its parameters."""
    functions = inspect.getmembers(paths, inspect.isfunction)
    return {name: function(*inspect.signature(function).parameters) for name, function in functions}


if __name__ == "__main__":
    print(json.dumps(ids(), indent=1))
