"""One recording -> one epoch table."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from orchestrator.errors import RecordingError
from orchestrator.psg import preprocess
from orchestrator.psg.convert import (
    METADATA_KEY,
    Settings,
    converted,
    epoch_table,
    implausible_by,
    summary,
)
from orchestrator.psg.dataset import DatasetFile, load_dataset
from orchestrator.psg.recordings import Source, find_recordings
from orchestrator.psg.stages import NoStages
from orchestrator.psg.stages.annotations import StagesFromAnnotations
from orchestrator.store.store import Store, parquet_bytes

MakeEdf = Callable[..., bytes]
Noise = Callable[..., NDArray[np.float64]]


def metadata(table: pa.Table) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(table.schema.metadata[METADATA_KEY])
    return loaded


def counts(table: pa.Table, modality: str = "eeg") -> NDArray[np.int16]:
    """(n_epochs, n_channels, 3000) as stored."""
    column = table[modality].combine_chunks()
    return np.asarray(column.storage.flatten()).reshape(len(column), *column.type.shape)


def with_gap(signal: NDArray[np.float64], epochs: str, *levels: float) -> NDArray[np.float64]:
    """Put constants into the epochs marked ``x``, one after the other."""
    out = signal.reshape(len(epochs), -1).copy()
    gap = [i for i, letter in enumerate(epochs) if letter == "x"]
    for n, epoch in enumerate(gap):
        out[epoch] = levels[n % len(levels)]
    return out.ravel()


def test_columns_and_types_are_those_of_the_store(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    table = epoch_table(source, settings, make_edf({"EEG": (noise(5), 128)}, "W12R?"), None)
    assert table.column_names == ["epoch_index", "stage", "flags", "eeg"]
    assert [table[name].type for name in ("epoch_index", "stage", "flags")] == [
        pa.int32(),
        pa.int8(),
        pa.uint8(),
    ]
    assert table["eeg"].type == pa.fixed_shape_tensor(pa.int16(), [1, 3000])
    assert table["epoch_index"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["stage"].to_pylist() == [0, 1, 2, 4, -1]
    assert table["flags"].to_pylist() == [0, 0, 0, 0, 2]
    about = metadata(table)
    assert (about["subject"], about["recording"], about["onset_s"]) == ("p1", "p1-n1", 0)
    assert about["preprocessing"]["filter_hz"] == {"eeg": [0.3, 35.0]}
    assert about["preprocessing"]["sfreq"] == 100
    (channel,) = about["channels"]["eeg"]
    assert channel["label"] == "EEG"
    assert channel["unit_in_file"] == "uV"
    assert channel["plausible"] is True


def test_stored_counts_are_the_cleaned_signal_within_half_a_step(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    signal = with_gap(noise(6), "..x...", 12.0)
    table = epoch_table(source, settings, make_edf({"EEG": (signal, 128)}, "WWWW22"), None)
    flat = np.array([False, False, True, False, False, False])
    # From the signal as made, so a converter step of the file may come on top.
    clean = preprocess.clean_epochs(signal.reshape(6, -1), flat, 128, (0.3, 35.0))
    (channel,) = metadata(table)["channels"]["eeg"]
    stored = counts(table)[:, 0] * channel["step_uv"]
    assert np.abs(stored - clean).max() <= channel["step_uv"] / 2 + 1000 / 65535
    scale = preprocess.robust_scale(clean, flat, "EEG")
    assert channel["center_uv"] == pytest.approx(scale.center_uv, abs=0.02)
    assert channel["spread_uv"] == pytest.approx(scale.spread_uv, rel=1e-3)


def test_flags_unite_flat_unscored_and_clipped(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    signal = with_gap(noise(6), "x..x..", 0.0, 500.0).reshape(6, -1)
    signal[2, :100] = 500.0  # more than a hundredth of the epoch, at the limit of the converter
    signal[4, :10] = 500.0
    table = epoch_table(source, settings, make_edf({"EEG": (signal.ravel(), 128)}, "W?1?RW"), None)
    # An epoch that rests at the limit is flat, not clipped.
    assert table["flags"].to_pylist() == [1, 2, 4, 3, 0, 0]
    assert (counts(table)[[0, 3]] == 0).all()
    assert summary(table) == {
        "n_epochs": 6,
        "n_W": 2,
        "n_N1": 1,
        "n_N2": 0,
        "n_N3": 0,
        "n_REM": 1,
        "n_unscored": 2,
        "n_flat": 2,
        "n_flat_scored": 1,
        "n_clipped": 1,
        "n_usable": 3,
        "channels": ["EEG"],
        "substituted": [],
        "implausible_amplitude": [],
        "missing_modalities": [],
        "labelled": True,
        "message": None,
    }


@pytest.mark.parametrize("stages", [None, "W12"])
def test_with_stages_none_no_stage_is_looked_for(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings, stages: str | None
) -> None:
    signal = with_gap(noise(3), ".x.", 0.0)
    data = make_edf({"EEG": (signal, 128)}, stages)
    table = epoch_table(replace(source, stages=NoStages()), settings, data, None)
    assert table["stage"].to_pylist() == [-1, -1, -1]
    assert table["flags"].to_pylist() == [2, 3, 2]
    about = summary(table)
    assert (about["labelled"], about["message"], about["n_usable"]) == (False, None, 0)
    # All but the stages is what it is with stages.
    scored = epoch_table(source, settings, make_edf({"EEG": (signal, 128)}, "W12"), None)
    assert table["eeg"].equals(scored["eeg"])
    assert metadata(table) == metadata(scored)


def test_an_unlabelled_recording_needs_a_whole_epoch(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    edf = edfio.Edf(
        [edfio.EdfSignal(noise(1)[:1280], 128, label="EEG", physical_range=(-500, 500))]
    )
    with pytest.raises(RecordingError, match="holds no whole 30-s epoch") as caught:
        epoch_table(replace(source, stages=NoStages()), settings, edf.to_bytes(), None)
    assert caught.value.reason == "too_short"


def optional(source: Source, **changes: Any) -> Source:
    stages = StagesFromAnnotations.model_validate({"from": "annotations", "optional": True})
    return replace(source, stages=stages, **changes)


def test_where_stages_are_optional_a_recording_without_any_is_kept(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    signals = {"EEG": (noise(2), 128)}
    lights = [(3.0, None, "Lights off")]
    with pytest.raises(RecordingError, match="no annotation is a sleep stage"):
        epoch_table(source, settings, make_edf(signals, annotations=lights), None)
    table = epoch_table(optional(source), settings, make_edf(signals, annotations=lights), None)
    about = summary(table)
    assert (about["labelled"], about["n_unscored"]) == (False, 2)
    assert "texts found: 'Lights off'" in about["message"]
    labelled = epoch_table(optional(source), settings, make_edf(signals, "W1"), None)
    assert labelled.equals(epoch_table(source, settings, make_edf(signals, "W1"), None), True)


@pytest.mark.parametrize("problem", ["unknown_label", "off_grid", "of a file"])
def test_broken_stages_are_not_no_stages(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings, problem: str
) -> None:
    """Optional or not, what somebody scored is not thrown away silently."""
    signals = {"EEG": (noise(2), 128)}
    wrong = {
        "unknown_label": [(0.0, 30.0, "Sleep stage X")],
        "off_grid": [(0.0, 30.0, "Sleep stage W"), (41.0, 30.0, "Sleep stage W")],
    }
    data = make_edf(signals, annotations=wrong.get(problem, ()))
    beside = make_edf({"EEG": (noise(1), 128)}, annotations=[(0.0, None, "Lights off")])
    stage_content = beside if problem == "of a file" else None
    with pytest.raises(RecordingError) as caught:
        epoch_table(optional(source, stage_path="p1-stages.edf"), settings, data, stage_content)
    assert caught.value.reason == {"of a file": "no_stages"}.get(problem, problem)


@pytest.mark.parametrize("n_steps", [2, 3])
def test_flatness_is_decided_on_the_signal_as_recorded(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings, n_steps: int
) -> None:
    """Beside loud neighbours a filter would make either epoch ring; in converter steps they differ."""
    signal = noise(3).reshape(3, -1)
    step_uv = 1000 / 65535
    signal[1] = step_uv * (0.5 + np.where(np.arange(3840) % 2, 0, n_steps))
    table = epoch_table(source, settings, make_edf({"EEG": (signal.ravel(), 128)}, "WWW"), None)
    assert table["flags"].to_pylist() == [0, int(n_steps == 2), 0]


@pytest.mark.heavy
@pytest.mark.parametrize("levels", [(37.0,), (-480.0,), (500.0,), (-120.0, 333.0)])
def test_epochs_between_gaps_do_not_depend_on_what_the_gaps_hold(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings, levels: tuple[float, ...]
) -> None:
    """Samples, flags and scale: the files are the same bytes."""
    gaps, stages = "..xx.x...x", "WW1?2R?33W"

    def stored(*levels: float) -> bytes:
        data = make_edf({"EEG": (with_gap(noise(10), gaps, *levels), 128)}, stages)
        return parquet_bytes(epoch_table(source, settings, data, None))

    assert stored(*levels) == stored(0.0)


def test_the_test_above_can_fail(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    def stored(signal: NDArray[np.float64]) -> bytes:
        data = make_edf({"EEG": (signal, 128)}, "WW1?")
        return parquet_bytes(epoch_table(source, settings, data, None))

    signal = with_gap(noise(4), "..x.", 0.0)
    other = signal.copy()
    other[0] += 1
    assert stored(signal) != stored(other)


def test_modalities_with_several_channels_and_rates(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    eog = with_gap(noise(3, 2, 50), "..x", 1.0)
    data = make_edf(
        {
            "EMG chin": (noise(3, 1, 256), 256),
            "F3": (noise(3, 3, 128), 128),
            "Eog L": (eog, 50),
            "C3A2": (noise(3, 4, 128), 128),
        },
        "W12",
    )
    wide = replace(
        settings,
        channels={
            "eeg": (("EEG C3", "C3A2"), ("F3",)),
            "eog": (("EOG L",),),
            "emg": (("EMG chin",),),
        },
        filter_hz={"eeg": (0.3, 35.0), "eog": (0.3, 20.0), "emg": (10.0, 45.0)},
    )
    table = epoch_table(source, wide, data, None)
    assert table.column_names[3:] == ["eeg", "eog", "emg"]
    assert counts(table, "eeg").shape == (3, 2, 3000)
    assert counts(table, "emg").shape == (3, 1, 3000)
    # One flat channel makes the epoch unusable; the runs of the others go on through it.
    assert table["flags"].to_pylist() == [0, 0, 1]
    assert counts(table, "eeg")[2].any()
    assert not counts(table, "eog")[2].any()
    about = metadata(table)["channels"]
    assert [c["label"] for c in about["eeg"]] == ["C3A2", "F3"]
    assert [c["n_flat"] for c in (*about["eeg"], *about["eog"], *about["emg"])] == [0, 0, 1, 0]
    told = summary(table)
    assert told["channels"] == ["C3A2", "F3", "Eog L", "EMG chin"]
    assert told["substituted"] == ["C3A2", "Eog L"]


class TestOptional:
    """A modality that a recording may lack; the EEG is always there."""

    @pytest.fixture
    def optional(self, settings: Settings) -> Settings:
        return replace(
            settings,
            channels={"eeg": (("EEG",),), "emg": (("EMG 1",), ("EMG 2", "chin"))},
            filter_hz={"eeg": (0.3, 35.0), "emg": (10.0, 45.0)},
            optional=("emg",),
        )

    def test_it_is_there(
        self, make_edf: MakeEdf, noise: Noise, source: Source, optional: Settings
    ) -> None:
        """As if it were not optional, to the last bit of signals and flags."""
        chin = with_gap(noise(3, 2), "..x", 1.0)
        signals = {"EEG": (noise(3), 128), "EMG 1": (noise(3, 1), 128), "chin": (chin, 128)}
        data = make_edf(signals, "W12")
        table = epoch_table(source, optional, data, None)
        assert summary(table)["missing_modalities"] == []
        required = epoch_table(source, replace(optional, optional=()), data, None)
        assert table.equals(required, check_metadata=False)
        assert table["flags"].to_pylist() == [0, 0, 1]

    @pytest.mark.parametrize("how", ["no channel", "flat", "slow", "flat and slow"])
    def test_it_is_not_there(
        self, make_edf: MakeEdf, noise: Noise, source: Source, optional: Settings, how: str
    ) -> None:
        eeg = with_gap(noise(4), ".x..", 1.0)
        flat, slow = (np.full(4 * 3840, 7.0), 128), (noise(4, 3, 10), 10)
        channels = {
            "no channel": (),
            "flat": (flat, flat),
            "slow": (slow, slow),
            "flat and slow": (flat, slow),
        }[how]
        signals = {"EEG": (eeg, 128), **dict(zip(("EMG 1", "EMG 2"), channels, strict=False))}
        table = epoch_table(source, optional, make_edf(signals, "W12R"), None)
        assert table.column_names == ["epoch_index", "stage", "flags", "eeg"]
        # As without it altogether: a flat epoch is one where the EEG is.
        assert table["flags"].to_pylist() == [0, 1, 0, 0]
        alone = replace(optional, channels={"eeg": (("EEG",),)}, filter_hz={"eeg": (0.3, 35.0)})
        assert table.equals(
            epoch_table(source, replace(alone, optional=()), make_edf(signals, "W12R"), None),
            check_metadata=False,
        )
        told = summary(table)
        assert told["missing_modalities"] == ["emg"]
        assert told["channels"] == ["EEG"]
        assert list(metadata(table)["channels"]) == ["eeg"]

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ("misspelt", "missing_channel"),
            ("flat", "flat_channel"),
            ("slow", "sampling_rate"),
        ],
    )
    def test_half_of_it_is_a_mistake(
        self,
        make_edf: MakeEdf,
        noise: Noise,
        source: Source,
        optional: Settings,
        how: str,
        reason: str,
    ) -> None:
        """More likely a wrong name or a lead that came off than a recording without the modality."""
        other = {
            "misspelt": {"EMG-2": (noise(3, 2), 128)},
            "flat": {"EMG 2": (np.zeros(3 * 3840), 128)},
            "slow": {"EMG 2": (noise(3, 2, 10), 10)},
        }[how]
        signals = {"EEG": (noise(3), 128), "EMG 1": (noise(3, 1), 128), **other}
        with pytest.raises(RecordingError) as caught:
            epoch_table(source, optional, make_edf(signals, "W12"), None)
        assert caught.value.reason == reason

    def test_what_is_not_optional_is_still_required(
        self, make_edf: MakeEdf, noise: Noise, source: Source, optional: Settings
    ) -> None:
        emg = {"EMG 1": (noise(3), 128), "EMG 2": (noise(3, 1), 128)}
        for eeg, reason in (
            ({}, "missing_channel"),
            ({"EEG": (np.zeros(3840 * 3), 128)}, "flat_channel"),
        ):
            with pytest.raises(RecordingError) as caught:
                epoch_table(source, optional, make_edf({**emg, **eeg}, "W12"), None)
            assert caught.value.reason == reason

    def test_what_cannot_be_read_is_there_and_broken(
        self, make_edf: MakeEdf, noise: Noise, source: Source, optional: Settings
    ) -> None:
        """Also where the other channel of the modality would make it a missing one."""
        signals = {
            "EEG": (noise(3), 128),
            "EMG 1": (np.zeros(3 * 3840), 128),
            "EMG 2": (noise(3, 1), 128),
        }
        data = bytearray(make_edf(signals, "W12"))
        start = 256 + 4 * (16 + 80 + 8 + 8) + 2 * 8  # the largest value of EMG 2
        assert data[start : start + 8] == b"500     "
        data[start : start + 8] = b"nan     "
        with pytest.raises(RecordingError) as caught:
            epoch_table(source, optional, bytes(data), None)
        assert caught.value.reason == "not_finite"

    def test_in_other_formats_too(
        self, tmp_path: Path, noise: Noise, source: Source, optional: Settings
    ) -> None:
        import mne

        info = mne.create_info(["EEG"], 128, "eeg")
        raw = mne.io.RawArray(noise(3)[None] * 1e-6, info, verbose="error")
        texts = [f"Sleep stage {stage}" for stage in "W2?"]
        raw.set_annotations(mne.Annotations([0, 30, 60], [30, 30, 30], texts))
        raw.save(tmp_path / "p1_raw.fif", verbose="error")
        content = (tmp_path / "p1_raw.fif").read_bytes()
        table = epoch_table(replace(source, path="p1.fif"), optional, content, None)
        assert summary(table)["missing_modalities"] == ["emg"]


def test_an_amplitude_that_no_body_makes_is_noted(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    """As where a header says mV and means uV: kept, scaled like any other, and named in the manifest."""
    data = make_edf({"EEG": (noise(2), 128)}, "WW", unit="mV")
    table = epoch_table(source, settings, data, None)
    assert summary(table)["implausible_amplitude"] == ["EEG"]
    right = epoch_table(source, settings, make_edf({"EEG": (noise(2), 128)}, "WW"), None)
    assert np.abs(counts(table).astype(int) - counts(right)).max() <= 1


def test_a_stored_sample_costs_at_most_two_bytes(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    data = make_edf({"EEG": (noise(40, sfreq=100), 100)}, "W" * 40)
    stored = parquet_bytes(epoch_table(source, settings, data, None))
    assert len(stored) <= 2 * 40 * 3000  # metadata and the small columns included


def test_the_grid_may_start_late_and_between_two_values(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    def table(onset_s: float) -> pa.Table:
        marks = [(onset_s + 30 * i, 30, f"Sleep stage {s}") for i, s in enumerate("W1")]
        data = make_edf({"EEG": (noise(3), 128)}, annotations=marks)
        return epoch_table(source, settings, data, None)

    for onset_s in (1.0, 1.004, 29.999):  # 1.004 s is between the 128th and 129th value
        assert table(onset_s)["stage"].to_pylist() == [0, 1]
        assert metadata(table(onset_s))["onset_s"] == onset_s
    # The end of the signal is where the second epoch would need one value more.
    assert table(30.004)["stage"].to_pylist() == [0]


@pytest.mark.parametrize(
    ("stages", "reason"),
    [("W1X", "unknown_label"), ("", "no_stages"), ("WWWW", "annotations_beyond_signal")],
)
def test_hypnogram_errors_reach_the_caller(
    make_edf: MakeEdf,
    noise: Noise,
    source: Source,
    settings: Settings,
    stages: str,
    reason: str,
) -> None:
    data = make_edf({"EEG": (noise(3), 128)}, stages)
    with pytest.raises(RecordingError) as caught:
        epoch_table(source, settings, data, None)
    assert caught.value.reason == reason


def test_beyond_the_signal_may_be_trimmed(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    trim = replace(settings, labels_beyond_signal="trim")
    table = epoch_table(source, trim, make_edf({"EEG": (noise(3), 128)}, "W1RR"), None)
    assert table["stage"].to_pylist() == [0, 1, 4]


def test_a_flat_recording_is_refused(make_edf: MakeEdf, source: Source, settings: Settings) -> None:
    with pytest.raises(RecordingError, match="flat from beginning to end"):
        epoch_table(source, settings, make_edf({"EEG": (np.zeros(3840), 128)}, "W"), None)


def test_a_problem_found_before_reading_is_raised(source: Source, settings: Settings) -> None:
    problem = RecordingError("missing_hypnogram", "no stages for this one")
    with pytest.raises(RecordingError) as caught:
        epoch_table(replace(source, problem=problem), settings, b"", None)
    assert caught.value is problem


def test_stages_in_a_file_of_their_own(
    make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    """The recording's own annotations do not count then; an unscored run beyond its end is fine."""
    data = make_edf({"EEG": (noise(3), 128)}, "RRR")
    hypnogram = make_edf({"x": (np.zeros(30), 1)}, "W2", annotations=[(60, 3000, "Sleep stage ?")])
    beside = replace(source, stage_path="p1-h.edf")
    table = epoch_table(beside, settings, data, hypnogram)
    assert table["stage"].to_pylist() == [0, 2, -1]
    with pytest.raises(RecordingError, match=r"p1-h\.edf is truncated"):
        epoch_table(beside, settings, data, hypnogram[:-1])


