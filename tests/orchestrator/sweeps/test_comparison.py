"""One trial held against its record: what counts as the same, and what is said where it is not."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DataError, IntegrityError
from orchestrator.method import Order, Trainer
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.comparison import TOLERANCE, Comparison, Recorded, largest_difference
from orchestrator.sweeps.failures import DIED, LostError, described
from orchestrator.sweeps.search.study import NOT_A_NUMBER

P_W = [0.75, 0.5, 0.25]


def predictions(p_W: list[float] = P_W, own: int = 0) -> pa.Table:
    return pa.table(
        {
            "role": ["objective", "test", "test"],
            "recording": pa.array([0, 1, 1], pa.int32()),
            "epoch_index": pa.array([0, 0, 1], pa.int32()),
            "p_W": pa.array(p_W, pa.float32()),
            "p_N1": pa.array(1 - np.array(p_W), pa.float32()),
            "own_eeg": pa.array([own] * 3, pa.int8()),
        }
    )


class Method:
    """Predicts what it was told to, or raises it, without any training."""

    def __init__(self, scratch: Store, sweep: SelectiveSweep) -> None:
        self.scratch = scratch
        self.sweep = sweep
        self.gives: pa.Table | Exception = predictions()
        self.value: float | Exception = 0.5
        self.trained: list[str] = []
        self.seeds: tuple[str, ...] = ()
        self.trainer = Trainer(configured=lambda inputs, name, params: None, train=self.train)

    def configured(self, name: str, params: Mapping[str, float] | None) -> Any:
        signature = "f" if params is None else f"s{params['x']:g}"
        return SimpleNamespace(name=name, signature=signature, stored=self.seeds or (signature,))

    def train(self, order: Order[Any, Any]) -> None:
        self.trained.append(order.trial.name)
        if isinstance(self.gives, Exception):
            raise self.gives
        self.scratch.write_table(paths.predictions("probe", order.trial.signature), self.gives)

    def objective(self, trial: Any, predictions: Sequence[pa.Table]) -> float:
        assert len(predictions) == len(trial.stored)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def recorded(**changes: Any) -> Recorded:
    given: dict[str, Any] = {
        "trial": "t000",
        "params": {"x": 1.0},
        "signature": "s1",
        "objective": 0.5,
        "error": None,
        "reused_from": None,
    }
    return Recorded(**given | changes)


def failed(error: str) -> Recorded:
    return recorded(signature=None, objective=None, error=error)


@pytest.fixture
def sweep(make_sweep: Callable[[], SelectiveSweep]) -> SelectiveSweep:
    return make_sweep()


@pytest.fixture
def method(tmp_path: Path, sweep: SelectiveSweep) -> Method:
    return Method(Store.open(str(tmp_path / "scratch")), sweep)


def compare(method: Any, store: Store) -> Comparison:
    return Comparison(method, None, None, store, method.scratch)


@pytest.fixture
def comparison(method: Method, store: Store) -> Comparison:
    store.write_table(paths.predictions("probe", "s1"), predictions())
    return compare(method, store)


def test_the_same_again(comparison: Comparison) -> None:
    found = comparison.replayed(recorded())
    assert (found.how, found.differs, found.largest_difference) == ("trained", (), 0.0)
    assert found.said == "same"


def test_the_last_digit_of_a_prediction_counts(comparison: Comparison, method: Method) -> None:
    p_W = [0.75, 0.5, float(np.nextafter(np.float32(0.25), np.float32(1)))]
    method.gives = predictions(p_W)
    found = comparison.replayed(recorded())
    assert found.differs == ("predictions, by up to 3e-08",)
    assert found.largest_difference == pytest.approx(2**-25)


@pytest.mark.parametrize(("step", "same"), [(0.5 * TOLERANCE, True), (2 * TOLERANCE, False)])
def test_several_workers_may_differ_a_little(
    step: float, same: bool, method: Method, sweep: SelectiveSweep, store: Store
) -> None:
    store.write_table(paths.predictions("probe", "s1"), predictions())
    method.gives = predictions([0.75, 0.5 + step, 0.25], own=3)
    method.value = 0.5 + step
    method.sweep = sweep.model_copy(update={"workers": 2})
    found = compare(method, store).replayed(recorded())
    assert (found.differs == ()) == same
    assert found.largest_difference == pytest.approx(step, rel=0.1)
    if same:
        assert found.said == "same, probabilities within 5.0e-06"


def test_what_each_modality_says_counts_with_one_worker(
    comparison: Comparison, method: Method
) -> None:
    method.gives = predictions(own=3)
    assert comparison.replayed(recorded()).differs == ("predictions, by up to 0",)


def test_an_equal_table_in_another_file_is_the_same(comparison: Comparison, store: Store) -> None:
    path = Path(store.uri_of(paths.predictions("probe", "s1")))
    before = path.read_bytes()
    pq.write_table(predictions(), path, compression="none")
    assert path.read_bytes() != before
    assert comparison.replayed(recorded()).differs == ()


def test_predictions_of_other_epochs(comparison: Comparison, method: Method) -> None:
    method.gives = predictions().slice(1)
    assert comparison.replayed(recorded()).differs == ("predictions for other epochs",)
    shuffled = predictions().take([1, 0, 2])
    assert largest_difference(predictions(), shuffled) is None


def test_a_number_and_none_are_far_apart() -> None:
    assert largest_difference(predictions(), predictions([0.75, np.nan, 0.25])) == 1


@pytest.mark.parametrize(("content", "said"), [(None, "no predictions"), (b"PAR1", "damaged")])
def test_files_that_are_not_there_or_damaged_are_those_of_one_trial(
    content: bytes | None, said: str, comparison: Comparison, store: Store
) -> None:
    path = paths.predictions("probe", "s1")
    store.delete(path)
    if content is not None:
        store.write_bytes(path, content)
    (differs,) = comparison.replayed(recorded()).differs
    assert said in differs
    assert path in differs


def test_another_signature_and_another_objective_are_told(
    comparison: Comparison, store: Store, method: Method
) -> None:
    store.write_table(paths.predictions("probe", "old"), predictions())
    method.value = 0.25
    found = comparison.replayed(recorded(signature="old", differs=("its table",)))
    assert found.differs == ("its table", "signature s1, not old", "objective 0.25, not 0.5")


def test_a_reused_training_is_compared_by_its_signature_alone(
    comparison: Comparison, method: Method
) -> None:
    assert comparison.replayed(recorded(reused_from="t001")).said.startswith("same signature")
    other = comparison.replayed(recorded(reused_from="t001", params={"x": 2.0}))
    assert other.differs == ("signature s2, not s1",)
    failure = recorded(signature=None, objective=None, error="no", reused_from="t001")
    assert comparison.replayed(failure).differs == ()
    assert method.trained == []


def test_a_failure_must_come_again(comparison: Comparison, method: Method) -> None:
    method.gives = ValueError("too large")
    before = described(method.gives)
    assert comparison.replayed(failed(before)).said == "same failure"
    method.gives = ValueError("too small")
    assert comparison.replayed(failed(before)).differs == (
        "it failed (ValueError: too large) and now does so otherwise (ValueError: too small)",
    )
    method.gives = predictions()
    assert comparison.replayed(failed(before)).differs == (
        "it failed (ValueError: too large) and now does not",
    )
    method.gives = LostError("gone")
    assert comparison.replayed(recorded()).differs == (f"it fails: {DIED}",)


def test_predictions_without_a_value_are_a_failure(comparison: Comparison, method: Method) -> None:
    method.value = float("nan")
    assert comparison.replayed(failed(NOT_A_NUMBER)).said == "same failure"
    assert comparison.replayed(recorded()).differs == (f"it fails: {NOT_A_NUMBER}",)
    method.value = DataError("nothing to judge")
    assert comparison.replayed(failed("DataError: nothing to judge\nTrace")).differs == ()


def test_what_died_is_not_tried(comparison: Comparison, method: Method) -> None:
    assert comparison.replayed(failed(f"{DIED}\nRayError")).how == "died"
    assert method.trained == []


@pytest.mark.parametrize("where", ["gives", "value"])
def test_what_would_end_a_sweep_ends_the_replay(
    where: str, comparison: Comparison, method: Method
) -> None:
    setattr(method, where, IntegrityError("labels"))
    with pytest.raises(IntegrityError, match="labels"):
        comparison.replayed(recorded())


def test_each_seed_is_compared(comparison: Comparison, method: Method, store: Store) -> None:
    method.seeds = ("s1", "s1-again")
    method.scratch.write_table(paths.predictions("probe", "s1-again"), predictions())
    store.write_table(paths.predictions("probe", "s1-again"), predictions([0.75, 0.25, 0.25]))
    found = comparison.replayed(recorded())
    assert found.differs == ("predictions, by up to 0.25",)


def test_what_the_scheduler_ended_is_left_alone(comparison: Comparison, method: Method) -> None:
    found = comparison.replayed(recorded(signature=None, objective=None, stopped=True))
    assert (found.how, found.differs, method.trained) == ("stopped", (), [])
    assert found.said == "not replayed: the scheduler ended it"
