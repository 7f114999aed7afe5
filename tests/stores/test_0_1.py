"""What version 0.1 wrote can be used: its sweeps are listed, judged and reviewed, and killed ones go on."""

import pytest
import yaml

from orchestrator.config.sweep import dump
from orchestrator.reviews.report import write_review
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import check_changes, read_sweep, stored_sweep
from orchestrator.sweeps.watch.status import sweep_status
from orchestrator.sweeps.watch.sweep_list import sweeps_of
from orchestrator.telemetry.events import read_events
from tests.stores.conftest import SWEEPS
from tests.stores.pages import FINISHED, FOLDER, pages_of

KILLED = [name for name in SWEEPS if name.endswith("killed")]


NEW_KEYS = {"defaults": 0, "keep_models": "none", "adapt_to": "target", "refit": False}
"""Keys of later versions, with the values that mean what 0.1 did."""


def of_kind(store: Store, name: str, kind: str) -> list[str]:
    events = read_events(store, paths.sweep_events(name))
    return [event["trial"] for event in events if event["event"] == kind]


def files(store: Store, folder: str) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path in store.files(folder)}


@pytest.mark.heavy
@pytest.mark.parametrize("name", SWEEPS)
def test_its_file_is_the_one_it_was_begun_with(store_of_0_1: Store, name: str) -> None:
    sweep = read_sweep(FOLDER / f"{name}.yaml", store_of_0_1)
    assert sweep.defaults == 0
    assert check_changes(store_of_0_1, sweep) == []
    stored = yaml.safe_load(store_of_0_1.read_bytes(paths.sweep_file(name)))
    now = yaml.safe_load(dump(sweep))
    come = {key: now.pop(key) for key in now.keys() - stored.keys()}
    assert come == {key: value for key, value in NEW_KEYS.items() if key in come}
    assert "defaults" in come
    assert list(now.items()) == list(stored.items())  # no other key has come, gone or moved


@pytest.mark.heavy
@pytest.mark.parametrize("name", SWEEPS)
def test_its_status(store_of_0_1: Store, name: str) -> None:
    status = sweep_status(store_of_0_1, name)
    assert status.state == ("finished" if name in FINISHED else "stopped")
    sweep = stored_sweep(store_of_0_1, name)
    assert sweep is not None
    assert sweep.search is not None
    assert status.n_trials == sweep.search.n_trials
    assert status.n_complete == (sweep.search.n_trials if name in FINISHED else 1)


@pytest.mark.heavy
def test_all_are_listed(store_of_0_1: Store) -> None:
    listed = {sweep.name: sweep for sweep in sweeps_of(store_of_0_1)}
    assert sorted(listed) == SWEEPS
    for name, sweep in listed.items():
        status = sweep_status(store_of_0_1, name)
        assert (sweep.state, sweep.method) == (status.state, name.partition("-")[0])
        assert (sweep.n_done, sweep.n_trials) == (status.n_complete, status.n_trials)
        assert sweep.best_objective == status.best_objective
        assert sweep.last_sign_of_life == status.last_event_at


@pytest.mark.heavy
@pytest.mark.parametrize("name", FINISHED)
def test_its_review(store_of_0_1: Store, name: str) -> None:
    written = {
        file.name: file.read_bytes().decode()
        for file in (FOLDER / "pages" / "reviews" / name).iterdir()
    }
    assert pages_of(store_of_0_1, name) == written, (
        "the page of a stored sweep changed. Where that is meant: python tests/stores/pages.py, and CHANGELOG.md"
    )


@pytest.mark.ray
@pytest.mark.parametrize("name", FINISHED)
@pytest.mark.usefixtures("ray_cluster")
def test_a_finished_one_is_looked_up(store_of_0_1: Store, name: str) -> None:
    from orchestrator.sweeps.runner import run_sweep

    before = files(store_of_0_1, "")
    table = run_sweep(store_of_0_1, read_sweep(FOLDER / f"{name}.yaml", store_of_0_1))
    assert table.equals(store_of_0_1.read_table(paths.sweep_trials(name)))
    assert files(store_of_0_1, "") == before  # found under its ids: nothing is made again


@pytest.mark.ray
@pytest.mark.parametrize("name", KILLED)
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_one_goes_on(store_of_0_1: Store, name: str) -> None:
    from orchestrator.sweeps.runner import run_sweep

    trained = [
        path
        for folder in ("encoders", "features", "scores", "folds", paths.sweep_folder(name))
        for path in store_of_0_1.files(folder)
        if path.endswith((".safetensors", ".parquet"))
    ]
    before = {path: store_of_0_1.read_bytes(path) for path in trained}
    done = of_kind(store_of_0_1, name, "trial_done")

    sweep = read_sweep(FOLDER / f"{name}.yaml", store_of_0_1)
    table = run_sweep(store_of_0_1, sweep)

    assert sweep.search is not None
    assert table["state"].to_pylist() == ["complete"] * len(table)
    trials = [name for name in table["trial"].to_pylist() if name.startswith("t0")]
    assert len(trials) == sweep.search.n_trials
    assert {path: store_of_0_1.read_bytes(path) for path in trained} == before
    # What was done then is not done again, and what was under way is done now.
    assert sorted(of_kind(store_of_0_1, name, "trial_done")) == trials
    assert of_kind(store_of_0_1, name, "trial_done")[: len(done)] == done
    by_subject = store_of_0_1.read_table(paths.sweep_trials_by_subject(name))
    assert set(by_subject["trial"].to_pylist()) == set(table["trial"].to_pylist())
    write_review(store_of_0_1, name)
