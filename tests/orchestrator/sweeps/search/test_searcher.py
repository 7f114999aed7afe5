"""The study of a sweep, driven by hand as Ray Tune drives it: order, reuse, failures, and what a kill leaves."""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import DataError, IntegrityError, StoreUnreachableError
from orchestrator.method import Scores
from orchestrator.methods.sleepmg.config.objectives import FURTHER
from orchestrator.sweeps.failures import DIED, as_data
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ENDS_SWEEP, ERROR, N_PARTS, SIGNATURE, SO_FAR, as_fields
from orchestrator.sweeps.search.budget import gpu_time, spent
from orchestrator.sweeps.search.samplers import distribution
from orchestrator.sweeps.search.searcher import EndedTrial, Hooks, StudySearch, begin_search
from orchestrator.sweeps.search.study import (
    Study,
    began_at,
    error_of,
    in_order,
    name_of,
    objective_of,
    replicates_of,
    reused_from,
    signature_of,
    stopped_after,
    was_enqueued,
)
from orchestrator.sweeps.watch.tally import NEVER
from search_spaces.selective import SPACE
from search_spaces.space import Choice, Declared, Integer, LogUniform, Uniform
from trainables.errors import SettingsError
from trainables.training import Seconds

USED = {name: SPACE[name] for name in ("tau_quantile", "learning_rate")}
FIRST = [{"tau_quantile": tau, "learning_rate": 1e-4} for tau in (0.0, 0.5, 0.9)]


class Search(SearchBase):
    further = FURTHER