def test_the_form_that_physionet_publishes(
    tmp_path: Path, root: Path, make_edf: MakeEdf, noise: Noise
) -> None:
    """``.rec`` and ``_stage.txt``, through the shipped data set file; the Holter ECG beside them is no recording."""
    dataset = load_dataset(root / "datasets" / "ucddb.yaml")
    recording = make_edf({"Lefteye": (noise(9, 1, 64), 64), "C3A2": (noise(9), 128)})
    (tmp_path / "ucddb002.rec").write_bytes(recording)
    (tmp_path / "ucddb002_stage.txt").write_text(
        "\n".join("012345678"[:8]) + "\n", encoding="utf-8"
    )
    (tmp_path / "ucddb002_lifecard.edf").write_bytes(make_edf({"ECG": (noise(9), 128)}))
    data = Store.open(str(tmp_path))
    (source,) = find_recordings(dataset, data)
    assert source.stage_path == "ucddb002_stage.txt"
    table = epoch_table(
        source,
        Settings.of(dataset),
        data.read_bytes(source.path),
        data.read_bytes(source.stage_path),
    )
    assert table["stage"].to_pylist() == [0, 4, 1, 2, 3, 3, -1, -1, -1]
    assert table["flags"].to_pylist() == [0, 0, 0, 0, 0, 0, 2, 2, 2]
    assert metadata(table)["channels"]["eeg"][0]["label"] == "C3A2"


