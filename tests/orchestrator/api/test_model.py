"""A model in Python: it stages files and what MNE has opened, and its hypnograms go on to other programs."""

import csv
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import mne
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import orchestrator as so
from orchestrator.cli.main import main
from orchestrator.errors import ConfigError, RecordingError
from orchestrator.predict.files import output_names
from orchestrator.store.store import Store
from tests.orchestrator import to_stage

STAGES = ["W", "N1", "N2", "N3", "REM"]


@pytest.fixture
def model(tmp_path: Path) -> so.Model:
    to_stage.write_model(Store.open(str(tmp_path / "kept")), "")
    return so.load_model(tmp_path / "kept")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An hour and a half epoch, of which one epoch is flat, with a scorer's stages from 60 s on."""
    signal = to_stage.signal(120.5)
    signal[10 * 3000 : 11 * 3000] = 0
    return to_stage.write_edf(
        tmp_path / "p9-n1.edf", {"EEG Fpz-Cz": signal}, "W12233?R" * 14, onset_s=60
    )


@pytest.mark.heavy
def test_it_stages_a_file_as_predict_does(
    model: so.Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    night = model.stage(file)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "kept", str(file), "--out", "by-command"])
    assert ended.value.code == 0
    for uri in night.save("by-call"):
        name = Path(uri).name
        assert Path(uri).read_bytes() == Path("by-command", name).read_bytes(), name
    assert {Path(uri).name for uri in night.save("again")} == set(output_names("p9-n1"))
    written = Path("again/p9-n1.csv").stat().st_mtime_ns
    night.save("again")
    assert Path("again/p9-n1.csv").stat().st_mtime_ns == written
    Path("again/p9-n1.csv").write_text("corrected by hand", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"again/p9-n1\.csv: there already, with another"):
        night.save("again")


@pytest.mark.heavy
def test_what_it_says_of_each_epoch(model: so.Model, file: Path, tmp_path: Path) -> None:
    night = model.stage(str(file), subject="p9")
    assert (night.recording, night.subject) == ("p9-n1", "p9")
    assert night.stages.shape == (118,)  # from 60 s on
    assert night.onsets_s[[0, 1]].tolist() == [60, 90]
    assert night.stages[8] == "UNS"
    assert np.isnan(night.probabilities[8]).all()
    staged = night.stages != "UNS"
    assert night.stages[staged].tolist() == [
        STAGES[i] for i in night.probabilities[staged].argmax(axis=1)
    ]
    assert night.scorer is not None
    assert night.scorer[:8].tolist() == ["W", "N1", "N2", "N2", "N3", "N3", "UNS", "REM"]
    assert night.agreement is not None
    assert night.statistics.tib_min == 59
    frame = night.to_frame()
    assert frame["stage"].tolist() == night.stages.tolist()
    np.testing.assert_array_equal(
        frame[[f"p_{name}" for name in STAGES]].to_numpy(np.float32), night.probabilities
    )
    night.to_csv(tmp_path / "new/out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new/out.csv").read_text(encoding="utf-8"))))
    assert [row["stage"] for row in rows] == night.stages.tolist()


@pytest.mark.heavy
def test_a_recording_of_mne_is_staged_as_its_file_is(model: so.Model, file: Path) -> None:
    raw = mne.io.read_raw_edf(file, verbose="error")
    by_file, by_raw = model.stage(file), model.stage(raw)
    assert by_raw.recording == "p9-n1"
    assert by_raw.stages.tolist() == by_file.stages.tolist()
    np.testing.assert_allclose(by_raw.probabilities, by_file.probabilities, atol=1e-4)
    np.testing.assert_array_equal(by_raw.scorer, by_file.scorer)
    assert by_raw.start == by_file.start
    # Without a file, and under another name of the channel.
    signal = raw.get_data()
    info = mne.create_info(["C3"], raw.info["sfreq"], "eeg")
    alone = model.stage(
        mne.io.RawArray(signal[:, 6000:], info, verbose="error"), channels={"eeg": "C3"}
    )
    assert alone.recording == "recording"
    assert alone.scorer is None
    assert alone.stages.tolist() == by_file.stages.tolist()


@pytest.mark.heavy
def test_a_name_with_dots_is_the_same_opened_by_mne(model: so.Model, tmp_path: Path) -> None:
    file = to_stage.night(tmp_path / "2024.01.05.edf")
    raw = mne.io.read_raw_edf(file, verbose="error")
    assert model.stage(raw).recording == model.stage(file).recording == "2024.01.05"


