"""What a search writes of its parameters, as the review reads it."""

from collections.abc import Callable

import pytest

from orchestrator.labels import LabelGate
from orchestrator.method import Done
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.methods.sleepmg.review.records import read_manifest
from orchestrator.methods.sleepmg.run.method import SleepMGMethod
from orchestrator.methods.sleepmg.run.tables import Tables
from orchestrator.methods.sleepmg.trial.cross_validation import configured
from orchestrator.review.parameters import Options, Range
from orchestrator.store import paths
from orchestrator.store.store import Store
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
