"""Made-up recordings: same seed same bytes, stages that can be told apart but not trivially, a shift that counts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import edfio
import mne
import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.alignment.emd import emd
from orchestrator.cli.main import main
from orchestrator.config.dataset import load_dataset
from orchestrator.errors import ConfigError, SetupError
from orchestrator.psg import convert, preprocess, synthetic
from orchestrator.psg.recordings import find_recordings
from orchestrator.psg.synthetic_hypnogram import draw_stages
from orchestrator.store.store import Store
from trainables.stages import ANNOTATION_STAGES, Stage

BANDS_HZ = ((0.5, 4), (4, 8), (8, 12), (12, 15), (15, 30))
EACH_STAGE = np.repeat(np.arange(5, dtype=np.int8), 20)


def write(
    folder: Path,
    *,
    n_subjects: int = 1,
    shift: float = 0.0,
    seed: int = 1,
    hours: float = 0.1,
) -> list[str]:
    return synthetic.write_domain(
        str(folder), n_subjects=n_subjects, shift=shift, seed=seed, hours=hours
    )


class TestFiles:
    def test_same_seed_same_bytes_in_any_folder(self, tmp_path: Path) -> None:
        names = write(tmp_path / "a", n_subjects=2, shift=0.5)
        assert names == ["shift0.5-seed1-01.edf", "shift0.5-seed1-02.edf"]
        assert write(tmp_path / "b" / "c", n_subjects=2, shift=0.5) == names
        for name in names:
            assert (tmp_path / "a" / name).read_bytes() == (
                tmp_path / "b" / "c" / name
            ).read_bytes()

    def test_files_of_a_smaller_domain_are_files_of_a_larger_one(self, tmp_path: Path) -> None:
        names = write(tmp_path / "two", n_subjects=2)
        write(tmp_path / "three", n_subjects=3)
        for name in names:
            assert (tmp_path / "two" / name).read_bytes() == (
                tmp_path / "three" / name
            ).read_bytes()

    def test_seed_subject_and_shift_each_change_the_signals(self, tmp_path: Path) -> None:
        def signals(name: str) -> bytes:
            edf = edfio.read_edf(tmp_path / name)
            return b"".join(signal.digital.tobytes() for signal in edf.signals)

        write(tmp_path, n_subjects=2)
        write(tmp_path, seed=2)
        write(tmp_path, shift=1.0)
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == [
            "shift0-seed1-01.edf",
            "shift0-seed1-02.edf",
            "shift0-seed2-01.edf",
            "shift1-seed1-01.edf",
        ]
        assert len({signals(name) for name in files}) == 4

    def test_a_shift_leaves_the_hypnogram_alone(self, tmp_path: Path) -> None:
        (plain,) = write(tmp_path, hours=0.5)
        (shifted,) = write(tmp_path, hours=0.5, shift=1.0)
        texts = [
            [a.text for a in edfio.read_edf(tmp_path / name).annotations]
            for name in (plain, shifted)
        ]
        assert texts[0] == texts[1]

    def test_files_are_written_again(self, tmp_path: Path) -> None:
        (name,) = write(tmp_path)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"damaged")
        write(tmp_path)
        assert (tmp_path / name).read_bytes() == whole
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_failure_leaves_whole_files_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original: Callable[..., None] = edfio.Edf.write
        calls = []

        def write_or_fail(self: edfio.Edf, target: Any) -> None:
            calls.append(target)
            original(self, target)
            if len(calls) == 2:
                raise OSError("interrupted")

        (name,) = write(tmp_path / "whole")
        monkeypatch.setattr(edfio.Edf, "write", write_or_fail)
        with pytest.raises(OSError, match="interrupted"):
            write(tmp_path / "torn", n_subjects=3)
        assert [path.name for path in (tmp_path / "torn").iterdir()] == [name]
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_mne_reads_channels_units_and_stages(self, tmp_path: Path) -> None:
        (name,) = write(tmp_path, hours=2.0)
        raw = mne.io.read_raw_edf(tmp_path / name, preload=True, verbose="error")
        assert raw.ch_names == ["EEG C3-M2", "EOG E1-M2", "EMG chin", "ECG"]
        assert raw.info["sfreq"] == 100
        assert raw.n_times == 2 * 3600 * 100
        assert np.allclose(raw.annotations.onset, 30 * np.arange(240))
        assert np.allclose(raw.annotations.duration, 30)
        assert set(raw.annotations.description) == {
            f"Sleep stage {stage}" for stage in ("W", "N1", "N2", "N3", "R")
        }
        spread_uv = 1e6 * raw.get_data().std(axis=1)
        assert np.all((spread_uv > 3) & (spread_uv < 300))

    def test_the_header_says_nothing_of_when_and_where(self, tmp_path: Path) -> None:
        (name,) = write(tmp_path)
        header = (tmp_path / name).read_bytes()[:256].decode("ascii")
        assert header[8:88].split() == ["shift0-seed1-01", "X", "X", "X"]
        assert header[88:184].split()[:2] == ["Startdate", "01-JAN-2000"]
        assert header[88 + 80 : 184] == "01.01.0022.00.00"
        assert header[192:236].strip() == "EDF+C"

    def test_the_data_set_file_reads_them(self, tmp_path: Path, root: Path) -> None:
        write(tmp_path, n_subjects=2, hours=0.5)
        write(tmp_path, n_subjects=1, shift=1.5, hours=0.5)
        dataset = load_dataset(root / "datasets" / "synthetic.yaml")
        sources = find_recordings(dataset, Store.open(str(tmp_path)))
        assert [source.subject for source in sources] == [
            "shift0-seed1-01",
            "shift0-seed1-02",
            "shift1.5-seed1-01",
        ]
        for source in sources:
            content = (tmp_path / source.path).read_bytes()
            table = convert.epoch_table(source, convert.Settings.of(dataset), content, None)
            summary = convert.summary(table)
            assert summary["n_usable"] == 60
            assert summary["n_clipped"] == 0
            assert min(summary[f"n_{stage.name}"] for stage in Stage) > 0
            assert not summary["implausible_amplitude"]
            assert not summary["substituted"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"n_subjects": 0}, "subjects is 0; allowed: at least 1"),
            ({"hours": 0.0}, "hours is 0; allowed: one epoch of 30 s to 12 h"),
            ({"hours": float("nan")}, "hours is nan; allowed"),
            ({"hours": 13.0}, "hours is 13; allowed"),
            ({"shift": -0.5}, "shift is -0.5; allowed: 0 to 2"),
            ({"shift": float("nan")}, "shift is nan; allowed"),
            ({"seed": -1}, "seed is -1; allowed: at least 0"),
        ],
    )
    def test_a_value_out_of_range(
        self, tmp_path: Path, wrong: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            write(tmp_path / "out", **wrong)
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("taken")
        with pytest.raises(SetupError, match=r"recordings cannot be written: .*file"):
            write(tmp_path / "file" / "out")

    @pytest.mark.parametrize(
        ("arguments", "exit_code"),
        [(["--subjects", "0"], 2), (["--hours", "-1"], 2), (["--shift", "-1"], 2), ([], 7)],
    )
    def test_the_command_says_so_in_a_paragraph(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        exit_code: int,
    ) -> None:
        (tmp_path / "file").write_text("taken")
        with pytest.raises(SystemExit) as exit_info:
            main(["synth", str(tmp_path / "file" / "out"), *arguments])
        assert exit_info.value.code == exit_code
        output = capsys.readouterr()
        assert output.err.startswith("Error: ")
        assert "Traceback" not in output.err
        assert not output.out


def test_the_command_writes_one_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--subjects", "2", "--shift", "0.50", "--seed", "3", "--hours", "0.05"]
    with pytest.raises(SystemExit) as exit_info:
        main(["synth", str(tmp_path / "out"), *options])
    assert exit_info.value.code == 0
    names = ["shift0.5-seed3-01.edf", "shift0.5-seed3-02.edf"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert f"2 recordings of 0.05 h in {tmp_path / 'out'}, from {names[0]} to {names[1]}." in (
        capsys.readouterr().out
    )
    assert edfio.read_edf(tmp_path / "out" / names[1]).duration == 180


class TestRecording:
    def test_each_annotation_is_the_stage_that_was_asked_for(self) -> None:
        stages = [0, 1, 2, 3, 4, -1]
        edf = synthetic.recording(stages)
        assert edf.duration == 180
        assert [a.onset for a in edf.annotations] == [0, 30, 60, 90, 120, 150]
        assert [ANNOTATION_STAGES[a.text] for a in edf.annotations] == stages

    def test_one_epoch(self) -> None:
        edf = synthetic.recording([2])
        assert edf.duration == 30
        assert all(np.ptp(signal.data) > 10 for signal in edf.signals)

    def test_no_signal_reaches_the_limits_or_misses_a_value(self) -> None:
        for number in range(1, 7):
            for signal in synthetic.recording(EACH_STAGE, number=number).signals:
                assert len(signal.data) == 100 * 3000
                assert np.abs(signal.data).max() < 0.9 * synthetic.LIMITS_UV[signal.label]
                assert np.ptp(signal.data.reshape(100, 3000), axis=1).min() > 10


class TestPhysiology:
    """What the textbook says of a stage is there, measured on the written signals by Welch's method."""

    def test_eeg_rhythms(self) -> None:
        def power(stage: Stage, low_hz: float, high_hz: float) -> float:
            return float(
                np.mean(
                    [
                        band_power(channel(number, 0)[of(stage)], low_hz, high_hz)
                        for number in range(1, 5)
                    ]
                )
            )

        slow = {stage: power(stage, 0.5, 2) for stage in Stage}
        assert slow[Stage.N3] > 3 * max(slow[s] for s in Stage if s != Stage.N3)
        alpha = {stage: power(stage, 8, 12) for stage in Stage}
        assert alpha[Stage.W] > 1.5 * max(alpha[s] for s in Stage if s != Stage.W)
        sigma = {stage: power(stage, 12.5, 14) for stage in Stage}
        assert sigma[Stage.N2] > 1.2 * max(sigma[s] for s in Stage if s != Stage.N2)
        relative_theta = {s: power(s, 4, 8) / power(s, 0.5, 30) for s in Stage}
        assert relative_theta[Stage.N1] > relative_theta[Stage.W]
        assert relative_theta[Stage.N1] > relative_theta[Stage.N3]

    def test_alpha_lies_where_the_trait_says(self) -> None:
        for number, shift in ((1, 0.0), (2, 0.0), (3, 1.0)):
            wake = synthetic.recording([0] * 40, number=number, shift=shift).signals[0].data
            frequency, density = scipy.signal.welch(wake, 100, nperseg=400)
            near = (frequency > 6) & (frequency < 13)
            peak_hz = frequency[near][np.argmax(density[near])]
            assert abs(peak_hz - synthetic.draw_traits(1, number, shift).alpha_hz) < 0.6

    def test_muscle_tone_falls_from_wake_to_rem(self) -> None:
        tone = [np.median(channel(1, 2)[of(stage)].std(axis=1)) for stage in Stage]
        assert tone[Stage.W] > tone[Stage.N1] > tone[Stage.N3] > tone[Stage.REM]

    def test_eyes_roll_in_n1_and_move_rapidly_in_rem(self) -> None:
        eog = channel(1, 1)
        rolling = [band_power(eog[of(stage)], 0.25, 0.75) for stage in Stage]
        assert rolling[Stage.N1] > 3 * max(rolling[Stage.N2], rolling[Stage.N3])
        within_40_ms = np.abs(eog[:, 4:] - eog[:, :-4])
        rapid = [float((within_40_ms[of(stage)] > 50).mean()) for stage in Stage]
        assert rapid[Stage.REM] > 2 * max(rapid[Stage.N1], rapid[Stage.N2], rapid[Stage.N3])
        assert rapid[Stage.W] > 2 * max(rapid[Stage.N1], rapid[Stage.N2], rapid[Stage.N3])

    def test_the_heart_beats_slower_in_sleep(self) -> None:
        rate = []
        for stage in Stage:
            ecg = channel(1, 3)[of(stage)].reshape(-1)
            peaks, _ = scipy.signal.find_peaks(ecg, height=0.5 * ecg.max(), distance=30)
            rate.append(len(peaks) / 10)
        assert all(40 < per_min < 100 for per_min in rate)
        assert rate[Stage.W] > rate[Stage.N1] > rate[Stage.N3]
        assert rate[Stage.REM] > rate[Stage.N3]


