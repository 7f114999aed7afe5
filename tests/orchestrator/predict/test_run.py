"""Several recordings one after the other: what is written, what is skipped, what is never overwritten."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from orchestrator.errors import ConfigError, DataError
from orchestrator.predict.files import output_names
from orchestrator.predict.inputs import find_inputs, settings_for
from orchestrator.predict.model import LoadedModel
from orchestrator.predict.run import (
    STAGED_BEFORE,
    Result,
    check_results,
    night_text,
    stage_files,
    unfinished_name,
)
from orchestrator.predict.staged import StagedNight
from orchestrator.psg.dataset import load_dataset
from orchestrator.store.store import Store
from tests.orchestrator import to_stage

MakeNight = Callable[..., StagedNight]

WEIGHTS = to_stage.mrcnn_weights()


def made(**fields: object) -> LoadedModel:
    record = to_stage.record([WEIGHTS], **fields)
    return LoadedModel(record=record, files={record.files[0].file: WEIGHTS})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, and one that is none."""
    for name in ("a", "c"):
        to_stage.night(tmp_path / f"data/{name}.edf", 2, seed=ord(name))
    (tmp_path / "data/b.edf").write_bytes(b"Dear colleague")
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "staged"))


def run(
    folder: Path, out: Store, model: LoadedModel | None = None, *, overwrite: bool = False
) -> list[Result]:
    model = model or made()
    inputs = find_inputs([str(folder)])
    return stage_files(inputs, model, settings_for(model.record), out, overwrite=overwrite)


def files(out: Store) -> dict[str, tuple[bytes, int]]:
    """Name -> content and time of the last change."""
    root = Path(out.root)
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(root.iterdir())}


# Runs


@pytest.mark.heavy
def test_a_broken_recording_is_told_and_the_others_are_staged(
    folder: Path, out: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run(folder, out)
    assert [(r.recording, r.is_staged) for r in results] == [("a", True), ("b", False), ("c", True)]
    assert "is not an EDF file" in results[1].text
    assert results[0].text.startswith("2 of 2 epochs staged, asleep ")
    assert set(files(out)) == {*output_names("a"), *output_names("c")}
    assert "predict 2/3 b: b.edf is not an EDF file" in capsys.readouterr().err


@pytest.mark.heavy
def test_the_same_command_does_no_work_twice(folder: Path, out: Store) -> None:
    run(folder, out)
    before = files(out)
    (folder / "b.edf").write_bytes(to_stage.night(folder / "b.edf", 2).read_bytes())
    results = run(folder, out)
    assert [r.text == STAGED_BEFORE for r in results] == [True, False, True]
    after = files(out)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == set(output_names("b"))


@pytest.mark.heavy
def test_another_model_or_recording_overwrites_nothing_unless_asked_to(
    folder: Path, out: Store
) -> None:
    run(folder, out)
    before = files(out)
    other = made(stages=("W", "N2"))
    with pytest.raises(
        ConfigError, match=r"a_hypnogram\.edf and 9 more are there already"
    ) as caught:
        run(folder, out, other)
    assert "--overwrite" in str(caught.value)
    assert files(out) == before
    to_stage.night(folder / "c.edf", 2, seed=1)
    with pytest.raises(ConfigError, match=r"c_hypnogram\.edf and 4 more"):
        run(folder, out)
    assert files(out) == before
    assert all(r.text != STAGED_BEFORE for r in run(folder, out, other, overwrite=True))
    assert json.loads(files(out)["c_summary.json"][0])["stages_the_model_cannot_say"] == [
        "N1",
        "N3",
        "REM",
    ]


@pytest.mark.heavy
def test_what_was_corrected_by_hand_stays(folder: Path, out: Store) -> None:
    run(folder, out)
    out.write_bytes("a_events.tsv", b"corrected")
    run(folder, out)
    assert out.read_bytes("a_events.tsv") == b"corrected"
    out.delete("a.png")  # so that it is not whole
    with pytest.raises(ConfigError, match="not whole"):
        run(folder, out)
    assert out.read_bytes("a_events.tsv") == b"corrected"
    run(folder, out, overwrite=True)
    assert out.read_bytes("a_events.tsv") != b"corrected"


class _Interrupted(Store):
    """A folder in which Ctrl-C is pressed after some files."""

    def write_bytes(self, path: str, data: bytes) -> None:
        if path == "c.csv":
            raise KeyboardInterrupt
        Store.write_bytes(self, path, data)


@pytest.mark.heavy
def test_a_run_that_was_stopped_goes_on(folder: Path, out: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, _Interrupted(out.uri, pafs.LocalFileSystem(), out.root))
    before = files(out)
    assert set(before) == {*output_names("a"), *output_names("c")[:2], unfinished_name("c")}
    # Not by another model: what there is of c is then somebody else's.
    os.unlink(f"{out.root}/a_summary.json")
    with pytest.raises(ConfigError, match="a_hypnogram"):
        run(folder, out)
    out.write_bytes("a_summary.json", before["a_summary.json"][0])
    with pytest.raises(ConfigError, match="a_hypnogram"):
        run(folder, out, made(stages=("W", "N2")))
    results = run(folder, out)
    assert [r.text == STAGED_BEFORE for r in results] == [True, False, False]
    # A run that writes over them is stopped: what is whole by name may be of two models.
    out.write_bytes(unfinished_name("a"), b'{"staging_id": "of another"}')
    with pytest.raises(ConfigError, match="a_hypnogram"):
        run(folder, out)
    out.delete(unfinished_name("a"))
    assert set(files(out)) == {*output_names("a"), *output_names("c")}


@pytest.mark.heavy
def test_files_are_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "other"):
        out = Store.open(str(tmp_path / name))
        run(folder, out)
        contents.append({k: v for k, (v, _) in files(out).items()})
    assert contents[0] == contents[1]


