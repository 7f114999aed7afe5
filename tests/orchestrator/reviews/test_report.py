import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config.methods import METHODS
from orchestrator.errors import ConfigError, DataError
from orchestrator.reviews import report, write_review
from orchestrator.store import paths
from orchestrator.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "runs"))


def finish(store: Store, name: str, method: str = "selective") -> None:
    """What a finished sweep has, with nothing in it."""
    store.write_bytes(paths.sweep_trials(name), b"")
    store.write_bytes(paths.sweep_manifest(name), json.dumps({"method": method}).encode())


def test_the_method_of_the_manifest_decides_who_makes_the_files(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def room(method: str, name: str) -> Any:
        assert name == "review"
        return SimpleNamespace(
            review_files=lambda _, name: {"review.html": f"{method} {name}".encode()}
        )

    monkeypatch.setattr(report, "room", room)
    for method in METHODS:
        finish(store, f"of-{method}", method)
        uri = write_review(store, f"of-{method}")
        assert uri == store.uri_of(f"reviews/of-{method}/review.html")
        assert Path(uri).read_text(encoding="utf-8") == f"{method} of-{method}"


def test_the_page_is_written_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    files = {"review.html": b"", "a.csv": b"", "z.png": b""}
    room = SimpleNamespace(review_files=lambda *_: files)
    monkeypatch.setattr(report, "room", lambda *_: room)
    finish(store, "tau")
    monkeypatch.setattr(Store, "write_bytes", lambda _, path, data: written.append(path))
    write_review(store, "tau")
    assert written == ["reviews/tau/a.csv", "reviews/tau/z.png", "reviews/tau/review.html"]


def test_unknown_method_is_named(store: Store) -> None:
    finish(store, "tau", "guessing")
    with pytest.raises(
        DataError, match=r"method 'guessing'; allowed: selective, sleepmg, pretrain"
    ):
        write_review(store, "tau")


def test_unknown_sweep_names_those_there_are(store: Store) -> None:
    finish(store, "tau-ucddb")
    finish(store, "demo")
    with pytest.raises(ConfigError) as caught:
        write_review(store, "tau-ucdb")
    assert "no sweep 'tau-ucdb'" in str(caught.value)
    assert "Did you mean 'tau-ucddb'? There are: demo, tau-ucddb." in str(caught.value)
    assert store.files("reviews") == []


def test_unknown_sweep_in_an_empty_store(store: Store) -> None:
    with pytest.raises(ConfigError, match="nor any other"):
        write_review(store, "tau")


def test_unfinished_sweep_says_how_to_go_on(store: Store) -> None:
    finish(store, "tau")
    store.delete(paths.sweep_trials("tau"))
    with pytest.raises(ConfigError, match="has not finished"):
        write_review(store, "tau")


@pytest.mark.heavy
def test_importing_the_review_brings_in_no_heavy_library() -> None:
    code = (
        "import sys, orchestrator.reviews;"
        "sys.exit(bool({'ray', 'torch', 'mne', 'matplotlib.pyplot'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
