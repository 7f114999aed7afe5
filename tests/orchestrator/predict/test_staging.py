"""From a recording and a model to stages: what is staged, what is not, and what is said of it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import RecordingError
from orchestrator.predict.inputs import Input, find_inputs, settings_for
from orchestrator.predict.model import LoadedModel, load_model
from orchestrator.predict.networks import one_thread
from orchestrator.predict.staged import StagedNight
from orchestrator.predict.staging import Staged, file_staging_id, stage_file, stage_table
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.feed import read_signals, signal_table, stored_recordings
from orchestrator.psg.synthetic import write_domain
from orchestrator.store import paths
from orchestrator.store.store import Store, sha256
from tests.orchestrator import to_stage
from tests.stores.pages import FOLDER
from trainables import inference
from trainables.stages import UNSCORED, Stage
from trainables.weights import classifier_from_bytes

ENCODER = "c5992ae116badc1c"

DATASET = """\
name: {name}
title: Nights
licence: none
recordings:
  - files: "*.edf"
    subject: '^[^-.]+'
    stages: {stages}
channels: {{eeg: [EEG Fpz-Cz]}}
"""


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    one_thread()
    return made()


def made(weights: Sequence[bytes] | None = None, **fields: Any) -> LoadedModel:
    weights = [to_stage.mrcnn_weights()] if weights is None else weights
    record = to_stage.record(weights, **fields)
    return LoadedModel(
        record=record, files={e.file: w for e, w in zip(record.files, weights, strict=True)}
    )


def staged(file: Path, model: LoadedModel, *channels: tuple[str, str]) -> Staged:
    (one,) = find_inputs([str(file)])
    return stage_file(one, model, settings_for(model.record, channels))


def described(file: Path, stages: str, model: LoadedModel, name: str = "home") -> StagedNight:
    """Stage a recording with a data-set file."""
    text = DATASET.format(name=name, stages=stages)
    (file.parent / "set.yaml").write_text(text, encoding="utf-8")
    dataset = load_dataset(file.parent / "set.yaml")
    (one,) = find_inputs([str(file)], dataset)
    return stage_file(one, model, settings_for(model.record, (), dataset)).night


def refused(file: Path, model: LoadedModel) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        staged(file, model)
    assert "\n" not in caught.value.message
    return caught.value


# What is staged


@pytest.mark.heavy
def test_stages_are_the_most_probable_ones_of_scaled_signals(
    model: LoadedModel, tmp_path: Path
) -> None:
    file = to_stage.night(tmp_path / "p9-n1.edf", 4)
    found = staged(file, model)
    night = found.night
    assert night.recording == "p9-n1"
    assert night.stages.tolist() == night.probability.argmax(axis=1).tolist()
    # The same signal by way of the store, where the tests of the feed vouch for its scale.
    store = Store.open(str(tmp_path / "store"))
    to_stage.ingest(store, "home", "p9", file, to_stage.settings())
    (recording,) = stored_recordings(store, "home")
    x = read_signals(store, recording, "eeg", range(4))
    network = classifier_from_bytes(model.files["seed-0.safetensors"])
    expected = inference.predict(network, x, declared=tuple(Stage))
    assert night.probability.tobytes() == expected.tobytes()
    assert night.source_sha256 == sha256(file.read_bytes())
    assert night.start == datetime(2024, 3, 5, 22, 47, 30)
    assert night.model["name"] == "probe:t001"
    assert (found.channel.label, found.channel.sfreq) == ("EEG Fpz-Cz", 100.0)
    assert found.channel.signal_uv.shape == (12000,)


def test_flat_epochs_are_not_staged_and_do_not_change_the_others(
    model: LoadedModel, tmp_path: Path
) -> None:
    signal = to_stage.signal(5)
    signal[6000:9000] = 3.0
    night = staged(to_stage.write_edf(tmp_path / "a.edf", {"EEG Fpz-Cz": signal}), model).night
    assert night.flat.tolist() == [False, False, True, False, False]
    assert night.stages[2] == UNSCORED
    assert np.isnan(night.probability[2]).all()
    assert np.isfinite(night.probability[night.is_staged]).all()
    assert night.is_staged.sum() == 4


def test_the_end_that_is_cut_is_said(model: LoadedModel, tmp_path: Path) -> None:
    night = staged(to_stage.night(tmp_path / "a.edf", 3.4), model).night
    assert night.n_epochs == 3
    assert night.remainder_s == pytest.approx(12)


def test_only_stages_that_the_model_learned_are_said(tmp_path: Path) -> None:
    night = staged(to_stage.night(tmp_path / "a.edf", 3), made(stages=("W", "N2"))).night
    assert set(night.stages) <= {Stage.W, Stage.N2}
    assert "cannot say N1, N3, REM" in night.cautions[0]


@pytest.mark.heavy
def test_the_clip_of_the_model_counts(tmp_path: Path) -> None:
    signal = to_stage.signal(3)
    signal[1000:1010] = 480
    file = to_stage.write_edf(tmp_path / "a.edf", {"EEG Fpz-Cz": signal})
    one, other = (staged(file, made(clip_spreads=c)).night for c in (20.0, 2.0))
    assert (one.probability[0] != other.probability[0]).any()


# Stored recordings


@pytest.mark.heavy
def test_a_stored_recording_and_its_file_are_staged_alike(tmp_path: Path) -> None:
    """The file is made anew, as `make_0_1.py` made it; its hash and its probabilities are the stored ones."""
    one_thread()
    store = Store.open(str(FOLDER / "store"))
    model = load_model(store, ENCODER)
    write_domain(str(tmp_path), n_subjects=1, shift=1, seed=1, hours=0.3)
    found = staged(tmp_path / "shift1-seed1-01.edf", model).night
    recording = next(
        r for r in stored_recordings(store, "made-up") if r.subject.startswith("shift1")
    )
    rows = store.read_table(paths.manifest("made-up")).to_pylist()
    assert found.source_sha256 == next(
        r["source_sha256"] for r in rows if r["recording"] == "shift1-seed1-01"
    )
    stored = stage_table(
        signal_table(store, recording, ["eeg"]),
        model,
        recording=recording.recording,
        subject=recording.subject,
        dataset="made-up",
        source_sha256=recording.epochs_sha256,
        staging_id="any",
    ).night
    assert stored.probability.tobytes() == found.probability.tobytes()
    assert stored.stages.tolist() == found.stages.tolist()
    network = classifier_from_bytes(store.read_bytes(paths.encoder_weights(ENCODER)))
    x = read_signals(store, recording, "eeg", range(stored.n_epochs))
    trial = inference.predict(network, x, declared=model.stages)
    assert stored.probability.tobytes() == trial.tobytes()
    assert (stored.remainder_s, stored.start, stored.reference) == (None, None, None)
    assert (found.remainder_s, found.reference is not None) == (0.0, True)


def test_stages_in_a_table_are_not_read(model: LoadedModel, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    file = to_stage.night(tmp_path / "a.edf", 2, stages="W2")
    to_stage.ingest(store, "home", "p9", file, to_stage.settings())
    (recording,) = stored_recordings(store, "home")
    table = store.read_table(recording.path)
    night = stage_table(
        table, model, recording="a", subject=None, source_sha256="0", staging_id="0"
    ).night
    assert night.reference is None


# A scorer's stages


def test_stages_in_the_recording_are_compared(model: LoadedModel, tmp_path: Path) -> None:
    night = staged(to_stage.night(tmp_path / "a.edf", 4, stages="W2?R"), model).night
    assert night.reference is not None
    assert night.reference.tolist() == [0, 2, -1, 4]
    assert night.agreement is not None
    assert night.notes == ()


def test_without_a_scorer_there_is_nothing_to_compare(model: LoadedModel, tmp_path: Path) -> None:
    for name, stages in (("a.edf", ""), ("b.edf", "???")):
        night = staged(to_stage.night(tmp_path / name, 3, stages=stages), model).night
        assert night.reference is None
        assert night.notes == ()


def test_stages_that_begin_late_are_the_grid_and_that_is_said(
    model: LoadedModel, tmp_path: Path
) -> None:
    file = to_stage.night(tmp_path / "a.edf", 5, stages="W2", onset_s=42)
    found = staged(file, model)
    assert found.night.onset_s == 42
    assert found.night.n_epochs == 3
    assert found.night.reference is not None
    assert found.night.reference.tolist() == [0, 2, -1]
    assert found.night.remainder_s == pytest.approx(18)
    assert "42 s after the start of the signal" in found.night.notes[0]
    assert (found.channel.signal_uv[:4200] == 0).all()  # from the start of the signal
    assert found.channel.signal_uv.shape == (4200 + 9000,)


def test_stages_after_the_end_of_the_signal_do_not_matter(
    model: LoadedModel, tmp_path: Path
) -> None:
    night = staged(to_stage.night(tmp_path / "a.edf", 2, stages="W2R1"), model).night
    assert night.reference is not None
    assert night.reference.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("stages", "content", "says"),
    [
        ("{from: csv, file: '{stem}.csv'}", None, "0 stage files match 'p9.csv'"),
        ("{from: csv, file: '{stem}.csv'}", b"no table", "No stages to compare with: "),
        ("{from: csv, file: '{stem}.csv'}", b"\xff\xfe", "is not UTF-8"),
        ("{from: codes, file: '{stem}.csv', codes: {'0': W}}", b"0\n9\n", "line 2"),
        ("{from: annotations, file: '{stem}.csv'}", b"no header", "is not an EDF"),
        ("{from: annotations}", None, "no annotation is a sleep stage"),
    ],
)
def test_stages_that_cannot_be_read_only_leave_nothing_to_compare(
    model: LoadedModel, tmp_path: Path, stages: str, content: bytes | None, says: str
) -> None:
    file = to_stage.night(tmp_path / "p9.edf", 2)
    if content is not None:
        (tmp_path / "p9.csv").write_bytes(content)
    night = described(file, stages, model)
    assert (night.subject, night.reference, night.n_epochs) == ("p9", None, 2)
    assert night.is_staged.all()
    assert says in night.notes[0]


def test_stages_in_a_table_next_to_the_recording(model: LoadedModel, tmp_path: Path) -> None:
    file = to_stage.night(tmp_path / "p9.edf", 3)
    table = "onset,duration,stage\n30,60,Sleep stage 2\n"
    (tmp_path / "p9.csv").write_text(table, encoding="utf-8")
    night = described(file, "{from: csv, file: '{stem}.csv'}", model)
    assert night.reference is not None
    assert (night.onset_s, night.reference.tolist()) == (30, [2, 2])


# What the model knows already


@pytest.mark.parametrize(
    ("name", "dataset", "says"),
    [
        ("p1-n7.edf", "home", "was trained on subject p1:"),
        ("p1-n7.edf", "clinic", "a subject called p1, of data set home"),
        ("p2-n1.edf", "home", None),
    ],
)
def test_a_subject_of_the_training_is_named(
    model: LoadedModel, tmp_path: Path, name: str, dataset: str, says: str | None
) -> None:
    notes = described(to_stage.night(tmp_path / name, 1), "none", model, dataset).notes
    assert (says is None) == (notes == ())
    assert says is None or says in notes[0]


def test_a_recording_of_the_training_is_named_where_no_subject_is(
    model: LoadedModel, tmp_path: Path
) -> None:
    (note,) = staged(to_stage.night(tmp_path / "p1-n1.edf", 1), model).night.notes
    assert "trained on a recording called p1-n1" in note


@pytest.mark.heavy
def test_which_weights_were_used_is_said(tmp_path: Path) -> None:
    weights = [to_stage.mrcnn_weights(seed) for seed in (0, 1)]
    model = made(weights, subjects=["p8", "p9"], about={"adapted_to": {"subjects": ["p8", "p9"]}})
    of_p9 = described(to_stage.night(tmp_path / "p9-n1.edf", 2), "none", model)
    assert "adapted to the signals, not the stages, of subject p9." in of_p9.notes[0]
    assert of_p9.notes[1].endswith("used here: those adapted to p9.")
    alone = described(tmp_path / "p9-n1.edf", "none", made(weights[1:]))
    assert of_p9.probability.tobytes() == alone.probability.tobytes()
    nobody = staged(tmp_path / "p9-n1.edf", model).night
    assert "all of them, as nothing says who this is" in nobody.notes[0]
    elsewhere = made(
        weights, subjects=["p8", "p9"], about={"adapted_to": {"dataset": "far", "subjects": ["p9"]}}
    )
    other = described(tmp_path / "p9-n1.edf", "none", elsewhere)
    assert [note for note in other.notes if "adapted to" in note] == [
        "The model has weights for each subject; used here: all of them, as none was adapted to this one."
    ]


# What cannot be staged


def test_a_channel_that_is_missing(model: LoadedModel, tmp_path: Path) -> None:
    signals = {"EOG": to_stage.signal(1), "EEG Fpz-Cx": to_stage.signal(1)}
    error = refused(to_stage.write_edf(tmp_path / "a.edf", signals), model)
    assert error.reason == "missing_channel"
    assert "wants eeg: EEG Fpz-Cz or Fpz-Cz; the recording has 'EOG', 'EEG Fpz-Cx'." in str(error)
    assert "The nearest name is 'EEG Fpz-Cx'." in str(error)
    assert '--channel eeg="EEG Fpz-Cx".' in str(error)
    assert "dataset file" not in str(error)
    night = staged(tmp_path / "a.edf", model, ("eeg", "EEG Fpz-Cx")).night
    assert night.is_staged.all()


def test_of_several_channels_the_missing_one_is_named(tmp_path: Path) -> None:
    """Its labels hold apostrophes, which would end a name."""
    modalities = ("eeg", "eog")
    model = made(
        [to_stage.sleepmg_weights({"eeg": 1, "eog": 1})],
        network="sleepmg",
        modalities=modalities,
        preprocessing=to_stage.preprocessing(modalities),
    )
    signals = {"EEG Fpz-Cz": to_stage.signal(1), "EOG hor'l": to_stage.signal(1)}
    said = str(refused(to_stage.write_edf(tmp_path / "a.edf", signals), model))
    assert 'The nearest name is "EOG hor\'l".' in said
    assert said.endswith('--channel eog="EOG hor\'l".')


def test_a_file_of_annotations_alone(model: LoadedModel, tmp_path: Path) -> None:
    said = str(refused(to_stage.write_edf(tmp_path / "a.edf", {}, "W2"), model))
    assert "holds annotations alone" in said


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda p: to_stage.night(p, 0.5), "too_short"),
        (
            lambda p: to_stage.write_edf(p, {"Fpz-Cz": to_stage.signal(2, sfreq=40)}, sfreq=40),
            "sampling_rate",
        ),
        (lambda p: to_stage.write_edf(p, {"Fpz-Cz": np.zeros(9000)}), "flat_channel"),
        (lambda p: p.write_bytes(b"Dear colleague"), "not_edf"),
        (lambda p: p.write_bytes(to_stage.night(p, 2).read_bytes()[:9000]), "truncated"),
    ],
)
def test_what_cannot_be_staged_says_why(
    model: LoadedModel, tmp_path: Path, write: Callable[[Path], object], reason: str
) -> None:
    write(tmp_path / "a.edf")
    assert refused(tmp_path / "a.edf", model).reason == reason


def test_a_file_that_went_away(model: LoadedModel, tmp_path: Path) -> None:
    file = to_stage.night(tmp_path / "a.edf", 1)
    (one,) = find_inputs([str(file)])
    file.unlink()
    with pytest.raises(RecordingError, match=f"{file} cannot be read: No such file") as caught:
        stage_file(one, model, settings_for(model.record))
    assert caught.value.reason == "unreadable"


def test_a_name_in_another_alphabet_and_one_that_is_no_text(
    model: LoadedModel, tmp_path: Path
) -> None:
    file = to_stage.night(tmp_path / "Schläferin 1 + 夜.edf", 1)
    assert staged(file, model).night.recording == "Schläferin 1 + 夜"
    other = Path(f"{tmp_path}/night\udce4.edf")  # a byte of Latin-1
    shutil.copyfile(file, other)
    assert refused(other, model).reason == "file_name"


# Amplitudes


@pytest.mark.parametrize(
    ("gain", "factor"), [(1000.0, r"by a factor of about \d+:"), (1.0, None), (1e-3, "factor")]
)
def test_an_implausible_amplitude_is_warned_of(
    model: LoadedModel, tmp_path: Path, gain: float, factor: str | None
) -> None:
    signal = to_stage.signal(3) * gain
    file = to_stage.write_edf(tmp_path / "a.edf", {"Fpz-Cz": signal}, limit=500 * gain)
    night = staged(file, model).night
    assert night.is_staged.all()
    if factor is None:
        assert night.notes == ()
        return
    (note,) = night.notes
    assert "The amplitude of Fpz-Cz (eeg) is implausible" in note
    assert "stages do not suffer" in note
    in_microvolts = staged(file, made(scale="microvolts")).night
    assert in_microvolts.notes[0].endswith("its stages cannot be relied on.")


def test_the_gain_does_not_change_the_stages(model: LoadedModel, tmp_path: Path) -> None:
    signal = to_stage.signal(3)
    one = to_stage.write_edf(tmp_path / "a.edf", {"Fpz-Cz": signal})
    other = to_stage.write_edf(tmp_path / "b.edf", {"Fpz-Cz": signal * 1000}, limit=5e5)
    np.testing.assert_allclose(
        staged(one, model).night.probability, staged(other, model).night.probability, atol=1e-4
    )


# Several modalities


def multimodal(optional: Sequence[str] = ("emg",)) -> LoadedModel:
    modalities = ("eeg", "eog", "emg")
    return made(
        [to_stage.sleepmg_weights(dict.fromkeys(modalities, 1))],
        network="sleepmg",
        modalities=modalities,
        preprocessing=to_stage.preprocessing(modalities, optional=optional),
    )


ALL = {
    "EMG submental": to_stage.signal(2, 1),
    "EEG Fpz-Cz": to_stage.signal(2, 2),
    "EOG horizontal": to_stage.signal(2, 3),
}


@pytest.mark.heavy
def test_a_modality_that_may_be_missing(tmp_path: Path) -> None:
    model = multimodal()
    whole = staged(to_stage.write_edf(tmp_path / "a.edf", ALL), model).night
    assert whole.notes == ()
    two = {label: signal for label, signal in ALL.items() if "EMG" not in label}
    night = staged(to_stage.write_edf(tmp_path / "b.edf", two), model).night
    assert night.is_staged.all()
    assert night.notes == ("The recording has no emg: staged without.",)
    assert (night.probability != whole.probability).any()


@pytest.mark.heavy
def test_a_modality_that_may_not_be_missing(tmp_path: Path) -> None:
    one = {"EEG Fpz-Cz": ALL["EEG Fpz-Cz"]}
    file = to_stage.write_edf(tmp_path / "a.edf", one)
    assert "has no channel 'EOG horizontal'" in str(refused(file, multimodal()))
    # Through the store, which may hold recordings without it.
    store = Store.open(str(tmp_path / "store"))
    how = to_stage.settings(("eeg", "eog", "emg"), optional=("eog", "emg"))
    to_stage.ingest(store, "home", "p9", file, how)
    (recording,) = stored_recordings(store, "home")
    table = signal_table(store, recording, ["eeg", "eog", "emg"])
    with pytest.raises(RecordingError, match="has no eog, which the model probe:t001 needs"):
        stage_table(
            table, multimodal(), recording="a", subject=None, source_sha256="", staging_id=""
        )


def test_a_recording_with_nothing_that_the_model_needs(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    file = to_stage.write_edf(tmp_path / "a.edf", {"EEG Fpz-Cz": ALL["EEG Fpz-Cz"]})
    to_stage.ingest(store, "home", "p9", file, to_stage.settings())
    table = signal_table(store, stored_recordings(store, "home")[0], ["eog", "emg"])
    model = made(
        [to_stage.sleepmg_weights({"eog": 1, "emg": 1})],
        network="sleepmg",
        modalities=("eog", "emg"),
        preprocessing=to_stage.preprocessing(("eog", "emg"), optional=("eog", "emg")),
    )
    with pytest.raises(RecordingError, match="has no eog, emg, which the model"):
        stage_table(table, model, recording="a", subject=None, source_sha256="", staging_id="")


# Ids


def test_the_id_is_of_all_that_the_files_depend_on(model: LoadedModel, tmp_path: Path) -> None:
    file = to_stage.night(tmp_path / "p9.edf", 1)
    (one,) = find_inputs([str(file)])
    settings = settings_for(model.record)

    def id_of(given: Input = one, by: LoadedModel = model, how: Any = settings) -> str:
        return file_staging_id(given, by, how)

    assert id_of() == id_of()
    assert staged(file, model).night.staging_id == id_of()
    (tmp_path / "p9.csv").write_text("stages", encoding="utf-8")
    with_stages = replace(one, source=replace(one.source, stage_path="p9.csv"))
    other_file = replace(
        one, source=replace(one.source, path=to_stage.night(tmp_path / "q.edf", 2).name)
    )
    others = [
        id_of(by=made(stages=("W", "N2"))),
        id_of(how=settings_for(model.record, [("eeg", "other")])),
        id_of(replace(one, subject="p9")),
        id_of(replace(one, subject="p9", dataset="home")),
        id_of(other_file),
        id_of(with_stages),
    ]
    (tmp_path / "p9.csv").write_text("other stages", encoding="utf-8")
    others.append(id_of(with_stages))
    assert len({id_of(), *others}) == 1 + len(others)
