"""EDF and what MNE reads besides: units, names, rates; and every way a file can be broken."""

import io
import os
import pickle
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.errors import MissingChannelError, RecordingError
from orchestrator.psg.convert import Settings, epoch_table
from orchestrator.psg.edf import Annotation, RawChannel, open_recording, read_annotations
from orchestrator.psg.recordings import Source

MakeEdf = Callable[..., bytes]
Noise = Callable[..., NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """All that is read of a file."""

    labels: tuple[str, ...]
    channels: tuple[RawChannel, ...]
    annotations: tuple[Annotation, ...]
    duration_s: float


def read_recording(content: bytes | Path, name: str, montage: list[list[str]]) -> Recording:
    with open_recording(content, name) as recording:
        return Recording(
            labels=recording.labels,
            channels=tuple(recording.channel(index) for index in recording.find(montage)),
            annotations=recording.annotations,
            duration_s=recording.duration_s,
        )


def refused(data: bytes, name: str = "n.edf", montage: list[list[str]] | None = None) -> str:
    """Reason and message of a recording that cannot be read."""
    with pytest.raises(RecordingError) as caught:
        read_recording(data, name, montage or [["EEG"]])
    assert name in caught.value.message
    return f"{caught.value.reason}: {caught.value.message}"


@pytest.fixture(scope="module")
def night(make_edf: MakeEdf, noise: Noise) -> bytes:
    """Four scored epochs."""
    return make_edf({"EEG": (noise(4), 128)}, "W12R")


def test_signal_and_annotations(night: bytes, noise: Noise) -> None:
    recording = read_recording(night, "n.edf", [["EEG"]])
    assert recording.duration_s == 120
    assert [(a.onset_s, a.duration_s, a.text) for a in recording.annotations] == [
        (30 * i, 30, f"Sleep stage {stage}") for i, stage in enumerate("W12R")
    ]
    (channel,) = recording.channels
    assert channel.sfreq == 128
    assert channel.step_uv == pytest.approx(1000 / 65535)
    assert (channel.lower_uv, channel.upper_uv, channel.unit) == (-500, 500, "uV")
    # Half a converter step is all that writing the file may have cost.
    np.testing.assert_allclose(
        channel.signal_uv, noise(4), rtol=0, atol=channel.step_uv / 2 * 1.001
    )


@pytest.mark.parametrize(
    ("unit", "per_uv"), [("uV", 1.0), ("mV", 1e-3), ("V", 1e-6), ("nV", 1e3), ("µV", 1.0)]
)
def test_units_give_the_same_microvolts(
    make_edf: MakeEdf, noise: Noise, unit: str, per_uv: float
) -> None:
    signal = noise(1)
    if unit == "µV":  # what devices write, though EDF wants ASCII
        data = make_edf({"EEG": (signal, 128)}, "W").replace(b"uV      ", b"\xb5V      ")
    else:
        data = make_edf({"EEG": (signal * per_uv, 128)}, "W", unit=unit, limit=500 * per_uv)
    (channel,) = read_recording(data, "n.edf", [["EEG"]]).channels
    assert channel.unit == unit
    assert channel.step_uv == pytest.approx(1000 / 65535)
    assert (channel.lower_uv, channel.upper_uv) == pytest.approx((-500, 500))
    np.testing.assert_allclose(channel.signal_uv, signal, rtol=0, atol=0.008)


def test_an_unknown_unit_is_taken_as_it_is(make_edf: MakeEdf, noise: Noise) -> None:
    data = make_edf({"EEG": (noise(1), 128)}, "W", unit="adu")
    (channel,) = read_recording(data, "n.edf", [["EEG"]]).channels
    assert channel.unit == "adu"
    np.testing.assert_allclose(channel.signal_uv, noise(1), rtol=0, atol=0.008)


def test_each_channel_keeps_its_own_rate(make_edf: MakeEdf, noise: Noise) -> None:
    data = make_edf(
        {
            "EEG": (noise(2, 0, 128), 128),
            "EMG": (noise(2, 1, 256), 256),
            "EOG": (noise(2, 2, 50), 50),
        },
        "W1",
    )
    recording = read_recording(data, "n.edf", [["EOG"], ["EMG"]])
    assert recording.labels == ("EEG", "EMG", "EOG")
    assert [(c.label, c.sfreq, len(c.signal_uv)) for c in recording.channels] == [
        ("EOG", 50, 3000),
        ("EMG", 256, 15360),
    ]


def test_names_ignore_case_and_the_first_wanted_name_wins(make_edf: MakeEdf, noise: Noise) -> None:
    data = make_edf({"c3-a2": (noise(1, 0), 128), "Eeg C4-A1": (noise(1, 1), 128)}, "W")

    def label(*names: str) -> str:
        return read_recording(data, "n.edf", [list(names)]).channels[0].label

    assert label("EEG C4-A1") == "Eeg C4-A1"
    assert label("C3-A2", "EEG C4-A1") == "c3-a2"
    assert label("EEG C4-A1", "C3-A2") == "Eeg C4-A1"
    # A name that is right to the letter goes before one that differs in case.
    assert label("C3-A2", "Eeg C4-A1") == "Eeg C4-A1"


def test_a_missing_channel_names_those_there_are(make_edf: MakeEdf, noise: Noise) -> None:
    data = make_edf({"EOG left": (noise(1), 128), "ECG": (noise(1), 128)}, "W")
    text = refused(data, montage=[["EOG left"], ["EEG", "C3A2"]])
    assert text.startswith("missing_channel: ")
    for name in ("'EEG' or 'C3A2'", "'EOG left'", "'ECG'", "`channels`"):
        assert name in text


def test_whether_a_file_has_any_of_some_channels(
    make_edf: MakeEdf, noise: Noise, fif: Callable[..., bytes]
) -> None:
    edf = make_edf({"EMG chin": (noise(1), 128), "EEG": (noise(1), 128)}, "W")
    with open_recording(edf, "n.edf") as recording:
        assert recording.has_any([["EMG 1"], ["EMG 2", "emg CHIN"]])
        assert not recording.has_any([["EMG 1"], ["EMG 2"]])
    with open_recording(fif(), "n.fif") as recording:
        assert recording.has_any([["ECG"], ["eog"]])
        assert not recording.has_any([["ECG"]])
    for data, name, reason in (
        (edf[:-1], "n.edf", "truncated"),
        (b"words", "n.edf", "not_edf"),
        (b"words", "n.fif", "unreadable"),
    ):
        with pytest.raises(RecordingError) as caught, open_recording(data, name):
            pass
        assert caught.value.reason == reason


def test_a_file_is_read_like_its_content(
    night: bytes, tmp_path: Path, fif: Callable[..., bytes]
) -> None:
    for data, name, montage in (
        (night, "n.edf", [["EEG"]]),
        (fif(), "n.fif", [["EOG"], ["EEG C3"]]),
    ):
        (tmp_path / "any name").write_bytes(data)
        one, two = (
            read_recording(content, name, montage) for content in (data, tmp_path / "any name")
        )
        assert (one.labels, one.annotations, one.duration_s) == (
            two.labels,
            two.annotations,
            two.duration_s,
        )
        for here, there in zip(one.channels, two.channels, strict=True):
            np.testing.assert_array_equal(here.signal_uv, there.signal_uv)


@pytest.mark.parametrize("record_s", [1, 30])
def test_channels_are_those_of_the_whole_file(record_s: int) -> None:
    """As edfio reads them at once: of several rates, beside annotations, in more than one block."""
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal.from_digital(
            rng.integers(-32768, 32768, 1200 * sfreq, np.int16),
            sfreq,
            label=label,
            physical_range=physical_range,
        )
        for label, sfreq, physical_range in (
            ("EEG", 512, (-3276.8, 3276.7)),
            ("SpO2", 1, (0, 100.3)),
            ("EMG", 2048, (250, -250)),
        )
    ]
    marks = [edfio.EdfAnnotation(30.5 * i, None, f"{i}") for i in range(39)]
    edf = edfio.Edf(signals, annotations=marks, data_record_duration=record_s)
    edf.append_signals(edfio.EdfSignal(rng.normal(size=120_000), 100, label="after them"))
    data = edf.to_bytes()
    assert len(data) > 4_194_304  # one block
    whole = edfio.read_edf(data)
    with open_recording(data, "n.edf") as recording:
        assert recording.labels == whole.labels == ("EEG", "SpO2", "EMG", "after them")
        assert recording.duration_s == whole.duration
        assert [astuple(a) for a in recording.annotations] == [tuple(a) for a in whole.annotations]
        for index in (3, 0, 2, 1, 0):
            channel, signal = recording.channel(index), whole.signals[index]
            assert (channel.label, channel.sfreq) == (signal.label, signal.sampling_frequency)
            np.testing.assert_array_equal(channel.signal_uv, signal.data)


