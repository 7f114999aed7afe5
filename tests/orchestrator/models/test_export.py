"""A folder to hand on: whole, only what the record describes, and nothing overwritten."""

import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import commands
from orchestrator.errors import ConfigError, IntegrityError, SetupError
from orchestrator.models.export import exported_files, write_export
from orchestrator.models.record import ModelRecord, record_of
from orchestrator.store.store import Store, sha256

if TYPE_CHECKING:
    from tests.orchestrator.models.conftest import MakeRecord

FILES = {"seed-1.safetensors": b"weights"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def record(make_record: "MakeRecord") -> ModelRecord:
    return make_record()


def renamed(record: ModelRecord, name: str) -> ModelRecord:
    return dataclasses.replace(record, files=(dataclasses.replace(record.files[0], file=name),))


def test_weights_card_and_record(record: ModelRecord) -> None:
    found = exported_files(record, {**FILES, "other.safetensors": b"not of this model"})
    assert list(found) == ["seed-1.safetensors", "README.md", "model.json"]
    assert found["seed-1.safetensors"] == b"weights"
    stored = record_of(found["model.json"], "model.json")
    assert stored.as_json() == record.as_json()
    assert stored.files[0].sha256 == sha256(b"weights")
    assert stored.files[0].sha256 in found["README.md"].decode()
    assert exported_files(record, FILES) == found


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"seed-1.safetensors": b"changed"}, "is not the file that model.json names"),
        ({}, "is missing, but model.json names"),
    ],
)
def test_other_weights_than_those_of_the_record(
    record: ModelRecord, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(IntegrityError, match=f"tau:t003: seed-1.safetensors {said}"):
        exported_files(record, files)


@pytest.mark.parametrize(
    "name",
    ["../w.safetensors", "/tmp/w.safetensors", "a\\w.safetensors", ".w.safetensors", "model.json"],
)
def test_a_record_from_elsewhere_does_not_write_elsewhere(record: ModelRecord, name: str) -> None:
    with pytest.raises(IntegrityError, match=r"names weights .* allowed: names of files"):
        exported_files(renamed(record, name), {name: b"weights"})


def test_onnx_without_the_extra_says_how_to_get_it(
    record: ModelRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(SetupError, match=r"onnxruntime.*pip install 'sleep-orchestrator\[onnx\]'"):
        exported_files(record, FILES, onnx=True)


def test_written_with_the_record_last_and_only_once(record: ModelRecord, tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "model"  # made where it is missing
    files = exported_files(record, FILES)
    first = write_export(str(folder), files)
    assert content(folder) == files
    assert first.written[-1] == "model.json"
    assert (first.uri, len(first.written), first.n_there) == (str(folder), 3, 0)
    (folder / "README.md").unlink()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    again = write_export(str(folder), files)
    assert (again.written, again.n_there) == (("README.md",), 2)
    assert content(folder) == {**files, "notes.txt": b"mine"}


def test_the_record_is_last_whatever_the_order(record: ModelRecord, tmp_path: Path) -> None:
    files = exported_files(record, FILES)
    turned = {name: files[name] for name in reversed(list(files))}
    written = write_export(str(tmp_path), turned).written
    assert next(iter(turned)) == written[-1] == "model.json"
    at = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert max(at, key=lambda name: (at[name], name == "model.json")) == "model.json"


@pytest.mark.parametrize("there", ["README.md", "model.json", "seed-1.safetensors"])
def test_another_model_in_the_folder_is_left_alone(
    record: ModelRecord, tmp_path: Path, there: str
) -> None:
    (tmp_path / there).write_bytes(b"of another model")
    with pytest.raises(ConfigError, match=f"another model perhaps: {there}. Nothing was written"):
        write_export(str(tmp_path), exported_files(record, FILES))
    assert content(tmp_path) == {there: b"of another model"}


def test_a_folder_in_the_place_of_a_file(record: ModelRecord, tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    with pytest.raises(ConfigError, match=r"perhaps: README\.md\. Nothing was written"):
        write_export(str(tmp_path), exported_files(record, FILES))
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("where", ["file", "/proc/model"])
def test_where_nothing_can_be_written(record: ModelRecord, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError, match="cannot use") as caught:
        write_export(str(tmp_path / where), exported_files(record, FILES))
    assert caught.value.exit_code == 7


def test_command_writes_what_a_name_means(
    record: ModelRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the place of the module that finds a model by its name, which has tests of its own.
    asked = []

    def load_model(store: Store, name: str) -> SimpleNamespace:
        asked.append((store.uri, name))
        return SimpleNamespace(record=record, files=FILES)

    double = ModuleType("orchestrator.predict.model")
    double.load_model = load_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, double.__name__, double)
    out = tmp_path / "out"
    arguments = ["export", "tau", str(out), "--store", str(tmp_path / "runs")]
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert done.output == f"tau:t003: wrote 3 files to {out}\n"
    assert asked == [(str(tmp_path / "runs"), "tau")]
    assert content(out) == exported_files(record, FILES)
    assert not (tmp_path / "runs").exists()
    again = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert again.output == f"tau:t003: wrote 0 files to {out}, 3 were there\n"
