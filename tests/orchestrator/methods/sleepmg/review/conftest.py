"""Made-up finished sweeps of SleepMG, so that each test changes only what it is about."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from orchestrator.methods.sleepmg.results import (
    ConfusionRow,
    FoldRow,
    ModalityRow,
    RecordingRow,
    TrialRow,
)
from orchestrator.methods.sleepmg.review.entries import Entry
from orchestrator.methods.sleepmg.review.records import Manifest, Sweep, read_manifest
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.rows import read_rows, schema_of
from trainables import metrics
from trainables.stages import STAGE_NAMES, Stage

Row = dict[str, Any]

_TEST = ("test_macro_f1", "test_accuracy", "test_kappa")
SCHEMAS = {
    "trials": schema_of(TrialRow),
    "folds": schema_of(FoldRow),
    "recordings": schema_of(RecordingRow),
    "confusion": schema_of(ConfusionRow),
    "modalities": schema_of(ModalityRow),
}
"""As the engine writes them, so that a column that it renames is missed here."""
PATHS = {
    "trials": paths.sweep_trials,
    "folds": paths.sweep_folds,
    "recordings": paths.sweep_recordings,
    "confusion": paths.sweep_confusion,
    "modalities": paths.sweep_modalities,
}


def trial_row(trial: str = "t000", **changes: Any) -> Row:
    """One row of trials.parquet."""
    row: Row = {
        **{"trial": trial, "kind": "trial", "row": None, "seed": 1, "state": "complete"},
        **{"enqueued": False, "reused_from": None, "alpha_f": 0.2, "alpha_y": 0.2, "alpha_d": 0.2},
        **{"grl_weight": 0.01, "learning_rate": 1e-3, "dropout": 0.5},
        **{"ratio": "mean_pairwise", "schedule": "constant", "apply_to": "update"},
        **{"multimodal": True, "adversary": True, "mod_f": False, "mod_y": True, "mod_d": True},
        **{"fusion": "concat", "n_folds": 3, "n_steps": 300, "objective": 0.6},
        **{"n_replicates": 1, "objective_low": None, "objective_high": None, "cost": 9600.0},
        **{"worst_subject": 0.5, "on_front": None, "stopped_after": None},
        **{"test_macro_f1": 0.6, "test_macro_f1_sd": None, "test_accuracy": 0.7, "test_kappa": 0.5},
        **{"domain_accuracy": 0.4, "domain_accuracy_best": 0.5, "domain_chance": 0.2},
        **{"signature": "abc", "error": None},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def row_row(name: str = "NaiveMG", seed: int = 1, **changes: Any) -> Row:
    """One run of a row in trials.parquet."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    own = {"kind": "row", "row": name, "seed": seed, "enqueued": True}
    return trial_row(f"row-{slug}-seed{seed}", **(own | changes))


def failed(row: Row, error: str | None = "out of memory\nTraceback") -> Row:
    """A run that did not finish."""
    nothing = ("objective", *_TEST, "domain_accuracy", "domain_accuracy_best", "domain_chance")
    counts = {"n_folds": 0, "n_steps": 0}
    return row | dict.fromkeys(nothing) | counts | {"state": "failed", "error": error}


