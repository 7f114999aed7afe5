"""A data set of the store, staged with Ray: what is done is skipped, what does not fit is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, IntegrityError
from orchestrator.predict.files import output_names
from orchestrator.predict.many import stage_dataset
from orchestrator.predict.model import LoadedModel, load_model
from orchestrator.predict.run import STAGED_BEFORE, Result, unfinished_name
from orchestrator.psg.feed import stored_recordings
from orchestrator.store.store import Store
from tests.orchestrator import to_stage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

Run = Callable[..., list[Result]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Data set ``home`` with three recordings; a model learned from one of its subjects."""
    store = Store.open(str(tmp_path / "store"))
    for i in (1, 2, 3):
        file = to_stage.night(tmp_path / f"data/p{i}-n1.edf", 3, seed=i, stages="W2R")
        to_stage.ingest(store, "home", f"p{i}", file, to_stage.settings())
    return store


def model_of(store: Store, **fields: Any) -> LoadedModel:
    to_stage.write_model(store, "kept", **fields)
    return load_model(store, store.uri_of("kept"))


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "out"))


@pytest.fixture
def run(store: Store, out: Store) -> Run:
    def stage(model: LoadedModel | None = None, **more: Any) -> list[Result]:
        return stage_dataset(store, model or model_of(store), "home", out, **more)

    return stage


def contents(out: Store) -> dict[str, bytes]:
    return {path: out.read_bytes(path) for path in out.files("")}


def test_a_data_set_is_staged_once(run: Run, out: Store) -> None:
    results = run()
    assert [r.recording for r in results] == ["p1-n1", "p2-n1", "p3-n1"]
    assert all(r.is_staged for r in results)
    assert "trained on subject p1:" in results[0].notes[0]
    assert results[1].notes == ()
    before = contents(out)
    assert set(before) == {name for r in results for name in output_names(r.recording)}
    assert [r.text for r in run()] == [STAGED_BEFORE] * 3
    assert contents(out) == before
    assert all(r.text != STAGED_BEFORE for r in run(overwrite=True))
    assert contents(out) == before


def test_a_run_that_was_killed_goes_on(run: Run, out: Store) -> None:
    run()
    before = contents(out)
    for name in output_names("p1-n1"):
        out.delete(name)
    # Of the second one, killed while it was written.
    summary = out.read_bytes("p2-n1_summary.json")
    out.write_bytes(unfinished_name("p2-n1"), summary)
    out.delete("p2-n1_summary.json")
    assert [r.text == STAGED_BEFORE for r in run()] == [False, False, True]
    assert contents(out) == before


def test_files_of_another_model_stay(run: Run, out: Store, store: Store) -> None:
    run()
    before = contents(out)
    with pytest.raises(ConfigError, match="14 more are there already"):
        run(model_of(store, stages=("W", "N2")))
    assert contents(out) == before


def test_a_changed_epoch_file_is_named(run: Run, out: Store, store: Store) -> None:
    recording = stored_recordings(store, "home")[1]
    store.write_bytes(recording.path, store.read_bytes(recording.path) + b"0")
    with pytest.raises(IntegrityError, match=f"{recording.path} is not the file"):
        run()


def test_a_recording_that_lacks_a_modality_is_told(store: Store, run: Run, tmp_path: Path) -> None:
    """The first one, too: the data set has it."""
    how = to_stage.settings(("eeg", "eog"), optional=("eog",))
    for i, labels in enumerate((["EEG Fpz-Cz"], ["EEG Fpz-Cz", "EOG horizontal"])):
        signals = {label: to_stage.signal(2) for label in labels}
        file = to_stage.write_edf(tmp_path / f"more/q{i}.edf", signals)
        to_stage.ingest(store, "clinic", f"q{i}", file, how)
    model = model_of(
        store,
        weights=[to_stage.sleepmg_weights({"eeg": 1, "eog": 1})],
        network="sleepmg",
        modalities=("eeg", "eog"),
        preprocessing=to_stage.preprocessing(("eeg", "eog")),
    )
    first, second = stage_dataset(store, model, "clinic", Store.open(str(tmp_path / "clinic")))
    assert (first.is_staged, second.is_staged) == (False, True)
    assert "has no eog" in first.text
