"""Made-up recordings: same seed same bytes, stages that can be told apart but not trivially, a shift that counts."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edfio
import mne
import numpy as np
import pytest

from orchestrator.cli.main import main
from orchestrator.config.montage import BUNDLED, MontageFile, load_montage
from orchestrator.errors import ConfigError, SetupError
from orchestrator.psg import convert, synthetic
from orchestrator.psg.dataset import load_dataset
from orchestrator.psg.recordings import find_recordings
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
    **options: Any,
) -> list[str]:
    return synthetic.write_domain(
        str(folder), n_subjects=n_subjects, shift=shift, seed=seed, hours=hours, **options
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

    @pytest.mark.heavy
    def test_files_of_a_smaller_domain_are_files_of_a_larger_one(self, tmp_path: Path) -> None:
        names = write(tmp_path / "two", n_subjects=2)
        write(tmp_path / "three", n_subjects=3)
        for name in names:
            assert (tmp_path / "two" / name).read_bytes() == (
                tmp_path / "three" / name
            ).read_bytes()

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        ("shift", "seed", "number", "hours", "digest"),
        [
            (0.0, 1, 2, 0.5, "8fa6b0c613708840fc0e94aee2a6d71f624b19fc34989e394161fbe67cbc2a8c"),
            (1.5, 4, 1, 0.3, "13d214a5f282a50a19e16d75ab108c442168eac71eba335e26973e1c38085776"),
            (0.5, 2, 1, 0.0084, "f691a799d89154262000d0200ebd350fea4114d05c542914a7229d705ac53eef"),
        ],
    )
    def test_recordings_of_the_basic_montage_stay_what_they_were(
        self, tmp_path: Path, shift: float, seed: int, number: int, hours: float, digest: str
    ) -> None:
        """By the program before it knew montages: findings on made-up data are compared over versions."""
        name = write(tmp_path, n_subjects=number, shift=shift, seed=seed, hours=hours)[-1]
        signals = edfio.read_edf(tmp_path / name).signals
        assert hashlib.sha256(b"".join(s.digital.tobytes() for s in signals)).hexdigest() == digest

    def test_another_montage_replaces_the_file_and_keeps_name_subject_and_hypnogram(
        self, tmp_path: Path
    ) -> None:
        (name,) = write(tmp_path)
        before = edfio.read_edf(tmp_path / name)
        montage = load_montage("isruc-s3")
        assert write(tmp_path, montage=montage) == [name]
        assert [path.name for path in tmp_path.iterdir()] == [name]
        after = edfio.read_edf(tmp_path / name)
        assert after.labels == tuple(
            label for labels in montage.labels.values() for label in labels
        )
        assert after.patient.code == before.patient.code
        assert after.annotations == before.annotations

    @pytest.mark.heavy
    @pytest.mark.parametrize("montage", ["isruc-s3", "mass-ss3"])
    def test_data_set_files_of_other_montages_read_them(
        self, tmp_path: Path, root: Path, montage: str
    ) -> None:
        write(tmp_path, montage=load_montage(montage))
        dataset = load_dataset(root / "datasets" / f"synthetic-{montage}.yaml")
        (source,) = find_recordings(dataset, Store.open(str(tmp_path)))
        content = (tmp_path / source.path).read_bytes()
        table = convert.epoch_table(source, convert.Settings.of(dataset), content, None)
        summary = convert.summary(table)
        assert summary["n_usable"] == 12
        assert summary["n_clipped"] == 0
        assert not summary["implausible_amplitude"]
        assert not summary["substituted"]
        assert not summary["missing_modalities"]

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

    @pytest.mark.heavy
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

    @pytest.mark.heavy
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

    @pytest.mark.heavy
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
            ({"spread": -0.5}, "spread is -0.5; allowed: 0 to 2 at a shift of 0"),
            ({"spread": 2.5}, "spread is 2.5; allowed: 0 to 2"),
            ({"spread": 1.5, "shift": 2.0}, "spread is 1.5; allowed: 0 to 1 at a shift of 2"),
            ({"dominance": {"eeg": -1.0}}, "dominance of eeg is -1; allowed: 0 to 3"),
            ({"dominance": {"emg": float("nan")}}, "dominance of emg is nan; allowed"),
        ],
    )
    def test_a_value_out_of_range(
        self, tmp_path: Path, wrong: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            write(tmp_path / "out", **wrong)
        assert not (tmp_path / "out").exists()

    def test_dominance_of_a_modality_that_the_montage_does_not_have(self, tmp_path: Path) -> None:
        montage = named(eeg=["Cz"])
        with pytest.raises(ConfigError, match=r"'ecg' has no effect: montage 'named' has eeg\."):
            write(tmp_path / "out", montage=montage, dominance={"ecg": 0.5})

    @pytest.mark.parametrize("label", ["EEG C3 against M2", "EEG µ"])
    def test_a_name_that_is_no_label_of_an_edf_channel(self, tmp_path: Path, label: str) -> None:
        with pytest.raises(ConfigError, match="cannot name a channel of an EDF file"):
            write(tmp_path / "out", montage=named(eeg=[label]))
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("taken", encoding="utf-8")
        with pytest.raises(SetupError, match=r"recordings cannot be written: .*file"):
            write(tmp_path / "file" / "out")

    @pytest.mark.parametrize(
        ("arguments", "exit_code"),
        [
            (["--subjects", "0"], 2),
            (["--hours", "-1"], 2),
            (["--shift", "-1"], 2),
            (["--spread", "9"], 2),
            (["--montage", "isruc"], 2),
            (["--dominance", "eeg"], 2),
            (["--dominance", "leg=1"], 2),
            (["--dominance", "eeg=x"], 2),
            (["--dominance", "eeg=0", "--dominance", "eeg=1"], 2),
            ([], 7),
        ],
    )
    def test_the_command_says_so_in_a_paragraph(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        exit_code: int,
    ) -> None:
        (tmp_path / "file").write_text("taken", encoding="utf-8")
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


def test_the_command_takes_a_montage_of_ones_own_and_says_how_to_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ours.yaml").write_text(
        "name: ours\ntitle: x\nchannels: {eeg: [Cz, Oz], eog: [E1]}\n", encoding="utf-8"
    )
    options = ["--subjects", "1", "--hours", "0.05", "--spread", "0.5", "--dominance", "eeg=0"]
    with pytest.raises(SystemExit) as exit_info:
        main(["synth", str(tmp_path / "a"), *options, "--montage", str(tmp_path / "ours.yaml")])
    assert exit_info.value.code == 0
    assert (
        f"with the channels of {tmp_path / 'ours.yaml'} describes them" in capsys.readouterr().out
    )
    edf = edfio.read_edf(tmp_path / "a" / "shift0-seed1-01.edf")
    assert edf.labels == ("Cz", "Oz", "E1")
    # The same by the function that the command calls.
    (name,) = write(
        tmp_path / "b",
        hours=0.05,
        montage=load_montage(str(tmp_path / "ours.yaml")),
        dominance={"eeg": 0.0},
        spread=0.5,
    )
    assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


@pytest.mark.parametrize("montage", ["isruc-s3", "mass-ss3"])
def test_the_command_names_the_dataset_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], root: Path, montage: str
) -> None:
    with pytest.raises(SystemExit):
        main(["synth", str(tmp_path), "--subjects", "1", "--hours", "0.01", "--montage", montage])
    file = f"datasets/synthetic-{montage}.yaml"
    assert f"{file} describes them" in capsys.readouterr().out
    assert (root / file).exists()


def test_help_names_the_bundled_montages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synth", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert f"Channels: {', '.join(BUNDLED)}, or a montage FILE.yaml." in words


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

    @pytest.mark.heavy
    def test_no_signal_reaches_the_limits_or_misses_a_value(self) -> None:
        for number in range(1, 7):
            signals = synthetic.recording(EACH_STAGE, number=number).signals
            for signal, limit_uv in zip(signals, synthetic.LIMITS_UV.values(), strict=True):
                assert len(signal.data) == 100 * 3000
                assert np.abs(signal.data).max() < 0.9 * limit_uv
                assert np.ptp(signal.data.reshape(100, 3000), axis=1).min() > 10


@pytest.mark.heavy
def test_eight_subjects_of_two_hours_take_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    write(tmp_path, n_subjects=8, hours=2.0)
    assert time.process_time() - start < 12  # 2.2 s on the machine it was written on


def named(**channels: list[str]) -> MontageFile:
    """Return a montage of one's own."""
    listed = {modality: tuple(names) for modality, names in channels.items()}
    return MontageFile.model_validate({"name": "named", "title": "x", "channels": listed})
