"""The judge against scikit-learn: right epochs, declared stages only, predictions taken over those."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from orchestrator.errors import DataError, IntegrityError
from orchestrator.labels import LabelGate, Split
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.psg.feed import stored_recordings
from orchestrator.store.store import Store
from orchestrator.sweeps.objective import (
    Judge,
    information,
    positions_of,
    probabilities_of,
)
from orchestrator.telemetry.events import EventLog
from trainables.stages import STAGE_NAMES, Stage

AddNight = Callable[..., None]
MakeSweep = Callable[..., SelectiveSweep]

NIGHTS = ([0, 0, 3, 3, 2, -1, 0, 3] * 4, [3, 0, 2, 1, -1, 3] * 5)
FLAT = (0, 3)


@pytest.fixture
def nights(add_night: AddNight) -> None:
    add_night("clinic", "t1", NIGHTS[0], flat=FLAT)
    add_night("clinic", "t2", NIGHTS[1])


def judge(store: Store, *declared: Stage, split: Split = Split.SOURCE_VALIDATION) -> Judge:
    gate = LabelGate(store, EventLog(store, "events.jsonl"))
    recordings = stored_recordings(store, "clinic")
    return Judge(gate, recordings, "objective", declared, split, "test")


def predictions(seed: int = 0) -> tuple[pa.Table, NDArray[np.int64], NDArray[np.float32]]:
    """A table with rows of another role and in no order; true stages and probabilities of `objective`."""
    rng = np.random.default_rng(seed)
    rows = [(i, e) for i, night in enumerate(NIGHTS) for e in range(len(night))]
    rows = [(i, e) for i, e in rows if i == 1 or e not in FLAT]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    true = np.array([NIGHTS[i][e] for i, e in rows])
    probability = rng.dirichlet(np.ones(5), len(rows)).astype(np.float32)
    wrong = np.full_like(probability, 0.2)
    both = np.concatenate([wrong, probability])
    table = pa.table(
        {
            "role": pa.array(["test"] * len(rows) + ["objective"] * len(rows)).dictionary_encode(),
            "recording": pa.array([i for i, _ in rows] * 2, pa.int32()),
            "epoch_index": pa.array([e for _, e in rows] * 2, pa.int32()),
            **{f"p_{name}": pa.array(both[:, i]) for i, name in enumerate(STAGE_NAMES)},
        }
    )
    return table, true, probability


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    "declared", [tuple(Stage), (Stage.W, Stage.N3), (Stage.W, Stage.N2, Stage.REM)]
)
def test_metrics_equal_those_of_scikit_learn(store: Store, declared: tuple[Stage, ...]) -> None:
    table, true, probability = predictions()
    counted = np.isin(true, declared)
    among = np.array(declared)[probability[:, list(declared)].argmax(axis=1)]
    true, among = true[counted], among[counted]
    result = judge(store, *declared).evaluate(table)
    assert result.n_epochs == counted.sum()
    assert result.macro_f1 == pytest.approx(
        f1_score(true, among, labels=list(declared), average="macro", zero_division=0)
    )
    assert result.accuracy == pytest.approx(accuracy_score(true, among))
    assert result.kappa == pytest.approx(cohen_kappa_score(true, among))


@pytest.mark.usefixtures("nights")
def test_a_prediction_is_taken_over_the_declared_stages_alone(store: Store) -> None:
    table, true, _ = predictions()
    # N2 is by far the likeliest everywhere, and W is likelier than N3 exactly where it is right.
    columns = {name: np.zeros(len(table), np.float32) for name in STAGE_NAMES}
    columns["N2"][:] = 0.9
    right = np.r_[true, true] == Stage.W
    columns["W"][:], columns["N3"][:] = np.where(right, 0.06, 0.04), np.where(right, 0.04, 0.06)
    for name, values in columns.items():
        index = table.schema.get_field_index(f"p_{name}")
        table = table.set_column(index, f"p_{name}", pa.array(values))
    result = judge(store, Stage.W, Stage.N3).evaluate(table)
    assert (result.macro_f1, result.accuracy, result.kappa) == (1.0, 1.0, 1.0)


@pytest.mark.usefixtures("nights")
def test_always_one_stage_is_judged_on_the_epochs_that_were_predicted(store: Store) -> None:
    table, true, _ = predictions()
    true = true[np.isin(true, [Stage.W, Stage.N3])]
    expected = f1_score(true, np.zeros_like(true), labels=[0, 3], average="macro", zero_division=0)
    judged = judge(store, Stage.W, Stage.N3)
    assert judged.constant(Stage.W, table) == pytest.approx(expected)
    everything = np.concatenate(NIGHTS)
    assert (true == Stage.W).sum() < (everything == Stage.W).sum()  # flat epochs are not predicted


@pytest.mark.usefixtures("nights")
def test_stage_counts_are_those_of_the_recordings(store: Store) -> None:
    everything = np.concatenate(NIGHTS)
    expected = {stage.name: int((everything == stage).sum()) for stage in Stage}
    assert judge(store, Stage.W, Stage.N3).stage_counts == expected


@pytest.mark.usefixtures("nights")
def test_no_judge_of_the_test_labels_during_the_search(store: Store) -> None:
    with pytest.raises(IntegrityError):
        judge(store, Stage.W, Stage.N3, split=Split.TARGET_TEST)


@pytest.mark.usefixtures("nights")
def test_no_epoch_of_a_declared_stage_is_a_named_error(store: Store) -> None:
    with pytest.raises(DataError, match=r"none of the .* objective epochs is scored as REM"):
        judge(store, Stage.REM).evaluate(predictions()[0])


def test_positions_are_those_of_one_role() -> None:
    table = pa.table({"role": ["test", "objective", "test"], "recording": [4, 5, 6]})
    assert positions_of(table, "test").tolist() == [4, 6]


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([[1, 0], [0, 1]], 1.0),  # certain and even
        ([[1, 0], [1, 0]], 0.0),  # always the same answer
        ([[0.5, 0.5], [0.5, 0.5]], 0.0),  # no answer
        ([[0.9, 0.1], [0.1, 0.9]], 1 - (-0.9 * np.log2(0.9) - 0.1 * np.log2(0.1))),
    ],
)
def test_information_of_predictions(probability: list[list[float]], expected: float) -> None:
    columns = dict(zip(("p_W", "p_N2"), np.array(probability, float).T, strict=True))
    table = pa.table({"role": ["test"] * len(probability), **columns})
    other = pa.table({"role": ["objective"], "p_W": [0.3], "p_N2": [0.7]})
    both = pa.concat_tables([other, table])
    found = information(probabilities_of(both, "test", (Stage.W, Stage.N2)))
    assert found == pytest.approx(expected)