def test_other_formats_give_the_same_epochs(
    tmp_path: Path, make_edf: MakeEdf, noise: Noise, source: Source, settings: Settings
) -> None:
    import mne

    raw = mne.io.RawArray(
        noise(3)[None] * 1e-6, mne.create_info(["EEG"], 128, "eeg"), verbose="error"
    )
    texts = [f"Sleep stage {stage}" for stage in "W2?"]
    raw.set_annotations(mne.Annotations([0, 30, 60], [30, 30, 30], texts))
    raw.save(tmp_path / "p1_raw.fif", verbose="error")
    content = (tmp_path / "p1_raw.fif").read_bytes()
    table = epoch_table(replace(source, path="p1.fif"), settings, content, None)
    expected = epoch_table(source, settings, make_edf({"EEG": (noise(3), 128)}, "W2?"), None)
    for name in ("epoch_index", "stage", "flags"):
        assert table[name].to_pylist() == expected[name].to_pylist()
    steps = [metadata(t)["channels"]["eeg"][0]["step_uv"] for t in (table, expected)]
    difference = counts(table) * steps[0] - counts(expected) * steps[1]
    assert np.abs(difference).max() < 0.02


def test_settings_hold_all_that_decides_the_content(
    dataset: Callable[..., DatasetFile],
) -> None:
    """What changes an epoch changes the settings, and what does not, does not."""
    plain = Settings.of(dataset()).as_json()
    json.dumps(plain)
    for change in [
        {"[[EEG, C3A2]]": "[[C3A2, EEG]]"},
        {"[[EEG, C3A2]]": "[[EEG, C3A2]]\nfilter_hz: {eeg: [0.5, 35]}"},
        {"[[EEG, C3A2]]": "[[EEG, C3A2]]\nlabels: {Wake: W}"},
        {"[[EEG, C3A2]]": "[[EEG, C3A2]]\nlabels_beyond_signal: trim"},
        {"[[EEG, C3A2]]": "[[EEG, C3A2]]\n  emg: [chin]\noptional: [emg]"},
    ]:
        assert Settings.of(dataset(change)).as_json() != plain
    assert Settings.of(dataset({"Tiny nights": "Small nights"})).as_json() == plain
    plain_and_emg = Settings.of(dataset({"[[EEG, C3A2]]": "[[EEG, C3A2]]\n  emg: [chin]"}))
    assert replace(plain_and_emg, optional=("emg",)).as_json() != plain_and_emg.as_json()