def test_a_path_is_a_folder_and_no_sweep(
    model: so.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store.open("runs").write_bytes("sweeps/kept/sweep.yaml", b"")
    assert so.load_model(Path("kept")).record == model.record
    with pytest.raises(ConfigError, match="sweep 'kept' has not finished"):
        so.load_model("kept")


@pytest.mark.heavy
def test_threads_that_stage_at_once_leave_the_number_of_threads(
    model: so.Model, file: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(3) as pool:
            first, *others = pool.map(model.stage, [file] * 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for other in others:
        np.testing.assert_array_equal(other.probabilities, first.probabilities)


@pytest.mark.heavy
@pytest.mark.parametrize("crop_s", [0, 300])
def test_annotations_lie_where_the_stages_are(model: so.Model, file: Path, crop_s: float) -> None:
    raw = mne.io.read_raw_edf(file, verbose="error").crop(crop_s)
    raw.set_annotations(None)
    night = model.stage(raw)
    raw.set_annotations(night.to_annotations())
    ids = {f"Sleep stage {text}": i for i, text in enumerate("W123R?")}
    events, _ = mne.events_from_annotations(
        raw,
        ids | {"Sleep stage N1": 1, "Sleep stage N2": 2, "Sleep stage N3": 3},
        chunk_duration=30.0,
        verbose="error",
    )
    names = np.array([*STAGES, "UNS"])
    onsets_s = (events[:, 0] - raw.first_samp) / raw.info["sfreq"]
    assert onsets_s.tolist() == night.onsets_s.tolist()
    assert names[events[:, 2]].tolist() == night.stages.tolist()


@pytest.mark.heavy
def test_it_is_drawn_and_shown_without_changing_the_settings_of_the_user(
    model: so.Model, file: Path, tmp_path: Path
) -> None:
    before, threads = dict(mpl.rcParams), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        night = model.stage(file)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    figure = night.plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes) >= 4  # scorer, model, probabilities, spectrogram
    assert figure._repr_png_() == Path(night.save(tmp_path / "drawn")[3]).read_bytes()
    assert dict(mpl.rcParams) == before
    shown = night._repr_html_()
    assert shown.count("data:image/png;base64,") == 1
    assert "117 of 118 epochs staged" in shown
    assert "117 of 118 epochs staged" in repr(night)


@pytest.mark.heavy
def test_names_cannot_break_out_of_the_page(model: so.Model, tmp_path: Path) -> None:
    night = model.stage(to_stage.night(tmp_path / "<b>&.edf"))
    assert "<b>" not in night._repr_html_()
    assert "&lt;b&gt;&amp;" in night._repr_html_()


@pytest.mark.heavy
def test_it_goes_on_to_yasa(model: so.Model, file: Path) -> None:
    yasa = pytest.importorskip("yasa")
    night = model.stage(file)
    hypnogram = night.to_yasa()
    assert isinstance(hypnogram, yasa.Hypnogram)
    assert hypnogram.hypno.tolist() == ["WAKE" if s == "W" else s for s in night.stages]
    assert hypnogram.start == pd.Timestamp("2024-03-05 22:48:30")
    found = hypnogram.sleep_statistics()
    assert found["TST"] == night.statistics.tst_min


class NoRecording:
    pass


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda model, file: model.stage(NoRecording()), ConfigError, "not a NoRecording"),
        (lambda model, file: model.stage(file.parent), ConfigError, "are 2 recordings"),
        (lambda model, file: model.stage("nowhere.edf"), ConfigError, "is no file"),
        (lambda model, file: model.stage(file, channels={"ecg": "ECG"}), ConfigError, "no ecg"),
        (
            lambda model, file: model.stage(file, channels={"eeg": ["C3", "C4"]}),
            ConfigError,
            "names 2 channels",
        ),
        (
            lambda model, file: model.stage(file, channels={"eeg": "EEG FpzCz"}),
            RecordingError,
            "The nearest name is 'EEG Fpz-Cz'",
        ),
        (
            lambda model, file: model.stage(
                mne.io.RawArray(
                    np.zeros((1, 9000)), mne.create_info(["C3"], 100, "eeg"), verbose="error"
                )
            ),
            RecordingError,
            "the recording has 'C3'",
        ),
        (lambda model, file: so.load_model("nothing", store=file.parent), ConfigError, "no model"),
    ],
)
def test_what_cannot_be_is_refused(
    model: so.Model,
    file: Path,
    call: Callable[[so.Model, Path], object],
    error: type[Exception],
    text: str,
) -> None:
    to_stage.night(file.parent / "another.edf")
    with pytest.raises(error, match=text):
        call(model, file)
    assert issubclass(error, so.OrchestratorError)


def test_what_a_model_tells_of_itself(model: so.Model, tmp_path: Path) -> None:
    assert (model.name, list(model.stages)) == ("probe:t001", STAGES)
    assert model.channels == {"eeg": [["EEG Fpz-Cz", "Fpz-Cz"]]}
    again = so.load_model(model.export(tmp_path / "given"))
    assert again.record == model.record


def test_a_store_is_found_as_the_commands_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_STORE", raising=False)
    with pytest.raises(ConfigError, match=f"no model in {tmp_path / 'runs'}"):
        so.load_model("tau")
    monkeypatch.setenv("ORCHESTRATOR_STORE", str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=f"no sweep 'tau' in {tmp_path / 'other'}"):
        so.results("tau")
    with pytest.raises(ConfigError, match=f"no sweep 'tau' in {tmp_path / 'third'}"):
        so.results("tau", store=tmp_path / "third")


@pytest.mark.heavy
def test_the_lines_of_the_page_run(
    model: so.Model, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs/predict.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    file.rename("night.edf")
    exec(block.replace('"tau"', '"./kept"'), {})
    assert Path("night.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in Path("staged").iterdir()} == set(output_names("night"))