class TestTraits:
    def test_a_shift_moves_all_of_them(self) -> None:
        here, there = (
            [synthetic.draw_traits(1, number, shift) for number in range(1, 9)]
            for shift in (0.0, 1.0)
        )
        for a, b in zip(here, there, strict=True):
            assert b.position == pytest.approx(a.position + 1)
            assert b.gain == pytest.approx(a.gain * np.exp(-0.4))
            assert b.slope == pytest.approx(a.slope - 0.6)
            assert b.alpha_hz == pytest.approx(a.alpha_hz - 1.6)
            assert b.noise_uv == pytest.approx(a.noise_uv * np.exp(0.7))
            assert b.contrast == pytest.approx(a.contrast * np.exp(-0.22))

    @pytest.mark.parametrize("seed", range(1, 9))
    def test_six_subjects_already_cover_the_axis(self, seed: int) -> None:
        positions = [synthetic.draw_traits(seed, number, 0.0).position for number in range(1, 7)]
        assert max(positions) > 0.3
        assert min(positions) < -0.3

    def test_extreme_domains_stay_within_reason(self) -> None:
        for number in range(1, 60):
            traits = synthetic.draw_traits(4, number, synthetic.LARGEST_SHIFT)
            assert traits.slope > 0
            assert traits.alpha_hz > 5
            assert traits.noise_uv < 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    features: NDArray[np.float64]
    stages: NDArray[np.int8]


