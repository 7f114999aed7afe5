"""The study of a sweep, driven by hand as Ray Tune drives it: order, failures, and what a kill leaves."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.sweep.search import (
    ERROR,
    SIGNATURE,
    Study,
    StudySearch,
    error_of,
    signature_of,
    was_enqueued,
)
from search_spaces.selective import SPACE
from search_spaces.space import LogUniform

FIRST = [{"tau_quantile": tau, "learning_rate": 1e-4} for tau in (0.0, 0.5, 0.9)]

Open = Callable[[], Study]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "sweeps" / "probe" / "optuna.journal"


@pytest.fixture
def open_study(journal: Path) -> Open:
    """Open the study as a new process does."""
    return lambda: Study("probe", journal, seed=3)


def search(study: Study, values: dict[str, float] | None = None) -> StudySearch:
    return study.search(SPACE, FIRST, lambda name: (values or {}).get(name, 0.5))


def complete(searcher: StudySearch, tune_id: str, signature: str = "s") -> None:
    searcher.on_trial_complete(tune_id, {SIGNATURE: signature}, error=False)


def suggest(searcher: StudySearch, tune_id: str) -> dict[str, float]:
    params = searcher.suggest(tune_id)
    assert params is not None
    return params


def test_enqueued_trials_come_first_and_in_order(open_study: Open) -> None:
    study = open_study()
    searcher = search(study)
    proposed = []
    for i in range(5):
        proposed.append(suggest(searcher, f"tune{i}"))
        complete(searcher, f"tune{i}")
    assert proposed[:3] == FIRST
    assert [was_enqueued(trial) for trial in study.trials] == [True] * 3 + [False] * 2
    for params in proposed:
        assert set(params) == set(SPACE)
        assert all(SPACE[name].contains(value) for name, value in params.items())
    assert [trial.params for trial in study.trials] == proposed


def test_the_value_comes_from_the_signature(open_study: Open) -> None:
    study = open_study()
    searcher = search(study, {"good": 0.9})
    suggest(searcher, "tune0")
    complete(searcher, "tune0", "good")
    (trial,) = study.trials
    assert trial.value == 0.9
    assert trial.state is TrialState.COMPLETE
    assert signature_of(trial) == "good"
    assert error_of(trial) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_fails_the_trial(open_study: Open, value: float) -> None:
    study = open_study()
    searcher = search(study, {"bad": value})
    suggest(searcher, "tune0")
    complete(searcher, "tune0", "bad")
    (trial,) = study.trials  # finished: not left running
    assert trial.state is TrialState.FAIL
    assert signature_of(trial) is None
    assert error_of(trial) == "its objective is not a number"
    assert suggest(searcher, "tune1") == FIRST[1]


def test_the_reason_of_a_failure_is_kept(open_study: Open, journal: Path) -> None:
    searcher = search(open_study())
    for i, (result, error) in enumerate(
        [({ERROR: "DivergedError: loss is nan"}, False), (None, True), ({}, True)]
    ):
        suggest(searcher, f"tune{i}")
        searcher.on_trial_complete(f"tune{i}", result, error=error)
    trials = open_study().trials
    assert {trial.state for trial in trials} == {TrialState.FAIL}
    assert [error_of(trial) for trial in trials] == [
        "DivergedError: loss is nan",
        "the trial's process died",
        "the trial's process died",
    ]


def test_a_result_on_the_way_is_ignored(open_study: Open) -> None:
    study = open_study()
    searcher = search(study)
    suggest(searcher, "tune0")
    searcher.on_trial_result("tune0", {SIGNATURE: "s"})
    assert study.trials == []
    complete(searcher, "unknown")
    assert study.trials == []


def test_what_a_kill_left_running_is_tried_again_with_the_same_parameters(
    open_study: Open,
) -> None:
    study = open_study()
    searcher = search(study)
    for i in range(4):
        suggest(searcher, f"tune{i}")
    sampled = suggest(searcher, "tune4")
    complete(searcher, "tune0")
    complete(searcher, "tune3")
    # Killed here: the trials 1, 2 and 4 are running.
    again = open_study()
    assert again.continue_interrupted() == 3
    assert [trial.number for trial in again.trials] == [0, 3]
    assert again.continue_interrupted() == 0
    second = search(again)
    proposed = [suggest(second, f"again{i}") for i in range(4)]
    assert proposed[:3] == [FIRST[1], FIRST[2], sampled]
    assert proposed[3] not in [*FIRST, sampled]
    for i in range(4):
        complete(second, f"again{i}")
    trials = again.trials
    assert [trial.params for trial in trials[2:]] == proposed
    # The sampler proposed one of the repeated three: on the tau curve it is no enqueued point.
    assert [was_enqueued(trial) for trial in trials] == [True, False, True, True, False, False]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


def test_a_trial_that_is_killed_twice_is_still_what_it_was(open_study: Open) -> None:
    searcher = search(open_study())
    for i in range(3):
        suggest(searcher, f"tune{i}")
        complete(searcher, f"tune{i}")
    sampled = suggest(searcher, "tune3")
    for attempt in range(2):
        study = open_study()
        assert study.continue_interrupted() == 1
        searcher = search(study)
        assert suggest(searcher, f"again{attempt}") == sampled
    complete(searcher, "again1")
    assert [was_enqueued(trial) for trial in study.trials] == [True] * 3 + [False]


def test_an_enqueued_trial_killed_before_its_first_draw_is_not_lost(
    open_study: Open, journal: Path
) -> None:
    search(open_study())
    storage = JournalStorage(JournalFileBackend(str(journal)))
    optuna.load_study(study_name="probe", storage=storage).ask()  # running, without parameters
    study = open_study()
    assert study.continue_interrupted() == 1
    searcher = search(study)
    proposed = [suggest(searcher, f"tune{i}") for i in range(3)]
    assert proposed == [FIRST[1], FIRST[2], FIRST[0]]


def test_a_kill_while_enqueueing_leaves_no_point_out(
    open_study: Open, monkeypatch: pytest.MonkeyPatch
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
            search(open_study())
    study = open_study()
    searcher = search(study)
    assert [suggest(searcher, f"tune{i}") for i in range(3)] == FIRST


def test_a_second_attempt_enqueues_nothing_again_and_draws_anew(open_study: Open) -> None:
    drawn: list[list[dict[str, float]]] = []
    for attempt in range(2):
        study = open_study()
        searcher = search(study)
        names = [f"tune{attempt}{i}" for i in range(5)]
        drawn.append([])
        for name in names:
            drawn[attempt].append(suggest(searcher, name))
            complete(searcher, name)
    assert drawn[0][:3] == FIRST
    first, second = drawn[0][3:], drawn[1]
    assert all(params not in FIRST for params in second)
    assert not {p["tau_quantile"] for p in first} & {p["tau_quantile"] for p in second}
    assert [was_enqueued(t) for t in open_study().trials] == [True] * 3 + [False] * 7


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    def draws(folder: str, seed: int) -> list[dict[str, float]]:
        searcher = search(Study("probe", tmp_path / folder / "journal", seed))
        return [suggest(searcher, f"tune{i}") for i in range(5)]

    assert draws("a", 1) == draws("b", 1)
    assert draws("a2", 1)[3:] != draws("c", 2)[3:]


def test_the_journal_opens_with_optuna(open_study: Open, journal: Path) -> None:
    searcher = search(open_study())
    suggest(searcher, "tune0")
    complete(searcher, "tune0")
    study = optuna.load_study(
        study_name="probe", storage=JournalStorage(JournalFileBackend(str(journal)))
    )
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.params == FIRST[0]
    assert study.best_trial.user_attrs[SIGNATURE] == "s"
    distributions = study.best_trial.distributions
    for name, declared in SPACE.items():
        found = distributions[name]
        assert isinstance(found, optuna.distributions.FloatDistribution)
        assert (found.low, found.high) == (declared.low, declared.high)
        assert found.log == isinstance(declared, LogUniform)


def test_the_searcher_pickles_without_the_objective(open_study: Open, tmp_path: Path) -> None:
    # Tune snapshots it; the objective reaches label gate and store, which do not travel.
    searcher = search(open_study())
    assert "_objective" not in searcher.__getstate__()
    searcher.save(str(tmp_path / "snapshot"))
    assert not (tmp_path / "snapshot").exists()