def fold_row(trial: str = "t000", fold: int = 0, **changes: Any) -> Row:
    row: Row = {
        **{
            "trial": trial,
            "seed": 1,
            "fold": fold,
            "test_subjects": ["s1"],
            "validation_subjects": ["s2"],
        },
        **{"train_subjects": ["s3", "s4"], "fold_id": "f0", "best_pass": 2, "n_passes": 3},
        **{"n_steps": 100, "validation_macro_f1": 0.6, "test_macro_f1": 0.6},
        **{"test_accuracy": 0.7, "test_kappa": 0.5, "n_test_epochs": 50},
        **{"domain_accuracy": 0.4, "domain_accuracy_best": 0.6, "domain_chance": 0.5},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def recording_row(trial: str = "t000", subject: str = "s1", **changes: Any) -> Row:
    row: Row = {
        **{"trial": trial, "seed": 1, "fold": 0, "subject": subject, "recording": f"{subject}n1"},
        **{"n_epochs": 50, "macro_f1": 0.6, "accuracy": 0.7, "kappa": 0.5},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def modality_row(trial: str = "t000", modality: str = "eeg", **changes: Any) -> Row:
    row: Row = {
        **{"trial": trial, "seed": 1, "fold": 0, "pass": 1, "modality": modality},
        **{
            "score_y": 0.5,
            "rho_y": 1.2,
            "k_y": 0.7,
            "score_d": 0.4,
            "rho_d": 0.9,
            "k_d": 1.0,
            "k_f": None,
        },
        **{"macro_f1": 0.5, "starved": False},
    }
    assert changes.keys() <= row.keys()
    return row | changes


def manifest_json(**changes: Any) -> Row:
    """manifest.json of a search over two parameters with one control."""
    stored: Row = {
        **{"name": "balance", "method": "sleepmg", "objective": "validation", "also": []},
        "declared_stages": list(STAGE_NAMES),
        "dataset": "lab",
        "subjects": [f"s{i}" for i in range(1, 11)],
        "modalities": ["eeg", "eog", "emg", "ecg"],
        "channels": {
            "eeg": ["F3-A2", "F4-A1", "C3-A2", "C4-A1", "O1-A2", "O2-A1"],
            **{"eog": ["LOC-A2", "ROC-A1"], "emg": ["X1"], "ecg": ["X2"]},
        },
        "scale": "recording",
        "folds": {"kind": "k_fold", "n_folds": 3, "n_validation": 1},
        "searched": ["alpha_y", "grl_weight"],
        "space": {
            "alpha_y": {"low": 0.0, "high": 1.0, "log": False},
            "grl_weight": {"low": 0.001, "high": 1.0, "log": True},
        },
        "rows": [{"name": "NaiveMG", "ours": None}],
        **{
            "seeds": [1],
            "figure": None,
            "refit": False,
            "batch_size": 32,
            "n_passes": 8,
            "workers": 1,
            "seed": 1,
        },
        **{"data_id": "d0", "n_epochs": 600},
        "stage_counts": {"W": 120, "N1": 60, "N2": 240, "N3": 90, "REM": 90},
        "majority": {"stage": "N2", "macro_f1": 0.114},
        "versions": {"torch": "2.13.0", "ray": "2.60.0"},
    }
    assert changes.keys() <= stored.keys()
    return stored | changes


def ablation_json(**changes: Any) -> Row:
    """manifest.json of an ablation: rows alone."""
    rows = [{"name": name, "ours": "Our reading."} for name in ("NaiveMG", "xvx", "SleepMG")]
    own = {"name": "components", "searched": [], "space": {}, "rows": rows, "seeds": [1, 2]}
    return manifest_json(**(own | changes))


class Lab:
    """Makes the tables of whole sweeps: stages of subjects, and trials that predict them more or less well.

    The stages that a subject has are drawn once; each trial has a skill, each subject a difficulty.
    """

    def __init__(
        self,
        n_subjects: int = 10,
        n_folds: int = 3,
        n_passes: int = 8,
        n_epochs: int = 60,
        modalities: Sequence[str] = ("eeg", "eog", "emg", "ecg"),
    ) -> None:
        self.n_folds, self.n_passes, self.modalities = n_folds, n_passes, tuple(modalities)
        rng = np.random.default_rng(0)
        self.subjects = [f"s{i:02d}" for i in range(1, n_subjects + 1)]
        self.true = {
            s: rng.choice(5, n_epochs, p=(0.2, 0.1, 0.4, 0.15, 0.15)) for s in self.subjects
        }
        self.difficulty = {s: float(rng.normal(0, 0.05)) for s in self.subjects}
        self.tables: dict[str, list[Row]] = {name: [] for name in SCHEMAS}

    def add(self, row: Row, skill: float, domains: float = 0.4, weak: float = 0.35) -> None:
        """Add a trial with all its tables; `domains`: discriminator accuracy, `weak`: own macro-F1 of the ECG."""
        rng = np.random.default_rng(sum(row["trial"].encode()))
        trial = row["trial"]
        predicted = {s: self._predict(s, skill, rng) for s in self.subjects}
        chance = 1 / (len(self.subjects) * (self.n_folds - 1) // self.n_folds - 1)
        n_steps = 0
        for fold in range(self.n_folds):
            test = self.subjects[fold :: self.n_folds]
            validation = [self.subjects[(fold + 1) % len(self.subjects)]]
            n_passes = self.n_passes - int(rng.integers(0, max(1, self.n_passes // 3)))
            best = int(rng.integers(max(1, n_passes - 2), n_passes + 1))
            of_test = self._metrics(test, predicted)
            adversary = row["adversary"]
            new = fold_row(
                trial,
                fold,
                test_subjects=test,
                validation_subjects=validation,
                train_subjects=[s for s in self.subjects if s not in (*test, *validation)],
                best_pass=best,
                n_passes=n_passes,
                n_steps=12 * n_passes,
                validation_macro_f1=skill + float(rng.normal(0, 0.02)),
                n_test_epochs=sum(len(self.true[s]) for s in test),
                domain_accuracy=domains if adversary else None,
                domain_accuracy_best=domains if adversary else None,
                domain_chance=chance if adversary else None,
                **{f"test_{name}": value for name, value in of_test.items()},
            )
            self.tables["folds"].append(new)
            n_steps += new["n_steps"]
            for s in test:
                own = self._metrics([s], predicted)
                self.tables["recordings"].append(
                    recording_row(trial, s, fold=fold, n_epochs=len(self.true[s]), **own)
                )
            if row["multimodal"]:
                self._add_modalities(row, fold, n_passes, skill, weak, rng)
        counts = metrics.confusion_matrix(*self._pooled(self.subjects, predicted))
        self.tables["confusion"] += [
            {"trial": trial, "true": t.name, "predicted": p.name, "n": int(counts[t, p])}
            for t in Stage
            for p in Stage
        ]
        pooled = {f"test_{k}": v for k, v in self._metrics(self.subjects, predicted).items()}
        own = {
            "domain_accuracy": domains,
            "domain_accuracy_best": domains,
            "domain_chance": chance,
        }
        if not row["adversary"]:
            own = dict.fromkeys(own)  # type: ignore[assignment]
        self.tables["trials"].append(
            row | pooled | own | {"n_steps": n_steps, "n_folds": self.n_folds}
        )

    def _predict(self, subject: str, skill: float, rng: np.random.Generator) -> NDArray[np.int64]:
        true = self.true[subject]
        right = rng.random(len(true)) < skill + self.difficulty[subject]
        return np.where(right, true, rng.choice(5, len(true), p=(0.15, 0.25, 0.3, 0.1, 0.2)))

    def _pooled(
        self, subjects: Sequence[str], predicted: Mapping[str, NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (
            np.concatenate([self.true[s] for s in subjects]),
            np.concatenate([predicted[s] for s in subjects]),
        )

    def _metrics(
        self, subjects: Sequence[str], predicted: Mapping[str, NDArray[np.int64]]
    ) -> dict[str, float]:
        true, stages = self._pooled(subjects, predicted)
        return {
            "macro_f1": metrics.macro_f1(true, stages, tuple(Stage)),
            "accuracy": metrics.accuracy(true, stages),
            "kappa": metrics.kappa(true, stages),
        }

    def _add_modalities(
        self, row: Row, fold: int, n_passes: int, skill: float, weak: float, rng: Any
    ) -> None:
        reached = dict(zip(self.modalities, (skill - 0.08, 0.45, 0.38, weak), strict=False))
        for number in range(1, n_passes + 1):
            learnt = 1 - math.exp(-number / (0.3 * self.n_passes))
            score = {m: 0.2 + (v - 0.2) * learnt for m, v in reached.items()}
            score = {m: v * float(rng.uniform(0.95, 1.05)) for m, v in score.items()}
            for i, (m, own) in enumerate(score.items()):
                others = [v for other, v in score.items() if other != m]
                rho = float(np.mean([own / v for v in others]))
                k = 1 - math.tanh(row["alpha_y"] * rho) if rho > 1 else 1.0
                rho_d = 1.3 - 0.2 * i + 0.05 * float(rng.normal())
                k_d = 1 - math.tanh(row["alpha_d"] * rho_d) if rho_d > 1 else 1.0
                scores_d = {"score_d": 0.3, "rho_d": rho_d, "k_d": k_d}
                if not row["adversary"]:
                    scores_d = dict.fromkeys(scores_d)  # type: ignore[assignment]
                self.tables["modalities"].append(
                    modality_row(
                        row["trial"],
                        m,
                        **{"fold": fold, "pass": number, "score_y": own, "rho_y": rho, "k_y": k},
                        **scores_d,
                        macro_f1=own + 0.02,
                        starved=k < 0.4,
                    )
                )


def whole_search(lab: Lab | None = None, n_trials: int = 8, **manifest: Any) -> tuple[Row, Lab]:
    """A search with an enqueued, several sampled and a failed trial, and NaiveMG as control."""
    lab = lab or Lab()
    off: Row = {"mod_y": False, "mod_d": False, "objective": 0.60}
    lab.add(row_row(**off), skill=0.62, domains=0.30)
    rng = np.random.default_rng(1)
    for i in range(n_trials):
        alpha = 0.2 if i == 0 else round(float(rng.uniform(0, 1)), 3)
        weight = 0.01 if i == 0 else round(float(10 ** rng.uniform(-3, 0)), 4)
        skill = 0.72 - 0.3 * (alpha - 0.35) ** 2 - 0.05 * (math.log10(weight) + 2) ** 2
        objective = skill + 0.01 * float(rng.normal())
        row = trial_row(
            f"t{i:03d}", enqueued=i == 0, alpha_y=alpha, grl_weight=weight, objective=objective
        )
        lab.add(row, skill, domains=0.55 - 0.25 * weight**0.3)
    lab.tables["trials"].append(failed(trial_row(f"t{n_trials:03d}")))
    return manifest_json(subjects=lab.subjects, **manifest), lab


def whole_ablation(
    lab: Lab | None = None, rows: Mapping[str, Row] | None = None, **manifest: Any
) -> tuple[Row, Lab]:
    """Rows alone, each with two seeds, one run failed."""
    lab = lab or Lab()
    off = {"mod_y": False, "mod_d": False}
    rows = rows or {
        "FeatureNet": {**off, "multimodal": False, "adversary": False},
        "NaiveMG (xxx)": off,
        "xvx": {"mod_d": False},
        "SleepMG (xvv)": {},
    }
    for i, (name, changes) in enumerate(rows.items()):
        for seed in (1, 2):
            skill = 0.52 + 0.05 * i + 0.01 * seed
            row = row_row(name, seed, **changes, objective=skill + 0.02)
            if (i, seed) == (2, 2):
                lab.tables["trials"].append(failed(row))
            else:
                lab.add(row, skill, weak=0.3 + 0.02 * i)
    planned = [{"name": name, "ours": f"Our reading of {name}."} for name in rows]
    own = {"rows": planned, "figure": "Balanced components (G_f, G_y, G_d)"}
    return ablation_json(subjects=lab.subjects, **(own | manifest)), lab


def as_sweep(manifest: Row, tables: Mapping[str, Sequence[Row]] | None = None) -> Sweep:
    """The records of made-up tables, without a store."""

    def records(row_type: type[Any], name: str) -> tuple[Any, ...]:
        return read_rows(row_type, (tables or {}).get(name, ()), f"{name}.parquet")

    return Sweep(
        manifest=read_manifest(json.dumps(manifest).encode()),
        trials=records(TrialRow, "trials"),
        folds=records(FoldRow, "folds"),
        recordings=records(RecordingRow, "recordings"),
        confusion=records(ConfusionRow, "confusion"),
        modalities=records(ModalityRow, "modalities"),
    )


def save(store: Store, manifest: Row, tables: Mapping[str, Sequence[Row]]) -> None:
    """Write a sweep as the engine does."""
    name = manifest["name"]
    for table, path in PATHS.items():
        rows = list(tables.get(table, ()))
        store.write_table(path(name), pa.Table.from_pylist(rows, schema=SCHEMAS[table]))
    store.write_bytes(paths.sweep_manifest(name), json.dumps(manifest, sort_keys=True).encode())


def make_trial(**changes: Any) -> TrialRow:
    (row,) = read_rows(TrialRow, [trial_row(**changes)], "trials.parquet")
    return row


def make_entry(*runs: Row, name: str | None = None, ours: str | None = None) -> Entry:
    trials = read_rows(TrialRow, runs, "trials.parquet")
    first = trials[0].row or trials[0].trial
    return Entry(name=name or first, runs=trials, n_planned=len(trials), ours=ours)


class Made:
    """The builders above, for tests: files of tests cannot import each other."""

    trial = staticmethod(make_trial)
    trial_row = staticmethod(trial_row)
    row_row = staticmethod(row_row)
    failed = staticmethod(failed)
    fold_row = staticmethod(fold_row)
    recording_row = staticmethod(recording_row)
    modality_row = staticmethod(modality_row)
    manifest_json = staticmethod(manifest_json)
    ablation_json = staticmethod(ablation_json)
    entry = staticmethod(make_entry)
    sweep = staticmethod(as_sweep)
    lab = Lab
    search = staticmethod(whole_search)
    ablation = staticmethod(whole_ablation)

    @staticmethod
    def manifest(**changes: Any) -> Manifest:
        return read_manifest(json.dumps(manifest_json(**changes)).encode())

    @staticmethod
    def recording(*args: Any, **changes: Any) -> RecordingRow:
        return RecordingRow(**recording_row(*args, **changes))

    @staticmethod
    def cell(trial: str, true: str, predicted: str, n: int) -> ConfusionRow:
        return ConfusionRow(trial=trial, true=true, predicted=predicted, n=n)

    @staticmethod
    def fold(*args: Any, **changes: Any) -> FoldRow:
        row = fold_row(*args, **changes)
        own: Row = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return FoldRow(**own)

    @staticmethod
    def modality(*args: Any, **changes: Any) -> ModalityRow:
        row = modality_row(*args, **changes)
        return ModalityRow(**{("pass_" if k == "pass" else k): v for k, v in row.items()})


@pytest.fixture
def made() -> type[Made]:
    return Made


SaveSweep = Callable[[tuple[Row, Lab] | tuple[Row, Mapping[str, Sequence[Row]]]], Store]


@pytest.fixture
def save_sweep(tmp_path: Path) -> SaveSweep:
    """Write a made-up sweep into a local store."""

    def saved(made_up: tuple[Row, Any]) -> Store:
        manifest, tables = made_up
        store = Store.open(str(tmp_path / "runs"))
        save(store, manifest, tables.tables if isinstance(tables, Lab) else tables)
        return store

    return saved