@pytest.fixture(scope="module")
def source() -> list[Subject]:
    return [spectral_subject(seed=1, number=number, shift=0.0) for number in range(1, 7)]


@pytest.fixture(scope="module")
def targets() -> dict[float, list[Subject]]:
    return {
        shift: [spectral_subject(seed=2, number=number, shift=shift) for number in range(1, 5)]
        for shift in (0.0, 0.5, 1.0, 1.5)
    }


@pytest.fixture(scope="module")
def accuracy(source: list[Subject], targets: dict[float, list[Subject]]) -> dict[float, float]:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(*joined(source))
    return {
        shift: float(classifier.score(*joined(subjects))) for shift, subjects in targets.items()
    }


class TestDifficulty:
    """A spectral classifier tells stages apart, not trivially, and less well in a shifted domain."""

    def test_other_subjects_of_the_same_domain(self, accuracy: dict[float, float]) -> None:
        assert 0.65 < accuracy[0.0] < 0.95

    def test_subjects_of_a_shifted_domain(self, accuracy: dict[float, float]) -> None:
        assert 0.45 < accuracy[1.0] < accuracy[0.0] - 0.08
        assert accuracy[1.5] < accuracy[1.0] < accuracy[0.5] < accuracy[0.0]

    def test_emd_to_the_source_grows_with_the_shift(
        self, source: list[Subject], targets: dict[float, list[Subject]]
    ) -> None:
        scaler = StandardScaler().fit(joined(source)[0])
        reference = scaler.transform(joined(source)[0])
        distance = [emd(reference, scaler.transform(joined(s)[0])) for s in targets.values()]
        assert distance == sorted(distance)
        assert distance[2] > 2 * distance[0]

    def test_source_subjects_further_along_lie_nearer_to_the_target(
        self, source: list[Subject], targets: dict[float, list[Subject]]
    ) -> None:
        scaler = StandardScaler().fit(joined(source)[0])
        reference = scaler.transform(joined(targets[1.0])[0])
        distance = [emd(scaler.transform(subject.features), reference) for subject in source]
        position = [synthetic.draw_traits(1, number, 0.0).position for number in range(1, 7)]
        assert np.corrcoef(distance, position)[0, 1] < -0.8


