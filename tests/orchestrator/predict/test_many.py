"""A data set of the store that does not fit the model, or its folder of outputs: refused before Ray starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.predict.many import stage_dataset
from orchestrator.predict.model import LoadedModel, load_model
from orchestrator.predict.run import Result
from orchestrator.store import paths
from orchestrator.store.store import Store
from tests.orchestrator import to_stage

Run = Callable[..., list[Result]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Data set ``home`` with a recording."""
    store = Store.open(str(tmp_path / "store"))
    file = to_stage.night(tmp_path / "data/p1-n1.edf", 1)
    to_stage.ingest(store, "home", "p1", file, to_stage.settings())
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


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"preprocessing": to_stage.preprocessing(channels={"eeg": [["C3"], ["C4"]]})},
            "holds 1 channels of eeg, and the model needs 2",
        ),
        (
            {
                "preprocessing": {
                    **to_stage.preprocessing(),
                    "filter_hz": {"eeg": [0.5, 30.0]},
                }
            },
            r"holds eeg filtered at \[0.3, 35.0\] Hz, and the model learned from \[0.5, 30.0\]",
        ),
        (
            {"modalities": ("emg",), "preprocessing": to_stage.preprocessing(("emg",))},
            "has no modality 'emg'",
        ),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(
    run: Run, store: Store, out: Store, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        run(model_of(store, **fields))
    assert contents(out) == {}


def test_two_recordings_of_one_name_are_both_named(
    run: Run, store: Store, out: Store, tmp_path: Path
) -> None:
    file = to_stage.night(tmp_path / "other/p1-n1.edf", 1)
    to_stage.ingest(store, "home", "q1", file, to_stage.settings())
    with pytest.raises(ConfigError) as caught:
        run()
    for subject in ("p1", "q1"):
        assert paths.epochs("home", subject, "p1-n1") in str(caught.value)
    assert contents(out) == {}


def test_an_unknown_data_set_is_refused(store: Store, out: Store) -> None:
    with pytest.raises(ConfigError, match="did you mean 'home'"):
        stage_dataset(store, model_of(store), "hom", out)


def test_a_job_keeps_nothing_in_its_own_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"this job's own working directory.* Give --out an s3://"
    ):
        run()