def test_a_channel_without_values_is_read_as_such(make_edf: MakeEdf, noise: Noise) -> None:
    """Devices write them for sockets that nothing is plugged into."""
    data = make_edf({"EEG": (noise(1), 128), "off": (noise(1), 128)})
    header = bytearray(data[:768])
    header[256 + 2 * 216 + 8 : 256 + 2 * 224] = b"0       "
    with open_recording(bytes(header) + data[768 : 768 + 7680], "n.edf") as recording:
        off, eeg = recording.channel(1), recording.channel(0)
    assert (off.label, off.sfreq, off.signal_uv.shape) == ("off", 0, (0,))
    assert (eeg.sfreq, eeg.signal_uv.shape) == (128, (3840,))


def test_a_file_that_shrinks_while_it_is_open(night: bytes, tmp_path: Path) -> None:
    (tmp_path / "n.edf").write_bytes(night)
    with open_recording(tmp_path / "n.edf", "n.edf") as recording:
        os.truncate(tmp_path / "n.edf", len(night) // 2)
        with pytest.raises(RecordingError) as caught:
            recording.channel(0)
    assert caught.value.reason == "not_edf"


def test_what_mne_reads_from_is_there_as_long_as_the_recording_is_open(
    fif: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = fif()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_recording(data, "n.fif") as recording:
        assert len(list(tmp_path.iterdir())) == 1
        assert recording.channel(1).label == "EOG"
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="on the way"), open_recording(data, "n.fif"):
        raise RuntimeError("on the way")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"0       ", b"not an EDF at all " * 50, b"\x00" * 4096])
