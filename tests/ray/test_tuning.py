"""A search with Ray Tune and trials that do next to nothing: what is repeated, what ends it, what is left behind."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from jsonschema import Draft202012Validator
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.sweep_sections import SearchBase, SweepBase
from orchestrator.errors import IntegrityError, InterruptedSweepError, SweepFailedError
from orchestrator.labels import LabelGate, Split
from orchestrator.method import AfterPart, InputsRef, Scores
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.execution import Run, run_fixed
from orchestrator.sweeps.failures import DIED, MAX_RETRIES
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.reports import ERROR, SIGNATURE, Outcome, Trial, outcome_of
from orchestrator.sweeps.search import tuning
from orchestrator.sweeps.search.study import error_of, name_of, reused_from, stopped_after
from orchestrator.sweeps.search.tuning import run_search
from orchestrator.sweeps.watch.event_schema import event_schema
from orchestrator.telemetry.events import EventLog, read_events
from search_spaces.space import Uniform
from trainables.errors import DivergedError
from trainables.training import Seconds

pytestmark = pytest.mark.ray

FIRST = [{"x": 0.25}, {"x": 0.5}]


def value_of(params: Mapping[str, float]) -> str:
    return f"{params['x']:.9f}"


def good(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
    return {SIGNATURE: value_of(params)}


@dataclass
class Sweep:
    """A sweep in a folder of its own; each call of `search` is an attempt at it."""

    folder: Path
    inputs: Any = None
    halt: Halt = field(default_factory=Halt)

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder / "store"))

    def run(self, **options: Any) -> Run:
        log = EventLog(self.store, paths.sweep_events("probe"))
        sweep = SweepBase(name="probe", method="any")
        return Run(store=self.store, sweep=sweep, log=log, halt=self.halt, **options)

    def search(
        self,
        trial: Trial = good,
        *,
        n_trials: int = 6,
        max_concurrent: int = 1,
        failure_quota: float = 0.5,
        plateau: int | None = None,
        identify: Callable[[Mapping[str, float]], str] = value_of,
        objective: Callable[[str], float] = float,
        keys: Mapping[str, Any] = {},
        objective_name: str | None = None,
        describe: Callable[[Mapping[str, float]], Mapping[str, Any]] = lambda _: {},
        **options: Any,
    ) -> list[FrozenTrial]:
        return run_search(
            self.run(**options),
            SearchBase.model_validate(
                {
                    "n_trials": n_trials,
                    "max_concurrent": max_concurrent,
                    "failure_quota": failure_quota,
                    **({"plateau": plateau} if plateau else {}),
                    **keys,
                }
            ),
            space={"x": Uniform(0, 1)},
            first=FIRST,
            trial=trial,
            inputs_ref=[ray.put(self.inputs)],
            identify=identify,
            evaluate=lambda params: Scores(values=(objective(identify(params)),)),
            objective_name=objective_name,
            describe=describe,
        ).trials

    def study(self) -> optuna.Study:
        file = self.store.uri_of(paths.sweep_journal("probe"))
        storage = JournalStorage(JournalFileBackend(file))
        return optuna.load_study(study_name="probe", storage=storage)

    def events(self, name: str) -> list[dict[str, Any]]:
        events = read_events(self.store, paths.sweep_events("probe"))
        return [event for event in events if event["event"] == name]


@pytest.fixture
def sweep(ray_cluster: Any, tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_keys_of_the_caller_are_not_in_rays_logs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    sweep.search(n_trials=2)
    node = ray._private.worker.global_worker.node
    assert node is not None
    session = Path(node.get_logs_dir_path())
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert [
        p.name for p in logs if "PL_DISABLE_FORK" in p.read_text(errors="replace", encoding="utf-8")
    ]
    assert [p.name for p in logs if secret in p.read_text(errors="replace", encoding="utf-8")] == []


def test_the_same_seed_gives_the_same_sweep(ray_cluster: Any, tmp_path: Path) -> None:
    runs = [Sweep(tmp_path / name) for name in "ab"]
    first, second = ([(t.params, t.value) for t in run.search()] for run in runs)
    assert first == second
    assert [params for params, _ in first[:2]] == FIRST
    assert len({params["x"] for params, _ in first}) == 6
    best = runs[0].study().best_trial
    assert (best.params, best.value) == max(first, key=lambda trial: trial[1] or 0)


def test_one_bad_trial_ends_nothing(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        def train() -> str:
            if params["x"] == 0.25:
                raise DivergedError("the loss of step 3 is nan")
            return value_of(params)

        return outcome_of(train)

    trials = sweep.search(trial)
    errors = [error_of(trial) for trial in trials]
    assert errors[0] is not None
    assert errors[0].startswith("DivergedError: the loss of step 3 is nan\n")
    assert errors[1:] == [None] * 5
    (failed,) = sweep.events("trial_failed")
    assert failed["trial"] == "t000"


def test_what_the_event_log_says_of_trials(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        for n_done in (1, 2):
            after_part(n_done)
        spent = [Seconds(waited=0.25, total=1.0)] * 3 if params["x"] == 0.25 else []
        return outcome_of(lambda: value_of(params), spent)

    sweep.search(
        trial,
        n_trials=2,
        objective_name="how large x is",
        describe=lambda _: {"n_parts": 3, "unit": "fold"},
    )
    (began,) = sweep.events("search_started")
    assert began["objective"] == "how large x is"
    assert [(e["trial"], e["n_parts"]) for e in sweep.events("trial_started")] == [
        ("t000", 3),
        ("t001", 3),
    ]
    progress = [(e["trial"], e["n_parts"]) for e in sweep.events("trial_progress")]
    assert progress == [("t000", 1), ("t000", 2), ("t001", 1), ("t001", 2)]
    trained, looked_up = sweep.events("trial_done")
    assert (trained["waited_s"], trained["trained_s"]) == (0.75, 3.0)
    assert "trained_s" not in looked_up
    events = read_events(sweep.store, paths.sweep_events("probe"))
    for event in events:
        Draft202012Validator(event_schema()).validate(event)


def test_too_many_bad_trials_end_the_sweep_and_can_be_tried_again(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        broken = not ray.get(inputs_ref[0])
        if broken:
            return {ERROR: f"OSError: shape {params['x']} is wrong\ntrace"}
        return {SIGNATURE: value_of(params)}

    with pytest.raises(SweepFailedError, match=r"3 trials .* more than .* allows \(2\)") as caught:
        sweep.search(trial, n_trials=20, failure_quota=0.1)
    assert "3 x OSError: shape 0.25 is wrong (t000, t001, t002)" in str(caught.value)
    assert "--retry-failed" in str(caught.value)
    sweep.inputs, sweep.halt = "repaired", Halt()
    trials = sweep.search(trial, n_trials=4, retry_failed=True)
    assert [name_of(trial) for trial in trials] == ["t000", "t001", "t002", "t003"]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert [trial.params for trial in trials[:2]] == FIRST


def test_all_trials_failing_is_a_failure(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        return {ERROR: "ValueError: no"}

    with pytest.raises(SweepFailedError, match="all 2 trials"):
        sweep.search(trial, n_trials=2, failure_quota=1.0)


def test_the_last_trial_may_be_one_too_many(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        return {ERROR: "ValueError: no"} if params == FIRST[1] else {SIGNATURE: value_of(params)}

    with pytest.raises(SweepFailedError, match=r"1 trials .* allows \(0.8\):\n1 x .* \(t001\)"):
        sweep.search(trial, n_trials=2, failure_quota=0.4)


def test_a_trial_that_asks_for_test_labels_ends_the_sweep(sweep: Sweep) -> None:
    uri = sweep.store.uri

    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        def train() -> str:
            store = Store.open(uri)
            gate = LabelGate(store, EventLog(store, "events.jsonl"))
            gate.read([("lab", "s01", "night")], Split.TARGET_TEST, "a look ahead")
            return value_of(params)

        return outcome_of(train)

    with pytest.raises(IntegrityError, match="a look ahead") as caught:
        sweep.search(trial)
    assert caught.value.exit_code == 4
    (refused,) = read_events(sweep.store, "events.jsonl")
    assert refused["event"] == "labels_refused"
    states = {trial.state for trial in sweep.study().get_trials()}
    assert TrialState.RUNNING not in states
    assert TrialState.COMPLETE not in states


def test_a_process_that_dies_is_replaced_and_one_that_always_dies_fails(sweep: Sweep) -> None:
    folder = str(sweep.folder)

    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        mark = Path(folder, value_of(params))
        if params["x"] == 0.5 or not mark.exists():
            with mark.open("a", encoding="utf-8") as file:
                file.write(".")
            os.kill(os.getpid(), signal.SIGKILL)
        return {SIGNATURE: value_of(params)}

    trials = sweep.search(trial, n_trials=2)
    assert trials[0].value == 0.25
    assert error_of(trials[1]) == DIED
    assert Path(folder, value_of({"x": 0.5})).read_text(encoding="utf-8") == "." * (MAX_RETRIES + 1)
    assert [event["trial"] for event in sweep.events("trial_lost")] == ["t000"] + ["t001"] * 3


@pytest.mark.parametrize("how", ["drain", "stop"])
def test_a_sweep_that_is_ended_goes_on(sweep: Sweep, how: str) -> None:
    def slow(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        time.sleep(0.5)
        return {SIGNATURE: value_of(params)}

    def objective(signature: str) -> float:
        if len(sweep.events("trial_done")) == 2:
            getattr(sweep.halt, how)()
        return float(signature)

    with pytest.raises(InterruptedSweepError, match=r"after \d of 8 trials"):
        sweep.search(slow, n_trials=8, max_concurrent=2, objective=objective)
    states = [trial.state for trial in sweep.study().get_trials()]
    assert TrialState.RUNNING not in states
    n_done = states.count(TrialState.COMPLETE)
    assert 3 <= n_done < 8
    done = [e["trial"] for e in sweep.events("trial_done")]
    sweep.halt = Halt()
    trials = sweep.search(slow, n_trials=8, max_concurrent=2)
    assert [name_of(trial) for trial in trials] == [f"t00{i}" for i in range(8)]
    assert len({trial.params["x"] for trial in trials}) == 8
    told = [e["trial"] for e in sweep.events("trial_done")]
    assert sorted(told) == [f"t00{i}" for i in range(8)], "a trial was told twice"
    assert told[:n_done] == done
    assert sweep.search(slow, n_trials=8) == trials  # nothing is left to do


def test_equal_trainings_are_done_once(sweep: Sweep) -> None:
    folder = str(sweep.folder)

    def half(params: Mapping[str, float]) -> str:
        return f"{round(2 * params['x']) / 2:.1f}"

    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        with Path(folder, "trained").open("a", encoding="utf-8") as file:
            file.write(f"{half(params)}\n")
        return {SIGNATURE: half(params)}

    trials = sweep.search(trial, n_trials=12, max_concurrent=2, identify=half)
    trained = Path(folder, "trained").read_text(encoding="utf-8").split()
    assert len(trained) == len(set(trained)) <= 3
    assert sum(reused_from(trial) is None for trial in trials) == len(trained)
    by_name = {name_of(trial): trial for trial in trials}
    for trial_ in trials:
        if (original := reused_from(trial_)) is not None:
            assert trial_.value == by_name[original].value
            assert half(trial_.params) == half(by_name[original].params)


def test_a_scheduler_ends_trials_between_their_parts(sweep: Sweep) -> None:
    def trial(inputs_ref: InputsRef, params: Mapping[str, float], after_part: AfterPart) -> Outcome:
        for n_done in range(1, 10):
            with (Path(ray.get(inputs_ref[0])) / value_of(params)).open(
                "a", encoding="utf-8"
            ) as file:
                file.write("part\n")
            after_part(n_done, params["x"])
        return {SIGNATURE: value_of(params)}

    folder = sweep.folder / "parts"
    folder.mkdir()
    sweep.inputs = str(folder)
    keys = {"scheduler": {"name": "asha", "options": {"reduction_factor": 3}}}
    trials = sweep.search(trial, n_trials=12, keys=keys)
    parts = {
        t.params["x"]: (folder / value_of(t.params)).read_text(encoding="utf-8").count("part")
        for t in trials
    }
    stopped = {t.params["x"]: stopped_after(t) for t in trials if stopped_after(t) is not None}
    assert len(stopped) >= 6, "more than half ends early, in rungs of 1, 3 and 9 parts"
    assert all(n == parts[x] and n in (1, 3) for x, n in stopped.items())
    assert all(n == 9 for x, n in parts.items() if x not in stopped)
    assert max(parts) not in stopped, "the best is not given up"
    assert len(sweep.events("trial_stopped")) == len(stopped)
    assert len(sweep.search(trial, n_trials=12, keys=keys)) == 12  # an ended sweep is looked up


def test_a_full_disk_holds_trials_back(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([10 * 2**30, 100, 100])
    monkeypatch.setattr(Store, "free_bytes", lambda self: next(free, 10 * 2**30))
    assert len(sweep.search(n_trials=3)) == 3
    assert len(sweep.events("held_for_space")) == len(sweep.events("space_again")) == 1
    assert tuning.MIN_FREE_BYTES > 100


def test_a_budget_ends_a_search_for_good(sweep: Sweep) -> None:
    trials = sweep.search(objective=lambda signature: 0.5, n_trials=20, plateau=3)
    assert len(trials) == 4
    (event,) = sweep.events("budget_reached")
    assert event["budget"] == "plateau 3"
    assert sweep.search(objective=lambda signature: 0.5, n_trials=20, plateau=3) == trials


def test_what_ends_with_the_sweep_is_told_as_no_failure(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = ray.wait

    def wait_and_stop(refs: list[Any], **_: Any) -> Any:
        found = wait(refs)
        sweep.halt.stop()  # by the signal that has ended the task, too
        return found

    monkeypatch.setattr(ray, "wait", wait_and_stop)
    with pytest.raises(InterruptedSweepError, match="after 0 of 1 arms"):
        run_fixed(sweep.run(), "arm", ["ended"], lambda _ref, _: {ERROR: "died"}, [ray.put(None)])
    assert sweep.events("arm_done") == []


def test_fixed_configurations(sweep: Sweep) -> None:
    folder = str(sweep.folder)

    def trial(inputs_ref: InputsRef, name: str) -> Outcome:
        mark = Path(folder, name)
        if name == "dies" or (name == "dies once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "fails":
            return {ERROR: "ValueError: no"}
        return {SIGNATURE: name}

    names = ["works", "fails", "dies once", "dies"]
    outcomes = run_fixed(sweep.run(), "arm", names, trial, [ray.put(None)])
    assert outcomes["works"] == {SIGNATURE: "works"}
    assert outcomes["fails"] == {ERROR: "ValueError: no"}
    assert outcomes["dies once"] == {SIGNATURE: "dies once"}
    assert outcomes["dies"][ERROR].startswith(DIED)
    sweep.halt.drain()
    with pytest.raises(InterruptedSweepError, match="after 0 of 4 arms"):
        run_fixed(sweep.run(), "arm", names, trial, [ray.put(None)])
