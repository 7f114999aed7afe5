"""Paths that other programs rely on, and that no two artefacts share one."""

import ast
import inspect
from pathlib import Path

import pytest

from orchestrator.store import paths


def test_the_paths_of_the_data_contract() -> None:
    assert paths.epochs("ucddb", "s", "r") == "epochs/ucddb/s/r.parquet"
    assert paths.encoder_weights("e") == "encoders/e/weights.safetensors"
    assert paths.encoder_json("e") == "encoders/e/encoder.json"
    assert paths.features("e", "afr_gap", "d", "s", "r").startswith("features/e/afr_gap/d/")
    assert paths.score_tile("x", "tile-0") == "scores/x/tile-0.parquet"
    assert paths.score_run("x") == "scores/x/run.json"
    assert paths.sweep_trials("tau") == "sweeps/tau/trials.parquet"
    assert paths.sweep_trials_by_subject("tau") == "sweeps/tau/trials_by_subject.parquet"
    assert paths.sweep_folds("mg") == "sweeps/mg/folds.parquet"
    assert paths.sweep_recordings("mg") == "sweeps/mg/recordings.parquet"
    assert paths.sweep_confusion("mg") == "sweeps/mg/confusion.parquet"
    assert paths.sweep_modalities("mg") == "sweeps/mg/modalities.parquet"
    assert paths.sweep_events("tau") == "sweeps/tau/events.jsonl"
    assert paths.replay_events("tau") == "replays/tau/events.jsonl"
    assert paths.review("tau", "review.html") == "reviews/tau/review.html"


def test_no_two_functions_give_the_same_path() -> None:
    given = {
        function(*["x"] * len(inspect.signature(function).parameters))
        for _, function in inspect.getmembers(paths, inspect.isfunction)
    }
    assert len(given) == len(inspect.getmembers(paths, inspect.isfunction))
    assert not any(path.startswith("/") or ".." in path for path in given)


@pytest.mark.heavy
def test_no_other_module_builds_a_path(root: Path) -> None:
    """A string that begins like a path of the store belongs here."""
    tops = {"epochs/", "encoders/", "features/", "scores/", "sweeps/", "replays/", "reviews/"}
    found = []
    for file in sorted((root / "orchestrator").rglob("*.py")):
        if file == Path(paths.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr) and node.values:
                first = node.values[0]
                if isinstance(first, ast.Constant) and str(first.value).startswith(tuple(tops)):
                    found.append(f"{file.relative_to(root)}:{node.lineno}")
    assert found == []