def test_not_an_edf(data: bytes) -> None:
    assert refused(data).startswith("not_edf: ")
    with pytest.raises(RecordingError) as caught:
        read_annotations(data, "h.edf")
    assert caught.value.reason == "not_edf"


def test_data_records_that_last_no_time_are_refused(night: bytes) -> None:
    assert night[244:252] == b"30      "
    text = refused(night[:244] + b"0       " + night[252:])
    assert text.startswith("not_edf: ")
    assert "last 0 s" in text


@pytest.mark.parametrize("missing", [1, 5000, 20_000])
def test_a_truncated_file_says_how_much_there_should_be(night: bytes, missing: int) -> None:
    text = refused(night[:-missing])
    assert text.startswith("truncated: ")
    assert str(len(night)) in text
    assert str(len(night) - missing) in text


def test_bytes_after_the_last_record_do_no_harm(night: bytes) -> None:
    assert read_recording(night + b"\x00" * 999, "n.edf", [["EEG"]]).duration_s == 120


def test_a_gap_between_data_records_is_refused(night: bytes) -> None:
    # The third record starts five minutes late.
    data = night.replace(b"EDF+C", b"EDF+D").replace(b"+60\x14\x14\x00", b"+360\x14\x14")
    assert len(data) == len(night)
    assert refused(data).startswith("discontinuous: ")
    # Marked as discontinuous and yet without a gap: nothing is wrong with it.
    whole = read_recording(night.replace(b"EDF+C", b"EDF+D"), "n.edf", [["EEG"]])
    assert whole.duration_s == 120


def test_a_suffix_decides_and_rec_is_edf(night: bytes) -> None:
    for name in ("n.rec", "N.EDF", "folder/n.edf"):
        assert read_recording(night, name, [["EEG"]]).duration_s == 120


def test_values_that_are_no_numbers_are_refused(night: bytes) -> None:
    assert refused(night.replace(b"500     32767", b"nan     32767")).startswith("not_finite: ")


