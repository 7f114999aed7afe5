"""What a search writes of its parameters, as the review reads it; and its test subjects, seed by seed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.labels import LabelGate
from orchestrator.method import Done
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.methods.sleepmg.review.records import read_manifest
from orchestrator.methods.sleepmg.run.method import SleepMGMethod
from orchestrator.methods.sleepmg.run.tables import Tables
from orchestrator.methods.sleepmg.trial.cross_validation import configured
from orchestrator.psg.feed import stored_recordings
from orchestrator.reviews.parameters import Options, Range
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import Judged
from orchestrator.tables.by_subject import BySubjectRow
from orchestrator.tables.rows import read_rows
from orchestrator.telemetry.events import EventLog

SEARCH = """\
search:
  n_trials: 2
  space:
    alpha_y: {uniform: [0.1, 0.5]}
    grl_weight: {log_uniform: [0.001, 0.1]}
    schedule: {choice: [dann, constant]}
"""


@pytest.fixture
def method(
    store: Store, add_subject: Callable[..., None], make_sweep: Callable[..., SleepMGSweep]
) -> SleepMGMethod:
    for subject in "abcd":
        add_subject(subject)
    return SleepMGMethod(store, make_sweep(more=SEARCH))


def test_the_manifest_says_what_was_searched(store: Store, method: SleepMGMethod) -> None:
    with EventLog(store, "events.jsonl") as log:
        gate = LabelGate(store, log)
        method.begin(gate, store)
        method.record(gate, log)
    manifest = read_manifest(store.read_bytes(paths.sweep_manifest("probe")))
    assert manifest.searched == ("alpha_y", "grl_weight", "schedule")
    assert manifest.space == {
        "alpha_y": Range(low=0.1, high=0.5, log=False),
        "grl_weight": Range(low=0.001, high=0.1, log=True),
        "schedule": Options(options=("dann", "constant")),
    }


def test_choices_are_text_in_the_table(store: Store, method: SleepMGMethod) -> None:
    with EventLog(store, "events.jsonl") as log:
        inputs = method.begin(LabelGate(store, log), store)
    tables = Tables(store, inputs, [], inputs.sweep.stages)
    for name, params, original in (
        ("t001", {"schedule": "dann", "alpha_y": 0.3}, "t000"),
        ("t000", {"ratio": "mean_others", "apply_to": "gradient"}, None),
    ):
        one = Done(
            name=name,
            trial=configured(inputs, name, params),
            is_control=False,
            enqueued=False,
            signature=None,
            objective=None,
            replicates=(),
            error="out of memory",
            reused_from=original,
        )
        tables.add(one, [])
    stored = tables.tables()["trials"].to_pylist()
    first, second = read_rows(TrialRow, stored, "trials.parquet")
    wanted = {"ratio": "mean_others", "schedule": "constant", "apply_to": "gradient"}
    assert first.params.items() >= (wanted | {"alpha_y": 0.2}).items()
    wanted = {"ratio": "mean_pairwise", "schedule": "dann", "apply_to": "update"}
    assert second.params.items() >= (wanted | {"alpha_y": 0.3}).items()
    assert (first.reused_from, second.reused_from) == (None, "t000")


def judged(recording: Sequence[int], fold: Sequence[int], right: Sequence[bool]) -> Judged:
    """N2 for each epoch, which is right or should be N1."""
    rows = pa.table({"recording": pa.array(recording, pa.int32()), "fold": pa.array(fold)})
    return Judged(rows=rows, true=np.where(right, 2, 1), predicted=np.full(len(right), 2))


def test_each_seed_has_its_test_subjects_in_their_folds(
    store: Store, method: SleepMGMethod
) -> None:
    with EventLog(store, "events.jsonl") as log:
        inputs = method.begin(LabelGate(store, log), store)
    row, seed = method.controls[0], 1
    trial = replace(configured(inputs, row, None), seeds=(seed, seed + 1))
    details = {"domain_accuracy": 0.5, "domain_chance": 0.5}
    a_pass = {"n_passes": 1, "validation": 0.5, "details": details}
    record = {"n_steps": 3, "n_passes": 1, "best_pass": 1, "history": [a_pass]}
    for fold in inputs.folds:
        for each in trial.seeds:
            path = paths.fold_json(inputs.fold_id(fold, trial.settings, each))
            store.write_bytes(path, json.dumps(record).encode())
    validation = judged([1, 2, 3, 0], [0, 1, 2, 3], [True] * 4)
    # Subject d has no epoch of a declared stage, and so no row.
    where = [0, 0, 1, 1, 2], [0, 0, 1, 1, 2]
    tests = [judged(*where, [True] * 5), judged(*where, [True, False, True, True, False])]
    one = Done(
        name=row,
        trial=trial,
        is_control=True,
        enqueued=True,
        signature="abc",
        objective=0.5,
        replicates=(0.4, 0.6),
        error=None,
    )
    tables = Tables(store, inputs, stored_recordings(store, "home"), inputs.sweep.stages)
    tables.add(one, [(test, validation) for test in tests])
    stored = tables.tables()["by_subject"].to_pylist()
    rows = read_rows(BySubjectRow, stored, "trials_by_subject.parquet")
    assert [(r.seed, r.fold, r.subject, r.n_epochs, r.accuracy) for r in rows] == [
        *((1, 0, "a", 2, 1.0), (1, 1, "b", 2, 1.0), (1, 2, "c", 1, 1.0)),
        *((2, 0, "a", 2, 0.5), (2, 1, "b", 2, 1.0), (2, 2, "c", 1, 0.0)),
    ]
    assert {(r.trial, r.kind, r.control, r.split) for r in rows} == {
        ("row-naivemg-seed1", "row", "NaiveMG", "test")
    }
    (final,) = tables.tables()["trials"].to_pylist()
    hits = sum(r.confusion["N1_as_N1"] + r.confusion["N2_as_N2"] for r in rows)
    assert final["test_accuracy"] == pytest.approx(hits / sum(r.n_epochs for r in rows))
    confusion = {
        (c["true"], c["predicted"]): c["n"] for c in tables.tables()["confusion"].to_pylist()
    }
    assert sum(r.confusion["N1_as_N2"] for r in rows) == confusion["N1", "N2"] == 2