@dataclass
class Driver:
    """A search as the driver sets it up, and what it was told."""

    journal: Path
    seed: int = 3
    space: Mapping[str, Declared] = field(default_factory=lambda: USED)
    first: list[dict[str, Any]] = field(default_factory=lambda: FIRST)
    n_trials: int = 20
    identify: Callable[[Mapping[str, float]], str] = lambda params: json.dumps(dict(params))
    objective: Callable[[str], float] = lambda signature: 0.5
    values: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    budget: str | None = None
    halt: Halt = field(default_factory=Halt)
    told: list[EndedTrial] = field(default_factory=list)
    started: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    n_changes: int = 0

    def study(self) -> Study:
        """Open the study as a new process does."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        search = Search.model_validate({"n_trials": 1, **self.options}, strict=False)
        return Study("probe", self.journal, search.directions)

    def __post_init__(self) -> None:
        if self.values is None:
            self.values = lambda params: (self.objective(self.identify(params)),)

    def search(self, study: Study | None = None) -> StudySearch:
        def changed() -> None:
            self.n_changes += 1

        return begin_search(
            study or self.study(),
            self.space,
            self.first,
            Search.model_validate({"n_trials": self.n_trials, **self.options}, strict=False),
            seed=self.seed,
            hooks=Hooks(
                identify=lambda params: self.identify(params),
                evaluate=lambda params: Scores(values=self.values(params)),
                evaluate_part=lambda params, report: float(report[SO_FAR]),
                changed=changed,
                told=self.told.append,
                started=lambda name, signature, params: self.started.append((name, dict(params))),
                exhausted=lambda: self.budget,
                is_held=lambda: self.held,
            ),
            halt=self.halt,
        )


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "sweeps" / "probe" / "optuna.journal")


def complete(searcher: StudySearch, tune_id: str, signature: str = "s") -> None:
    searcher.on_trial_complete(tune_id, {SIGNATURE: signature}, error=False)


def suggest(searcher: StudySearch, tune_id: str) -> dict[str, float]:
    params = searcher.suggest(tune_id)
    assert isinstance(params, dict)
    return params


def test_enqueued_trials_come_first_and_in_order(driver: Driver) -> None:
    study = driver.study()
    searcher = driver.search(study)
    proposed = []
    for i in range(5):
        proposed.append(suggest(searcher, f"tune{i}"))
        complete(searcher, f"tune{i}")
    assert proposed[:3] == FIRST
    assert [was_enqueued(trial) for trial in study.trials] == [True] * 3 + [False] * 2
    for params in proposed:
        assert set(params) == set(USED)
        assert all(SPACE[name].contains(value) for name, value in params.items())
    assert [trial.params for trial in study.trials] == proposed
    assert [name_of(trial) for trial in study.trials] == [f"t00{i}" for i in range(5)]


def test_the_value_is_that_of_the_configuration(driver: Driver) -> None:
    study = driver.study()
    driver.objective = {json.dumps(FIRST[0]): 0.9}.__getitem__
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    complete(searcher, "tune0", "good")
    (trial,) = study.trials
    assert trial.value == 0.9
    assert objective_of(trial) == 0.9
    assert trial.state is TrialState.COMPLETE
    assert signature_of(trial) == "good"
    assert error_of(trial) is None
    assert [(t.trial, t.objective, t.error) for t in driver.told] == [("t000", 0.9, None)]


def test_there_are_as_many_proposals_as_trials(driver: Driver) -> None:
    driver.n_trials = 4
    searcher = driver.search()
    for i in range(4):
        suggest(searcher, f"tune{i}")
    assert searcher.suggest("tune4") == Searcher.FINISHED
    for i in range(4):
        complete(searcher, f"tune{i}")
    driver.n_trials = 6  # of which four are done
    searcher = driver.search()
    suggest(searcher, "tune4")
    suggest(searcher, "tune5")
    assert searcher.suggest("tune6") == Searcher.FINISHED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_fails_the_trial(driver: Driver, value: float) -> None:
    study = driver.study()
    driver.objective = lambda signature: value
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    complete(searcher, "tune0", "bad")
    (trial,) = study.trials  # finished: not left running
    assert trial.state is TrialState.FAIL
    assert signature_of(trial) is None
    assert error_of(trial) == "its objective is not a number"
    assert suggest(searcher, "tune1") == FIRST[1]


def test_the_reason_of_a_failure_is_kept(driver: Driver) -> None:
    searcher = driver.search()
    for i, (result, error) in enumerate(
        [({ERROR: "DivergedError: loss is nan"}, False), (None, True), ({}, True)]
    ):
        suggest(searcher, f"tune{i}")
        searcher.on_trial_complete(f"tune{i}", result, error=error)
    trials = driver.study().trials
    assert {trial.state for trial in trials} == {TrialState.FAIL}
    assert [error_of(trial) for trial in trials] == ["DivergedError: loss is nan", DIED, DIED]
    assert [t.error for t in driver.told] == ["DivergedError: loss is nan", DIED, DIED]


def test_an_objective_that_cannot_be_computed_fails_the_trial(driver: Driver) -> None:
    def objective(signature: str) -> float:
        raise DataError("none of the 0 objective epochs is scored")

    driver.objective = objective
    searcher = driver.search()
    suggest(searcher, "tune0")
    complete(searcher, "tune0")
    (told,) = driver.told
    assert told.error is not None
    assert told.error.startswith("DataError: none of the 0 objective")
    assert not driver.halt.draining


def test_parameters_that_make_no_configuration_fail_the_trial(driver: Driver) -> None:
    def identify(params: Mapping[str, float]) -> str:
        if params == FIRST[0]:
            raise SettingsError("tau is 0; allowed here: above 0.")
        return json.dumps(dict(params))

    driver.identify = identify
    assert suggest(driver.search(), "tune0") == FIRST[1]
    (told,) = driver.told
    assert told.error is not None
    assert told.error.startswith("SettingsError: tau is 0")


def test_a_result_on_the_way_is_ignored(driver: Driver) -> None:
    study = driver.study()
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    searcher.on_trial_result("tune0", {SIGNATURE: "s"})
    assert study.trials == []
    complete(searcher, "unknown")
    assert study.trials == []


def same_rate(params: Mapping[str, float]) -> str:
    """Return the same signature for all of `FIRST`, and another one for what is drawn."""
    return "first" if params in FIRST else json.dumps(dict(params))


def test_what_is_trained_is_not_trained_again(driver: Driver) -> None:
    driver.identify = same_rate
    searcher = driver.search()
    assert suggest(searcher, "tune0") == FIRST[0]
    complete(searcher, "tune0", "first")
    assert suggest(searcher, "tune1") not in FIRST
    trials = driver.study().trials
    assert [name for name, _ in driver.started] == ["t000", "t003"]
    assert [reused_from(trial) for trial in trials] == [None, "t000", "t000"]
    assert [trial.value for trial in trials] == [0.5] * 3
    assert [signature_of(trial) for trial in trials] == ["first"] * 3
    assert [was_enqueued(trial) for trial in trials] == [True] * 3
    assert [(t.trial, t.reused_from) for t in driver.told] == [
        ("t000", None),
        ("t001", "t000"),
        ("t002", "t000"),
    ]


def test_what_another_trial_trains_is_waited_for(driver: Driver) -> None:
    driver.identify = same_rate
    driver.n_trials = 4
    searcher = driver.search()
    assert suggest(searcher, "tune0") == FIRST[0]
    assert suggest(searcher, "tune1") not in FIRST
    assert searcher.suggest("tune2") == Searcher.FINISHED
    assert driver.told == []
    complete(searcher, "tune0", "first")
    assert [t.trial for t in driver.told] == ["t000", "t001", "t002"]
    complete(searcher, "tune1")
    assert {trial.state for trial in driver.study().trials} == {TrialState.COMPLETE}


def test_only_the_trial_that_trained_has_spent_time(driver: Driver) -> None:
    driver.identify = same_rate
    searcher = driver.search()
    suggest(searcher, "tune0")
    suggest(searcher, "tune1")
    spent = Seconds(waited=0.5, total=2.0)
    searcher.on_trial_complete("tune0", {SIGNATURE: "first", **as_fields(spent)})
    complete(searcher, "tune1")  # found in the store
    assert [(t.trial, t.seconds) for t in driver.told] == [
        ("t000", spent),
        ("t001", None),
        ("t002", None),
        ("t003", None),
    ]


def test_what_waits_fails_with_what_it_waits_for(driver: Driver) -> None:
    driver.identify = same_rate
    searcher = driver.search()
    suggest(searcher, "tune0")
    suggest(searcher, "tune1")
    searcher.on_trial_complete("tune0", {ERROR: "DivergedError: nan"})
    trials = driver.study().trials
    assert [error_of(trial) for trial in trials] == ["DivergedError: nan"] * 3
    assert [reused_from(trial) for trial in trials] == [None, "t000", "t000"]


def test_reuse_reaches_back_to_earlier_attempts(driver: Driver) -> None:
    driver.identify = same_rate
    searcher = driver.search()
    suggest(searcher, "tune0")
    suggest(searcher, "tune1")  # the other two of FIRST wait
    # Killed here.
    study = driver.study()
    assert study.requeue_running() == 4
    searcher = driver.search(study)
    assert suggest(searcher, "again0") == FIRST[0]
    complete(searcher, "again0", "first")
    suggest(searcher, "again1")
    assert [name_of(t) for t in driver.study().trials] == ["t000", "t001", "t002"]


def test_a_drained_search_proposes_nothing(driver: Driver) -> None:
    searcher = driver.search()
    suggest(searcher, "tune0")
    driver.halt.drain()
    assert searcher.suggest("tune1") == Searcher.FINISHED
    complete(searcher, "tune0")
    assert len(driver.told) == 1


def test_a_search_whose_budget_is_used_up_ends_with_what_runs(driver: Driver) -> None:
    searcher = driver.search()
    suggest(searcher, "tune0")
    driver.budget = "plateau 3"
    assert searcher.suggest("tune1") == Searcher.FINISHED
    assert searcher.ended_by == "plateau 3"
    complete(searcher, "tune0")
    assert len(driver.told) == 1


def test_a_held_search_proposes_later(driver: Driver) -> None:
    searcher = driver.search()
    driver.held = True
    assert searcher.suggest("tune0") is None
    driver.held = False
    assert suggest(searcher, "tune1") == FIRST[0]


def test_a_trial_that_is_ended_with_the_sweep_is_taken_up_again(driver: Driver) -> None:
    searcher = driver.search()
    suggest(searcher, "tune0")
    suggest(searcher, "tune1")
    driver.halt.stop()
    searcher.on_trial_complete("tune0", {}, error=False)
    searcher.on_trial_complete("tune1", None, error=True)
    assert driver.told == []
    study = driver.study()
    assert study.requeue_running() == 2
    driver.halt = Halt()
    searcher = driver.search(study)
    assert [suggest(searcher, f"again{i}") for i in range(3)] == [FIRST[2], *FIRST[:2]]


@pytest.mark.parametrize("error", [IntegrityError("test labels"), StoreUnreachableError("gone")])
def test_an_error_that_is_no_fault_of_the_trial_ends_the_sweep(
    driver: Driver, error: Exception
) -> None:
    assert isinstance(error, IntegrityError | StoreUnreachableError)
    searcher = driver.search()
    suggest(searcher, "tune0")
    searcher.on_trial_complete("tune0", {ENDS_SWEEP: as_data(error)})
    assert driver.halt.stopping
    assert type(driver.halt.error) is type(error)
    assert str(driver.halt.error) == str(error)
    assert driver.told == []
    assert driver.study().requeue_running() == 1


def test_what_a_kill_left_running_is_tried_again_with_the_same_parameters(driver: Driver) -> None:
    searcher = driver.search()
    for i in range(4):
        suggest(searcher, f"tune{i}")
    sampled = suggest(searcher, "tune4")
    complete(searcher, "tune0")
    complete(searcher, "tune3")
    # Killed here: the trials 1, 2 and 4 are running.
    again = driver.study()
    assert again.requeue_running() == 3
    assert [name_of(trial) for trial in again.trials] == ["t000", "t003"]
    assert again.requeue_running() == 0
    second = driver.search(again)
    proposed = [suggest(second, f"again{i}") for i in range(4)]
    assert proposed[:3] == [FIRST[1], FIRST[2], sampled]
    assert proposed[3] not in [*FIRST, sampled]
    for i in range(4):
        complete(second, f"again{i}")
    trials = again.trials
    assert [name_of(trial) for trial in trials] == [f"t00{i}" for i in range(6)]
    assert [trials[i].params for i in (1, 2, 4, 5)] == proposed
    # The sampler proposed one of the repeated three: on the tau curve it is no enqueued point.
    assert [was_enqueued(trial) for trial in trials] == [True, True, True, False, False, False]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


HOUR = timedelta(hours=1)


def put_back(journal: Path, by: timedelta) -> None:
    """Have the trials of a journal begin so much earlier."""
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line.get("datetime_start"):
            earlier = datetime.fromisoformat(line["datetime_start"]) - by
            line["datetime_start"] = earlier.isoformat(timespec="microseconds")
        if "began_at" in line.get("user_attr", {}):
            earlier = datetime.fromisoformat(line["user_attr"]["began_at"]) - by
            line["user_attr"]["began_at"] = earlier.isoformat()
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_between_a_kill_and_the_next_attempt_no_time_is_spent(driver: Driver) -> None:
    suggest(driver.search(), "tune0")  # killed an hour later, and found on Monday
    put_back(driver.journal, 60 * HOUR)
    trial = driver.study().all_trials[0]
    began = began_at(trial)
    assert began is not None
    study = driver.study()
    study.requeue_running(began + HOUR)
    suggest(driver.search(study), "again0")
    now = datetime.now(UTC) + HOUR
    for trials in (study.all_trials, driver.study().all_trials):
        assert 2 * HOUR <= spent(trials, now) < 2.1 * HOUR
        assert 2 * HOUR <= gpu_time(trials, 1, now) < 2.1 * HOUR


def test_a_trial_of_which_nothing_was_heard_has_spent_no_time(driver: Driver) -> None:
    suggest(driver.search(), "tune0")
    put_back(driver.journal, 60 * HOUR)
    study = driver.study()
    study.requeue_running(NEVER)
    assert spent(study.all_trials, datetime.now(UTC)) == timedelta()


def test_a_trial_that_waits_for_another_takes_no_gpu(driver: Driver) -> None:
    driver.identify = same_rate
    study = driver.study()
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    suggest(searcher, "tune1")  # the other two of FIRST wait
    assert len(study.all_trials) == 4
    in_an_hour = datetime.now(UTC) + HOUR
    for trials in (study.all_trials, driver.study().all_trials):  # the latter after a kill
        assert 2 * HOUR <= gpu_time(trials, 1, in_an_hour) < 2.1 * HOUR
    complete(searcher, "tune0", "first")
    assert [reused_from(trial) for trial in study.trials] == [None, "t000", "t000"]


def test_a_trial_that_is_killed_twice_is_still_what_it_was(driver: Driver) -> None:
    searcher = driver.search()
    for i in range(3):
        suggest(searcher, f"tune{i}")
        complete(searcher, f"tune{i}")
    sampled = suggest(searcher, "tune3")
    for attempt in range(2):
        study = driver.study()
        assert study.requeue_running() == 1
        searcher = driver.search(study)
        assert suggest(searcher, f"again{attempt}") == sampled
    complete(searcher, "again1")
    assert [was_enqueued(trial) for trial in study.trials] == [True] * 3 + [False]
    assert [name_of(trial) for trial in study.trials] == [f"t00{i}" for i in range(4)]


def test_failed_trials_are_tried_again_only_where_that_is_wanted(driver: Driver) -> None:
    searcher = driver.search()
    for i in range(4):
        suggest(searcher, f"tune{i}")
        result = {ERROR: "OSError: no space"} if i in (1, 3) else {SIGNATURE: "s"}
        searcher.on_trial_complete(f"tune{i}", result)
    failed = [trial.params for trial in driver.study().trials if error_of(trial)]
    study = driver.study()
    assert study.requeue_running() == 0
    assert [error_of(trial) is None for trial in study.trials] == [True, False, True, False]
    assert study.requeue_failed() == 2
    assert [name_of(trial) for trial in study.trials] == ["t000", "t002"]
    searcher = driver.search(study)
    assert [suggest(searcher, f"again{i}") for i in range(2)] == failed
    for i in range(2):
        complete(searcher, f"again{i}")
    assert [name_of(trial) for trial in study.trials] == [f"t00{i}" for i in range(4)]
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_an_enqueued_trial_killed_before_its_first_draw_is_not_lost(driver: Driver) -> None:
    driver.search()
    storage = JournalStorage(JournalFileBackend(str(driver.journal)))
    optuna.load_study(study_name="probe", storage=storage).ask()  # running, without parameters
    study = driver.study()
    assert study.requeue_running() == 1
    searcher = driver.search(study)
    proposed = [suggest(searcher, f"tune{i}") for i in range(3)]
    assert proposed == [FIRST[1], FIRST[2], FIRST[0]]


def test_a_kill_while_enqueueing_leaves_no_point_out(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue = optuna.Study.enqueue_trial
    calls = []

    def killed(*given: Any, **options: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        enqueue(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            driver.search()
    searcher = driver.search()
    assert [suggest(searcher, f"tune{i}") for i in range(3)] == FIRST


def test_a_second_attempt_enqueues_nothing_again_and_draws_anew(driver: Driver) -> None:
    drawn: list[list[dict[str, float]]] = []
    for attempt in range(2):
        searcher = driver.search()
        drawn.append([])
        for name in [f"tune{attempt}{i}" for i in range(5)]:
            drawn[attempt].append(suggest(searcher, name))
            complete(searcher, name)
    assert drawn[0][:3] == FIRST
    first, second = drawn[0][3:], drawn[1]
    assert all(params not in FIRST for params in second)
    assert not {p["tau_quantile"] for p in first} & {p["tau_quantile"] for p in second}
    assert [was_enqueued(t) for t in driver.study().trials] == [True] * 3 + [False] * 7


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    def draws(folder: str, seed: int) -> list[dict[str, float]]:
        searcher = Driver(tmp_path / folder / "journal", seed).search()
        return [suggest(searcher, f"tune{i}") for i in range(5)]

    assert draws("a", 1) == draws("b", 1)
    assert draws("a2", 1)[3:] != draws("c", 2)[3:]


def test_integers_and_choices_are_drawn(driver: Driver) -> None:
    space: dict[str, Declared] = {
        "n": Integer(2, 4),
        "schedule": Choice(("constant", "capped")),
        "cap": Uniform(0, 1),
    }
    driver.space, driver.first = space, [{"n": 3, "schedule": "capped", "cap": 0.25}]
    each = itertools.count()
    driver.identify = lambda params: f"{next(each)}"  # else equal ones would wait for each other
    searcher = driver.search()
    drawn: list[dict[str, Any]] = [{**suggest(searcher, f"tune{i}")} for i in range(20)]
    assert drawn[0] == driver.first[0]
    for params in drawn:
        assert all(space[name].contains(value) for name, value in params.items())
        assert params.keys() == space.keys()
        assert isinstance(params["n"], int)
    assert {params["n"] for params in drawn} == {2, 3, 4}
    assert {params["schedule"] for params in drawn} == {"constant", "capped"}


def report(searcher: StudySearch, tune_id: str, n_parts: int, so_far: float) -> bool:
    return searcher.is_hopeless(tune_id, {N_PARTS: n_parts, SO_FAR: so_far})


def test_successive_halving_ends_what_is_behind(driver: Driver) -> None:
    driver.options = {"scheduler": {"name": "asha", "options": {"reduction_factor": 2}}}
    study = driver.study()
    searcher = driver.search(study)
    verdicts = []
    for i, so_far in enumerate((0.5, 0.6, 0.4, 0.7)):
        suggest(searcher, f"tune{i}")
        hopeless = report(searcher, f"tune{i}", 1, so_far)
        verdicts.append(hopeless)
        searcher.on_trial_complete(f"tune{i}", {N_PARTS: 1} if hopeless else {SIGNATURE: "s"})
    # The best half of those seen so far goes on: 0.5 of one, 0.6 of two, one of three, two of four.
    assert verdicts == [False, False, True, False]
    stopped = study.trials[2]
    assert stopped.state is TrialState.PRUNED
    assert (stopped_after(stopped), objective_of(stopped), error_of(stopped)) == (1, None, None)
    assert [told.stopped_after for told in driver.told] == [None, None, 1, None]


@pytest.mark.heavy
def test_what_the_scheduler_ended_is_not_trained_again(driver: Driver) -> None:
    driver.options = {"scheduler": {"name": "threshold", "options": {"lower": 0.3}}}
    driver.identify = lambda params: "one"
    study = driver.study()
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    assert report(searcher, "tune0", 1, 0.2)
    searcher.on_trial_complete("tune0", {N_PARTS: 1})
    for attempt in (searcher, driver.search(driver.study())):
        assert attempt.suggest("tune1") == Searcher.FINISHED
    assert len(driver.study().trials) == 20
    assert {reused_from(trial) for trial in driver.study().trials[1:]} == {"t000"}
    assert {stopped_after(trial) for trial in driver.study().trials} == {1}


def test_a_lost_process_reports_again_without_harm(driver: Driver) -> None:
    driver.options = {"scheduler": {"name": "asha"}}
    study = driver.study()
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    for n_parts, so_far in ((1, 0.5), (2, 0.6), (1, 0.5), (2, 0.6), (3, 0.7)):
        assert not report(searcher, "tune0", n_parts, so_far)
    complete(searcher, "tune0")
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}


def test_a_trial_whose_objective_left_the_numbers_is_ended(driver: Driver) -> None:
    driver.options = {"scheduler": {"name": "asha"}}
    searcher = driver.search()
    suggest(searcher, "tune0")
    assert report(searcher, "tune0", 1, math.nan)


def test_without_a_scheduler_nothing_is_judged_on_the_way(driver: Driver) -> None:
    searcher = driver.search()
    suggest(searcher, "tune0")
    assert not report(searcher, "tune0", 1, math.nan)


def test_of_several_objectives_the_front_is_kept(driver: Driver) -> None:
    driver.options = {"also": ["cost"]}
    driver.n_trials = 4
    values = iter([(0.9, 10.0), (0.8, 5.0), (0.7, 7.0), (0.9, 20.0)])
    driver.values = lambda params: next(values)
    study = driver.study()
    searcher = driver.search(study)
    for i in range(4):
        suggest(searcher, f"tune{i}")
        complete(searcher, f"tune{i}", str(i))
    assert study.front == {"t000", "t001"}  # t002 is worse than t001 in both, t003 costs more
    assert [objective_of(trial) for trial in study.trials] == [0.9, 0.8, 0.7, 0.9]


@pytest.mark.parametrize("name", ["random", "nsgaii", "qmc", "gp", "bruteforce"])
def test_any_sampler_of_optuna_draws(driver: Driver, name: str) -> None:
    driver.options = {"sampler": {"name": name}}
    driver.n_trials, driver.first = 6, []
    driver.space = {"n": Integer(1, 100), "way": Choice(("a", "b"))}
    drawn = []
    for tune_id in "abcdef":
        searcher = driver.search(driver.study())
        drawn.append(suggest(searcher, tune_id))
        complete(searcher, tune_id)
        assert 1 <= drawn[-1]["n"] <= 100
    assert len({json.dumps(params) for params in drawn}) == 6


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "bruteforce"},
        {"name": "grid", "options": {"search_space": {"way": ["a", "b", "c"]}}},
    ],
)
def test_a_sampler_that_has_tried_everything_ends_the_search(
    driver: Driver, sampler: dict[str, Any]
) -> None:
    driver.options = {"sampler": sampler}
    driver.first = []
    driver.space = {"way": Choice(("a", "b", "c"))}
    study = driver.study()
    searcher = driver.search(study)
    ways: list[str] = []
    while isinstance(params := searcher.suggest(f"tune{len(ways)}"), dict):
        ways.append(params["way"])
        complete(searcher, f"tune{len(ways) - 1}", params["way"])
    assert sorted(ways) == ["a", "b", "c"]
    assert searcher.ended_by is not None
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3


def test_a_grid_goes_on_after_a_kill(driver: Driver) -> None:
    space = {"way": ["a", "b", "c"]}
    driver.options = {"sampler": {"name": "grid", "options": {"search_space": space}}}
    driver.first, driver.n_trials = [], 3
    driver.space = {"way": Choice(("a", "b", "c"))}
    searcher = driver.search(driver.study())
    ways = [str(suggest(searcher, f"tune{i}")["way"]) for i in range(2)]
    complete(searcher, "tune0", ways[0])
    study = driver.study()  # as a new process: the second one was running
    assert study.requeue_running() == 1
    searcher = driver.search(study)
    again = suggest(searcher, "tune2")
    assert str(again["way"]) == ways[1]
    complete(searcher, "tune2", ways[1])
    assert study.trials[1].state is TrialState.COMPLETE


def test_predictions_that_are_not_there_fail_the_trial(driver: Driver) -> None:
    def missing(params: Mapping[str, float]) -> tuple[float, ...]:
        raise FileNotFoundError("predictions/s.parquet")

    driver.values = missing
    study = driver.study()
    searcher = driver.search(study)
    suggest(searcher, "tune0")
    complete(searcher, "tune0")
    error = error_of(study.trials[0]) or ""
    assert error.startswith("FileNotFoundError: predictions/s.parquet\n")
    assert searcher.name_of("tune0") == ""


def test_a_sampler_whose_package_is_missing_ends_the_sweep(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: Any, **options: Any) -> Any:
        raise ImportError("Tried to import 'cmaes' but failed. Install it")

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", missing)
    driver.options, driver.first = {"sampler": {"name": "random"}}, []
    assert driver.search().suggest("tune0") == Searcher.FINISHED
    assert driver.halt.stopping
    assert "search.sampler needs a package" in str(driver.halt.error)


def test_several_seeds_are_remembered(driver: Driver) -> None:
    study = driver.study()
    searcher = driver.search(study)
    searcher._hooks = replace(
        searcher._hooks, evaluate=lambda params: Scores(values=(0.5,), replicates=(0.4, 0.6))
    )
    suggest(searcher, "tune0")
    complete(searcher, "tune0")
    assert replicates_of(driver.study().trials[0]) == (0.4, 0.6)


def test_an_adopted_trial_teaches_and_does_not_count(driver: Driver) -> None:
    driver.first, driver.n_trials = [], 12
    ranges = {name: distribution(declared) for name, declared in driver.space.items()}
    for attempt in range(2):
        study = driver.study()
        for i in range(20):
            params = {"tau_quantile": 0.5 + i / 1000, "learning_rate": 1e-3}
            study.adopt(f"old/t{i:03d}", params, ranges, 0.9 - i / 100)
            study.adopt(f"older/t{i:03d}", {**params, "tau_quantile": i / 100}, ranges, 0.1)
        assert len(study._study.get_trials()) == 40 + attempt
        assert len(study.trials) == len(study.all_trials) == attempt
        searcher = driver.search(study)
        drawn = suggest(searcher, f"tune{attempt}")
        # Not one of the ten random draws that TPE begins with: near the best of the old ones.
        assert 0.4 < drawn["tau_quantile"] < 0.7
        complete(searcher, f"tune{attempt}")


def test_names_sort_by_their_numbers() -> None:
    names = ["t1000", "t101", "arm-random", "t099", "row-a-seed10", "row-a-seed2"]
    assert sorted(names, key=in_order) == [
        "arm-random", "row-a-seed2", "row-a-seed10", "t099", "t101", "t1000"
    ]  # fmt: skip


def test_each_change_is_told_for_the_copy_of_the_journal(driver: Driver) -> None:
    searcher = driver.search()
    before = driver.n_changes
    suggest(searcher, "tune0")
    assert driver.n_changes > before
    before = driver.n_changes
    complete(searcher, "tune0")
    assert driver.n_changes > before


def test_the_journal_opens_with_optuna(driver: Driver) -> None:
    searcher = driver.search()
    suggest(searcher, "tune0")
    complete(searcher, "tune0")
    study = optuna.load_study(
        study_name="probe", storage=JournalStorage(JournalFileBackend(str(driver.journal)))
    )
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.params == FIRST[0]
    assert study.best_trial.user_attrs[SIGNATURE] == "s"
    distributions = study.best_trial.distributions
    for name, declared in USED.items():
        found = distributions[name]
        assert isinstance(found, optuna.distributions.FloatDistribution)
        assert not isinstance(declared, Choice)
        assert (found.low, found.high) == (declared.low, declared.high)
        assert found.log == isinstance(declared, LogUniform)


def test_the_searcher_pickles_without_our_functions(driver: Driver, tmp_path: Path) -> None:
    # Tune snapshots it; the objective reaches label gate and store, which do not travel.
    searcher = driver.search()
    assert not {"_hooks", "_halt"} & set(searcher.__getstate__())
    searcher.save(str(tmp_path / "snapshot"))
    assert not (tmp_path / "snapshot").exists()