@pytest.mark.heavy
def test_random_damage_never_escapes_as_anything_but_a_recording_error(
    night: bytes, settings: Settings, source: Source
) -> None:
    """Header fields and annotations with random bytes: ingest sets the file aside and goes on."""
    rng = random.Random(7)
    header = range(168, 768)
    annotations = range(768 + 7680, 768 + 7680 + 60)
    ends: Counter[str] = Counter()
    for _ in range(150):
        data = bytearray(night)
        for _ in range(rng.choice([1, 3])):
            place = rng.choice(rng.choice([header, annotations]))
            data[place] = rng.choice([rng.randrange(256), rng.choice(b"0123456789 -+.")])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                epoch_table(source, settings, bytes(data), None)
        except RecordingError as error:
            ends[error.reason] += 1
        else:
            ends["ok"] += 1
    assert ends["not_edf"] > 10, ends  # else the damage reaches nothing
    assert ends["ok"] > 10, ends


def test_annotations_alone_are_read_whole(test_data: Path) -> None:
    path = test_data / "sleep-edf-hypnograms" / "SC4001EC-Hypnogram.edf"
    annotations = read_annotations(path.read_bytes(), path.name)
    theirs = mne.read_annotations(path)
    assert [a.text for a in annotations] == list(theirs.description)
    assert [a.onset_s for a in annotations] == list(theirs.onset)
    assert [a.duration_s for a in annotations] == list(theirs.duration)


def test_a_plain_edf_has_no_annotations(make_edf: MakeEdf, noise: Noise) -> None:
    data = make_edf({"EEG": (noise(2), 128)})
    assert read_annotations(data, "n.edf") == ()
    recording = read_recording(data, "n.edf", [["EEG"]])
    assert (recording.annotations, recording.duration_s) == ((), 60)


@pytest.fixture(scope="module")
def fif(tmp_path_factory: pytest.TempPathFactory, noise: Noise) -> Callable[..., bytes]:
    """A recording in MNE's own format: two channels, four scored epochs."""

    def make(*, start_s: float = 0, date: float | None = None) -> bytes:
        info = mne.create_info(["EEG C3", "EOG"], 128, "eeg", verbose="error")
        signals = np.stack([noise(4, 0), noise(4, 1)]) * 1e-6
        raw = mne.io.RawArray(signals, info, verbose="error")
        raw.set_meas_date(date)
        texts = [f"Sleep stage {stage}" for stage in "W12R"]
        raw.set_annotations(mne.Annotations([0, 30, 60, 90], [30] * 4, texts))
        path = tmp_path_factory.mktemp("fif") / "night_raw.fif"
        raw.crop(start_s).save(path, verbose="error")
        return path.read_bytes()

    return make


def test_other_formats_go_to_mne(fif: Callable[..., bytes], noise: Noise) -> None:
    recording = read_recording(fif(), "p1.fif", [["eeg c3"]])
    assert recording.labels == ("EEG C3", "EOG")
    assert recording.duration_s == 120
    (channel,) = recording.channels
    assert (channel.label, channel.sfreq, channel.step_uv, channel.unit) == ("EEG C3", 128, 0, "V")
    np.testing.assert_allclose(channel.signal_uv, noise(4, 0), rtol=1e-6, atol=1e-4)
    assert [(a.onset_s, a.text) for a in recording.annotations] == [
        (0, "Sleep stage W"),
        (30, "Sleep stage 1"),
        (60, "Sleep stage 2"),
        (90, "Sleep stage R"),
    ]


@pytest.mark.parametrize("date", [None, 1e9])
def test_annotations_of_a_cropped_recording_move_with_it(
    fif: Callable[..., bytes], noise: Noise, date: float | None
) -> None:
    recording = read_recording(fif(start_s=60, date=date), "p1.fif", [["EEG C3"]])
    assert recording.duration_s == 60
    np.testing.assert_allclose(
        recording.channels[0].signal_uv, noise(4, 0)[60 * 128 :], rtol=1e-6, atol=1e-4
    )
    lasting = [a for a in recording.annotations if a.duration_s]
    assert [(a.onset_s, a.text) for a in lasting] == [(0, "Sleep stage 2"), (30, "Sleep stage R")]


def test_what_mne_cannot_read_is_set_aside_with_the_same_words_each_time(
    fif: Callable[..., bytes],
) -> None:
    broken = [(fif()[:n], "p1.fif") for n in (0, 10, 5000)]
    broken += [(b"words" * 999, name) for name in ("p1.xyz", "p1.bdf", "p1.vhdr")]
    for data, name in broken:
        text = refused(data, name)
        assert text.startswith("unreadable: ")
        assert "\n" not in text
        # No name of a temporary file: manifests of the same data are the same bytes.
        assert refused(data, name) == text
    assert "'EOG'" in refused(fif(), "p1.fif", [["EMG"]])