def test_no_input_is_written_over(tmp_path: Path) -> None:
    """Stages in ``a.csv`` have the name of a table that is written."""
    to_stage.night(tmp_path / "a.edf", 1)
    (tmp_path / "a.csv").write_text("onset,duration,stage\n0,30,Sleep stage W\n", encoding="utf-8")
    text = (
        "name: home\ntitle: t\nlicence: none\nchannels: {eeg: [Fpz-Cz]}\nrecordings:\n"
        "  - {files: '*.edf', subject: '^a', stages: {from: csv, file: '{stem}.csv'}}\n"
    )
    (tmp_path / "home.yaml").write_text(text, encoding="utf-8")
    dataset = load_dataset(tmp_path / "home.yaml")
    model = made()
    inputs = find_inputs([str(tmp_path)], dataset)
    settings = settings_for(model.record, (), dataset)
    before = files(Store.open(str(tmp_path)))
    with pytest.raises(ConfigError, match=r"a\.csv is read here"):
        stage_files(inputs, model, settings, Store.open(str(tmp_path)), overwrite=True)
    assert files(Store.open(str(tmp_path))) == before


@pytest.mark.heavy
def test_outputs_in_a_bucket(folder: Path, remote: Store) -> None:
    model = made()
    (one,) = find_inputs([str(folder / "a.edf")])
    for expected in (False, True):
        (result,) = stage_files([one], model, settings_for(model.record), remote, overwrite=False)
        assert (result.text == STAGED_BEFORE) == expected
    assert set(remote.files("", recursive=False)) == set(output_names("a"))


# Words and exit codes


def test_a_night_in_a_line(night: StagedNight, make_night: MakeNight) -> None:
    text = night_text(night)
    assert text.startswith("228 of 240 epochs staged, asleep ")
    assert "against the scorer: accuracy 0." in text
    assert text.endswith("8 s at the end are no whole epoch")
    short = make_night([0, 1, 2, 2])
    assert night_text(short) == "4 of 4 epochs staged, asleep 0.0 h"
    assert night_text(replace(short, remainder_s=None)) == night_text(short)
    assert night_text(make_night(np.full(240, 2))).endswith("asleep 2.0 h")


def results(*staged: bool) -> list[Result]:
    return [
        Result(recording=f"r{i}", text=f"reason {i}.", is_staged=is_staged)
        for i, is_staged in enumerate(staged)
    ]


def test_what_fails() -> None:
    for fine in ([True], [True, False]):
        check_results(results(*fine), strict=False)
    check_results(results(True, True), strict=True)
    with pytest.raises(
        DataError, match=r"^none of 2 recordings could be staged\. First one: r0: r"
    ):
        check_results(results(False, False), strict=False)
    with pytest.raises(
        DataError, match=r"^1 of 2 recordings could not be .* --strict .*: r1:"
    ) as e:
        check_results(results(True, False), strict=True)
    assert e.value.exit_code == 3