def test_settings_without_optional_modalities_are_those_of_before_there_were_any(
    settings: Settings,
) -> None:
    """Else every store would be converted again."""
    assert set(settings.as_json()) == {
        *("labels", "channels", "filter_hz", "labels_beyond_signal", "schema_version", "sfreq"),
        *("epoch_s", "lowest_sfreq", "flat_steps", "clipped_share"),
    }


@pytest.mark.parametrize(
    ("onset_s", "n_values", "n_epochs", "remainder_s"),
    [(0.0, 4 * 3840, 4, 0.0), (0.0, 4 * 3840 - 128, 3, 29.0), (42.0, 4 * 3840, 2, 18.0)],
)
def test_what_is_not_in_the_epochs_is_told(
    source: Source,
    settings: Settings,
    noise: Noise,
    onset_s: float,
    n_values: int,
    n_epochs: int,
    remainder_s: float,
) -> None:
    edf = edfio.Edf(
        [edfio.EdfSignal(noise(4)[:n_values], 128, label="EEG", physical_range=(-500, 500))],
        annotations=[edfio.EdfAnnotation(onset_s, 60, "Sleep stage 2")],
        data_record_duration=1,
    )
    found = converted(source, settings, edf.to_bytes(), None)
    assert found.remainder_s == pytest.approx(remainder_s)
    assert found.stages.tolist() == [2, 2, -1, -1][:n_epochs]
    assert found.table["stage"].to_pylist() == found.stages.tolist()
    assert found.start is None
    assert found.table.equals(epoch_table(source, settings, edf.to_bytes(), None))


@pytest.mark.parametrize("gain", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_an_implausible_spread_has_a_factor_above_one(
    source: Source, settings: Settings, make_edf: MakeEdf, noise: Noise, gain: float
) -> None:
    data = make_edf({"EEG": (noise(4) * gain, 128)}, "W12R", limit=500 * gain)
    (channel,) = metadata(epoch_table(source, settings, data, None))["channels"]["eeg"]
    factor = implausible_by(channel["spread_uv"])
    assert (factor > 1) == (not channel["plausible"])
    if gain in {1e-4, 1e4}:  # ten times more is ten times further away
        assert implausible_by(channel["spread_uv"] * gain**0.25) == pytest.approx(10 * factor)
