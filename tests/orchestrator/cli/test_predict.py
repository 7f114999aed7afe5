"""Command predict: what it prints, where it writes, and with which code it ends."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.predict.files import output_names
from orchestrator.store import paths
from orchestrator.store.store import Store
from tests.orchestrator import to_stage


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and two recordings, one of which is broken."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_STORE", raising=False)
    to_stage.write_model(Store.open("kept"), "")
    to_stage.night(tmp_path / "data/p1-n1.edf", 2.5, stages="W2")
    (tmp_path / "data/broken.edf").write_bytes(b"Dear colleague")
    return tmp_path


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["predict", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The error, which is one paragraph, without its line breaks."""
    error = capsys.readouterr().err
    (paragraph,) = [part for part in error.split("\n\n") if "Error: " in part]
    return " ".join(paragraph[paragraph.index("Error: ") :].split())


@pytest.mark.heavy
def test_recordings_are_staged_into_a_folder_of_their_own(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("kept", "data") == 0
    shown = capsys.readouterr()
    line, uri = shown.out.splitlines()
    assert line.startswith("p1-n1   2 of 2 epochs staged, ")
    assert "against the scorer: accuracy" in line
    assert line.endswith("15 s at the end are no whole epoch")
    assert uri == str(here / "staged")
    assert sorted(p.name for p in (here / "staged").iterdir()) == sorted(output_names("p1-n1"))
    assert sorted(p.name for p in (here / "data").iterdir()) == ["broken.edf", "p1-n1.edf"]
    assert "note on p1-n1: The model was trained on a recording called p1-n1" in shown.err
    assert "not staged broken: broken.edf is not an EDF file" in shown.err
    summary = json.loads((here / "staged/p1-n1_summary.json").read_text(encoding="utf-8"))
    assert summary["remainder_s"] == 15
    assert "trained on a recording called p1-n1" in summary["notes"][0]
    assert summary["start"] == "2024-03-05T22:47:30"
    # Again, and with --strict.
    assert ended("kept", "data", "--strict") == 3
    assert "1 of 2 recordings could not be staged and --strict was given" in told(capsys)


def test_none_that_could_be_staged(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("kept", "data/broken.edf", "--out", "new") == 3
    shown = capsys.readouterr()
    assert "Error: none of 1 recordings could be staged" in shown.err
    assert shown.out == ""
    assert not (here / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["kept"], 2, "name the recordings that kept is to stage"),
        (["kept", "data", "--dataset", "home"], 2, "One of both is needed"),
        (["nothing", "data"], 2, "is no model in"),
        (["kept", "nowhere"], 2, "nowhere is no file, no folder, and a glob"),
        (["kept", "data", "--channel", "Fpz"], 2, "write MODALITY=NAME"),
        (["kept", "data", "--channel", "meg=A"], 2, "modalities are eeg"),
        (["kept", "data", "--channel", "emg=A"], 2, "needs eeg, and no emg"),
        (["kept", "data", "--channel", "eeg=A", "--channel", "eeg=B"], 2, "names 2 channels"),
        (["kept", "data", "--dataset-file", "none.yaml"], 2, "none.yaml"),
        (["kept", "data", "--out", "kept/model.json"], 7, "cannot use"),
        (["kept", "data", "--out", "/proc/staged"], 7, "cannot use /proc/staged"),
        (["kept", "--dataset", "home", "--channel", "eeg=A"], 2, "are for recordings in files"),
        (["kept", "--dataset", "home"], 2, "data set 'home' is not in the store"),
    ],
)
def test_a_mistake_is_one_paragraph(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    before = sorted(here.rglob("*"))
    assert ended(*arguments) == code
    assert says in told(capsys)
    assert sorted(here.rglob("*")) == before


def test_two_recordings_of_one_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to_stage.night(here / "more/p1-n1.edf", 1)
    assert ended("kept", "data", "more") == 2
    said = told(capsys)
    assert str(here / "data/p1-n1.edf") in said
    assert str(here / "more/p1-n1.edf") in said
    assert not (here / "staged").exists()


def test_a_damaged_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = here / "kept/seed-0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert ended("kept", "data") == 4
    assert f"{weights} does not have the SHA-256" in told(capsys)
    assert not (here / "staged").exists()


def test_a_missing_channel_names_the_nearest(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stage.write_edf(here / "x/q.edf", {"EEG FpzCz": to_stage.signal(1)})
    assert ended("kept", "x") == 3
    assert 'as in --channel eeg="EEG FpzCz"' in told(capsys)
    assert not (here / "staged").exists()


def test_a_trial_of_a_sweep_that_still_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open("runs").write_bytes(paths.sweep_file("tau"), b"name: tau")
    assert ended("tau:t001", "data") == 2
    assert "sweep 'tau' has not finished" in told(capsys)


@pytest.mark.heavy
def test_a_data_set_file_and_a_name_in_another_alphabet(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stage.write_edf(here / "Nächte/p1 ♥.edf", {"C4": to_stage.signal(1)})
    text = (
        "name: home\ntitle: t\nlicence: none\nchannels: {eeg: [C4]}\nrecordings:\n"
        "  - {files: '**/*.edf', subject: '^p1', stages: none}\n"
    )
    (here / "home.yaml").write_text(text, encoding="utf-8")
    assert ended("kept", "Nächte", "--dataset-file", "home.yaml", "--out", "Ausgabe") == 0
    assert "trained on subject p1" in capsys.readouterr().err
    assert (here / "Ausgabe/p1 ♥_hypnogram.edf").exists()
