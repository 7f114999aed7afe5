"""More failed trials than the quota allows end a sweep, whichever of them it is that exceeds it: without Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.errors import InterruptedSweepError, StoreUnreachableError, SweepFailedError
from orchestrator.method import Scores
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ERROR, N_PARTS, SIGNATURE, SO_FAR, Outcome
from orchestrator.sweeps.search import tuning
from orchestrator.sweeps.search.searcher import StudySearch
from orchestrator.sweeps.search.study import name_of
from orchestrator.sweeps.search.tuning import SearchResult, run_search
from orchestrator.telemetry.events import EventLog, read_events
from search_spaces.space import Uniform

XS = [k / 8 for k in range(8)]
BROKEN: Outcome = {ERROR: "ValueError: no"}


def good(x: float) -> Outcome:
    return {SIGNATURE: str(x)}


def failing(*bad: float) -> Callable[[float], Outcome]:
    return lambda x: BROKEN if x in bad else good(x)


@dataclass
class Attempts:
    """Attempts at a sweep over ``x`` of 0, 1/8, 2/8 ..., whose trials end in this process and in order."""

    store: Store
    monkeypatch: pytest.MonkeyPatch
    halt: Halt = field(default_factory=Halt)
    tried: list[float] = field(default_factory=list)

    def search(
        self,
        outcome: Callable[[float], Outcome],
        *,
        n_at_once: int = 1,
        n_trials: int = 4,
        first: Sequence[float] | None = None,
        identify: Callable[[Mapping[str, Any]], str] = lambda params: str(params["x"]),
        retry_failed: bool = False,
        **keys: Any,
    ) -> SearchResult:
        def tune(trainable: Any, searcher: StudySearch, *others: Any) -> None:
            _drive(searcher, outcome, n_at_once, self.halt, self.tried)

        self.monkeypatch.setattr(tuning, "_tune", tune)
        self.halt = Halt()
        with EventLog(self.store, paths.sweep_events("probe")) as log:
            return run_search(
                Run(
                    store=self.store,
                    sweep=SweepBase(name="probe", method="any"),
                    log=log,
                    halt=self.halt,
                    retry_failed=retry_failed,
                ),
                SearchBase.model_validate({"n_trials": n_trials, "failure_quota": 0.25, **keys}),
                space={"x": Uniform(0, 1)},
                first=[{"x": x} for x in first or XS[:n_trials]],
                trial=lambda inputs_ref, params, after_part: {},
                inputs_ref=[],
                identify=identify,
                evaluate=lambda params: Scores(values=(params["x"],)),
            )

    def told(self, event: str) -> list[dict[str, Any]]:
        events = read_events(self.store, paths.sweep_events("probe"))
        return [each for each in events if each["event"] == event]


def _drive(
    searcher: StudySearch,
    outcome: Callable[[float], Outcome],
    n_at_once: int,
    halt: Halt,
    tried: list[float],
) -> None:
    """Run trials as Ray Tune does, but for Ray: a batch begins, and then all of it ends."""
    numbers: Iterator[int] = iter(range(1000))
    while not halt.stopping:
        begun: dict[str, float] = {}
        while len(begun) < n_at_once:
            tune_id = f"tune{next(numbers)}"
            params = searcher.suggest(tune_id)
            if params == Searcher.FINISHED or params is None:
                break
            begun[tune_id] = params["x"]
        if not begun:
            return
        for tune_id, x in begun.items():
            tried.append(x)
            result = outcome(x)
            if N_PARTS in result:
                assert searcher.is_hopeless(tune_id, result)
            searcher.on_trial_complete(tune_id, result, error=ERROR in result)


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(Store.open(str(tmp_path / "store")), monkeypatch)


@pytest.mark.heavy
@pytest.mark.parametrize("order", [(0, 1), (1, 2), (0, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("n_at_once", [1, 2, 4])
def test_whichever_trial_exceeds_the_quota(
    attempts: Attempts, order: tuple[int, int], n_at_once: int
) -> None:
    bad = [XS[k] for k in order]
    with pytest.raises(SweepFailedError, match=r"2 trials .* more than .* allows \(1\)") as caught:
        attempts.search(failing(*bad), n_at_once=n_at_once)
    assert caught.value.exit_code == 8
    assert f"2 x ValueError: no (t00{order[0]}, t00{order[1]})" in str(caught.value)
    assert "--retry-failed" in str(caught.value)
    done = {event["trial"] for event in attempts.told("trial_done")}
    found = attempts.search(good, retry_failed=True)
    assert [name_of(trial) for trial in found.trials] == ["t000", "t001", "t002", "t003"]
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}
    again = [event["trial"] for event in attempts.told("trial_done")]
    assert len(again) == len(set(again)), "what was done is not lost"
    assert done <= set(again)


@pytest.mark.heavy
@pytest.mark.parametrize(("n_bad", "quota"), [(1, 0.25), (2, 0.5), (29, 0.29), (1, 1.0)])
def test_as_many_as_the_quota_allows_may_fail(attempts: Attempts, n_bad: int, quota: float) -> None:
    n_trials = 100 if n_bad > 4 else 4
    xs = [k / 128 for k in range(n_trials)]  # 0.29 * 100 is less than 29
    found = attempts.search(
        failing(*xs[:n_bad]), first=xs, n_trials=n_trials, failure_quota=quota, n_at_once=4
    )
    assert sum(trial.state is TrialState.FAIL for trial in found.trials) == n_bad


def test_all_that_failed_side_by_side_are_named(attempts: Attempts) -> None:
    with pytest.raises(SweepFailedError, match=r"4 trials .* allows") as caught:
        attempts.search(lambda x: BROKEN, n_trials=8, n_at_once=4)
    assert "4 x ValueError: no (t000, t001, t002, t003)" in str(caught.value)


def test_a_failure_that_several_trials_share_counts_for_each_of_them(attempts: Attempts) -> None:
    """The last training of a search fails, and another trial waits for it."""

    def same_from(params: Mapping[str, Any]) -> str:
        return "shared" if params["x"] >= XS[2] else str(params["x"])

    with pytest.raises(SweepFailedError, match="2 trials") as caught:
        attempts.search(failing(XS[2]), n_at_once=4, identify=same_from)
    assert "(t002, t003)" in str(caught.value)
    assert [e["reused_from"] for e in attempts.told("trial_failed")] == [None, "t002"]


def test_parameters_that_make_no_configuration_count_as_failed(attempts: Attempts) -> None:
    def identify(params: Mapping[str, Any]) -> str:
        if params["x"] >= XS[2]:
            raise ValueError("too large")
        return str(params["x"])

    with pytest.raises(SweepFailedError, match="2 x ValueError: too large"):
        attempts.search(good, identify=identify)


def test_a_sweep_that_has_exceeded_it_says_so_before_it_trains_anything(attempts: Attempts) -> None:
    with pytest.raises(SweepFailedError):
        attempts.search(failing(*XS[:3]), n_trials=8)
    tried = list(attempts.tried)
    assert len(tried) == 3
    for _ in range(2):
        with pytest.raises(SweepFailedError, match=r"3 trials .* allows \(2\)"):
            attempts.search(good, n_trials=8)
    assert attempts.tried == tried
    found = attempts.search(good, n_trials=8, failure_quota=0.5)  # a larger one goes on
    assert len(found.trials) == 8


def test_one_that_ended_with_too_many_failures_is_no_success_later(attempts: Attempts) -> None:
    """As of a process that was killed after its last trial."""
    attempts.search(failing(*XS[:2]), failure_quota=0.5)
    with pytest.raises(SweepFailedError, match=r"2 trials .* allows \(1\)"):
        attempts.search(good, failure_quota=0.25)


def test_a_trial_that_fails_again_counts_once(attempts: Attempts) -> None:
    with pytest.raises(SweepFailedError):
        attempts.search(failing(*XS[:2]))
    found = attempts.search(failing(XS[0]), retry_failed=True)
    assert sum(trial.state is TrialState.FAIL for trial in found.trials) == 1


def test_trials_that_the_scheduler_ended_have_not_failed(attempts: Attempts) -> None:
    parts: Outcome = {N_PARTS: 1, SO_FAR: float("nan")}  # without hope whatever the others have
    found = attempts.search(lambda x: parts if x in XS[:3] else good(x), scheduler={"name": "asha"})
    assert [trial.state for trial in found.trials] == [TrialState.PRUNED] * 3 + [
        TrialState.COMPLETE
    ]


@pytest.mark.parametrize("n_good", [0, 1])
def test_a_budget_that_is_reached_with_the_last_allowed_failure(
    attempts: Attempts, n_good: int
) -> None:
    with pytest.raises(SweepFailedError, match="2 trials"):
        attempts.search(failing(*XS[n_good : n_good + 2]), plateau=2, n_at_once=2)


def test_all_trials_of_a_search_that_a_budget_ended_failed(attempts: Attempts) -> None:
    with pytest.raises(SweepFailedError, match="all 1 trials"):
        attempts.search(failing(*XS), plateau=1)
    assert attempts.told("budget_reached")


def test_a_sweep_that_its_user_ends_has_not_failed(attempts: Attempts) -> None:
    def drained(x: float) -> Outcome:
        attempts.halt.drain()
        return BROKEN

    with pytest.raises(InterruptedSweepError, match="after 1 of 4 trials"):
        attempts.search(drained)


def test_what_ended_the_sweep_before_counts(attempts: Attempts) -> None:
    gone = StoreUnreachableError("the bucket is gone")

    def without_store(x: float) -> Outcome:
        attempts.halt.stop(gone)
        return BROKEN

    with pytest.raises(StoreUnreachableError, match="is gone"):
        attempts.search(without_store, n_trials=1)