def test_eight_subjects_of_two_hours_take_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    write(tmp_path, n_subjects=8, hours=2.0)
    assert time.process_time() - start < 12  # 2.2 s on the machine it was written on


def of(stage: Stage) -> NDArray[np.bool_]:
    return np.asarray(np.equal(EACH_STAGE, stage))


@cache
def channel(number: int, index: int) -> NDArray[np.float64]:
    """Return (100, 3000): twenty epochs of each stage in turn, in microvolts."""
    data = synthetic.recording(EACH_STAGE, number=number).signals[index].data
    return np.asarray(data, np.float64).reshape(100, 3000)


def band_power(epochs: NDArray[np.float64], low_hz: float, high_hz: float) -> float:
    frequency, density = scipy.signal.welch(epochs, 100, nperseg=1000)
    return float(density[:, (frequency >= low_hz) & (frequency < high_hz)].sum(axis=1).mean())


def spectral_subject(*, seed: int, number: int, shift: float) -> Subject:
    """Log band powers of the EEG after the filter and the scaling that ingest applies."""
    stages = draw_stages(np.random.default_rng((seed, number, 1)), 240)
    edf = synthetic.recording(stages, shift=shift, seed=seed, number=number)
    flat = np.zeros(240, np.bool_)
    raw = preprocess.cut_epochs(edf.signals[0].data, 100, 0, 240)
    clean = preprocess.clean_epochs(raw, flat, 100, (0.3, 35.0))
    clean /= preprocess.robust_scale(clean, flat, "EEG").spread_uv
    frequency, density = scipy.signal.welch(clean, 100, nperseg=400)
    bands = [density[:, (frequency >= low) & (frequency < high)].sum(1) for low, high in BANDS_HZ]
    return Subject(features=np.log(np.stack(bands, axis=1)), stages=stages)


def joined(subjects: Sequence[Subject]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    return (
        np.concatenate([subject.features for subject in subjects]),
        np.concatenate([subject.stages for subject in subjects]),
    )