def test_values_missing_in_other_formats_are_refused(tmp_path: Path) -> None:
    raw = mne.io.RawArray(
        np.full((1, 3840), np.nan), mne.create_info(["EEG"], 128, "eeg"), verbose="error"
    )
    raw.save(tmp_path / "n_raw.fif", verbose="error")
    data = (tmp_path / "n_raw.fif").read_bytes()
    assert refused(data, "n.fif").startswith("not_finite: ")


# When it starts


def start_of(data: bytes, name: str = "n.edf") -> datetime | None:
    with open_recording(data, name) as recording:
        return recording.start


def edf_of(
    recording: edfio.Recording | None = None, starttime: time | None = None, stages: str = "W"
) -> bytes:
    edf = edfio.Edf(
        [edfio.EdfSignal(np.arange(3000.0) % 7, 100, label="EEG", physical_range=(-10, 10))],
        recording=recording,
        starttime=starttime,
        annotations=[edfio.EdfAnnotation(0, 30, f"Sleep stage {stages}")] if stages else None,
    )
    sink = io.BytesIO()
    edf.write(sink)
    return sink.getvalue()


@pytest.mark.parametrize("stages", ["W", ""])
def test_the_start_is_the_one_that_mne_reads(tmp_path: Path, stages: str) -> None:
    starts = edfio.Recording(startdate=date(2031, 12, 24)), time(23, 59, 58)
    data = edf_of(*starts, stages)
    (tmp_path / "n.edf").write_bytes(data)
    measured = mne.io.read_raw_edf(tmp_path / "n.edf", verbose="error").info["meas_date"]
    assert start_of(data) == measured.replace(tzinfo=None) == datetime(2031, 12, 24, 23, 59, 58)


def test_a_start_between_two_seconds_is_in_the_annotations() -> None:
    data = edf_of(edfio.Recording(startdate=date(2024, 3, 5)), time(22, 47, 30, 250_000))
    assert start_of(data) == datetime(2024, 3, 5, 22, 47, 30, 250_000)


def test_a_date_that_is_not_to_be_known_is_no_start() -> None:
    assert start_of(edf_of()) is None  # edfio writes X, and 1985 in the old field
    in_1985 = edfio.Recording(startdate=date(1985, 1, 1))
    assert start_of(edf_of(in_1985, time(22))) is None
    assert start_of(edf_of(edfio.Recording(startdate=date(1985, 1, 2)), time(22))) is not None


@pytest.mark.parametrize(
    ("at", "text"), [(168, b"99.99.99"), (176, b"25.61.00"), (168, b"        ")]
)
def test_a_start_that_is_none_is_none(at: int, text: bytes) -> None:
    """Of an EDF without annotations, whose header has the date once; the signal can be read nevertheless."""
    data = bytearray(edf_of(stages=""))
    data[88:168] = b" " * 80
    data[192:236] = b" " * 44  # plain EDF
    data[168:184] = b"05.03.2422.47.30"
    assert start_of(bytes(data)) == datetime(2024, 3, 5, 22, 47, 30)
    data[at : at + 8] = text
    assert start_of(bytes(data)) is None


def test_a_part_of_a_measurement_starts_where_it_was_cut(tmp_path: Path) -> None:
    raw = mne.io.RawArray(
        np.zeros((1, 6000)), mne.create_info(["EEG"], 100, "eeg"), verbose="error"
    )
    data = []
    for measured in (datetime(2024, 3, 5, 22, 47, 30, tzinfo=UTC), None):
        raw.set_meas_date(measured)
        path = tmp_path / "part_raw.fif"
        raw.copy().crop(tmin=12.5).save(path, overwrite=True, verbose="error")
        data.append(path.read_bytes())
    assert start_of(data[0], "part_raw.fif") == datetime(2024, 3, 5, 22, 47, 42, 500_000)
    assert start_of(data[1], "part_raw.fif") is None


def test_a_missing_channel_is_told_with_what_there_is(night: bytes) -> None:
    with pytest.raises(MissingChannelError) as caught:
        read_recording(night, "n.edf", [["EOG", "EOG left"]])
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.reason, error.wanted, error.labels) == (
            "missing_channel",
            ("EOG", "EOG left"),
            ("EEG",),
        )
        assert error.message == caught.value.message
