"""Annotations and codes -> stages: real hypnograms against MNE, and each thing that can be wrong with one."""

from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest

from orchestrator.errors import RecordingError
from orchestrator.psg.edf import Annotation, read_annotations
from orchestrator.psg.epoch_grid import BeyondSignal
from orchestrator.psg.hypnogram import Hypnogram, from_annotations, from_codes
from trainables.stages import ANNOTATION_STAGES, UNSCORED

HYPNOGRAMS = (
    *("SC4001EC", "SC4002EC", "SC4011EH", "SC4012EC", "SC4021EH", "SC4022EJ", "SC4031EC"),
    *("SC4032EP", "SC4041EC", "SC4042EC", "ST7011JP", "ST7012JP", "ST7021JM", "ST7022JM"),
)
CODES = {"0": 0, "1": 4, "2": 1, "3": 2, "4": 3, "5": 3, "6": -1}


def hypnogram(
    marks: Sequence[tuple[float, float | None, str]], duration_s: float, *, trim: bool = False
) -> Hypnogram:
    annotations = [Annotation(onset_s=o, duration_s=d, text=t) for o, d, t in marks]
    beyond: BeyondSignal = "trim" if trim else "quarantine"
    return from_annotations(annotations, ANNOTATION_STAGES, duration_s, beyond_signal=beyond)


def scored(*marks: tuple[float, float | None, str]) -> list[tuple[float, float | None, str]]:
    return [(onset, duration, f"Sleep stage {stage}") for onset, duration, stage in marks]


def refused(
    marks: Sequence[tuple[float, float | None, str]], duration_s: float = 300.0
) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        hypnogram(marks, duration_s)
    return caught.value


# Real ones


def test_all_real_hypnograms_are_covered(test_data: Path) -> None:
    found = sorted(path.name for path in (test_data / "sleep-edf-hypnograms").iterdir())
    assert found == [f"{name}-Hypnogram.edf" for name in HYPNOGRAMS]


@pytest.mark.parametrize("name", HYPNOGRAMS)
def test_stage_counts_of_a_real_hypnogram_equal_those_through_mne(
    test_data: Path, name: str
) -> None:
    path = test_data / "sleep-edf-hypnograms" / f"{name}-Hypnogram.edf"
    stage_of = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4}
    expected = np.zeros(5, int)
    end_s, last_scored_s = 0.0, 0.0
    for mark in mne.read_annotations(path):
        end_s = max(end_s, mark["onset"] + mark["duration"])
        letter = mark["description"].removeprefix("Sleep stage ")
        if letter in stage_of:
            expected[stage_of[letter]] += round(mark["duration"] / 30)
            last_scored_s = mark["onset"] + mark["duration"]
        else:
            assert letter in {"?", "Movement time"}
    annotations = read_annotations(path.read_bytes(), path.name)

    # A signal as long as the hypnogram, as in the published recordings or longer.
    whole = from_annotations(annotations, ANNOTATION_STAGES, end_s)
    assert whole.onset_s == 0
    assert len(whole.stages) == end_s // 30
    np.testing.assert_array_equal(
        np.bincount(whole.stages[whole.stages >= 0], minlength=5), expected
    )

    # A signal that ends where the scoring does: the unscored run behind it does not matter.
    short = from_annotations(annotations, ANNOTATION_STAGES, last_scored_s)
    np.testing.assert_array_equal(short.stages, whole.stages[: len(short.stages)])
    np.testing.assert_array_equal(
        np.bincount(short.stages[short.stages >= 0], minlength=5), expected
    )
    assert (whole.stages[len(short.stages) :] == UNSCORED).all()

    # One epoch less of signal than was scored matters.
    with pytest.raises(RecordingError, match="1 scored epochs lie after the end"):
        from_annotations(annotations, ANNOTATION_STAGES, last_scored_s - 30)


def test_most_real_hypnograms_end_with_an_unscored_run(test_data: Path) -> None:
    """Else the test above would not test what happens to one."""
    ends = []
    for path in (test_data / "sleep-edf-hypnograms").iterdir():
        ends.append(read_annotations(path.read_bytes(), path.name)[-1].text)
    assert ends.count("Sleep stage ?") >= 10


# Annotations


def test_a_hand_scored_night() -> None:
    night = hypnogram(
        [
            (0, None, "Lights off"),
            *scored((0, 60, "W"), (60, 30, "1"), (90, 30, "N2"), (120, 30, "3"), (150, 30, "4")),
            (155, 12, "Obstructive apnoea"),
            *scored((180, 30, "R"), (210, 30, "?")),
            (240, 30, "Movement time"),
            *scored((270, 30, "W")),
        ],
        300,
    )
    assert night.onset_s == 0
    assert night.stages.dtype == np.int8
    assert night.stages.tolist() == [0, 0, 1, 2, 3, 3, 4, -1, -1, 0]


def test_annotations_need_not_be_in_order_and_holes_are_unscored() -> None:
    night = hypnogram(scored((120, 30, "R"), (0, 30, "W"), (60, 30, "2")), 180)
    assert night.stages.tolist() == [0, -1, 2, -1, 4, -1]


def test_the_grid_starts_at_the_first_stage() -> None:
    night = hypnogram(scored((12.5, 30, "W"), (42.5, 60, "2")), 120)
    assert night.onset_s == 12.5
    # 107.5 s of signal are left: three whole epochs.
    assert night.stages.tolist() == [0, 2, 2]


def test_without_a_duration_a_stage_lasts_until_the_next_one_or_the_end() -> None:
    marks = scored((0, None, "W"), (90, None, "2"), (150, 0, "R"))
    assert hypnogram(marks, 220).stages.tolist() == [0, 0, 0, 2, 2, 4, 4]
    # A rounded onset must not cost an epoch.
    marks = scored((0, None, "W"), (59.995, None, "2"))
    assert hypnogram(marks, 90).stages.tolist() == [0, 0, 2]


@pytest.mark.parametrize("trim", [False, True])
def test_an_unfinished_last_epoch_is_dropped_scored_or_not(trim: bool) -> None:
    for duration_s, n_epochs in [(119.99, 3), (120, 4), (149.9, 4), (149.9999999, 5)]:
        n_marks = int(duration_s // 30) + 1 if duration_s % 30 else int(duration_s // 30)
        marks = scored(*((30.0 * i, 30.0, "2") for i in range(n_marks)))
        assert hypnogram(marks, duration_s, trim=trim).stages.tolist() == [2] * n_epochs
    # The same, where the last stage has no end of its own.
    marks = scored((0, 30, "W"), (30, None, "2"))
    assert hypnogram(marks, 50, trim=trim).stages.tolist() == [0]


def test_stages_after_the_signal_are_refused_or_trimmed() -> None:
    marks = scored((0, 60, "W"), (60, 90, "2"), (150, 60, "R"))
    error = refused(marks, 120)
    assert error.reason == "annotations_beyond_signal"
    for part in ("3 scored epochs", "7 epochs are annotated", "120 s", "holds 4", "trim"):
        assert part in error.message
    assert hypnogram(marks, 120, trim=True).stages.tolist() == [0, 0, 2, 2]
    # A cut epoch is unfinished; the two behind it are beyond.
    assert "2 scored epochs" in refused(marks, 125).message


def test_a_last_stage_without_duration_may_lie_beyond_as_well() -> None:
    marks = scored((0, 30, "W"), (60, None, "R"))
    assert refused(marks, 60).reason == "annotations_beyond_signal"
    assert hypnogram(marks, 60, trim=True).stages.tolist() == [0, -1]


def test_unscored_stretches_after_the_signal_do_not_matter() -> None:
    marks = [*scored((0, 60, "W"), (60, 3000, "?")), (3060.0, 30.0, "Movement time")]
    assert hypnogram(marks, 100).stages.tolist() == [0, 0, -1]


def test_off_the_grid() -> None:
    for marks in (
        scored((0, 30, "W"), (31, 30, "2")),
        scored((0, 20, "W")),
        scored((0, 30, "W"), (45, None, "2")),
    ):
        error = refused(marks)
        assert error.reason == "off_grid"
        assert "30-s grid" in error.message
    assert "at 31 s for 30 s" in refused(scored((0, 30, "W"), (31, 30, "2"))).message
    # Programs round onsets; a hundredth of a second is within that.
    night = hypnogram(scored((0.004, 30, "W"), (30.0, 30.003, "2")), 60.1)
    assert night.stages.tolist() == [0, 2]


def test_overlap_is_refused_where_it_contradicts() -> None:
    error = refused(scored((0, 90, "W"), (60, 30, "2")))
    assert error.reason == "overlap"
    assert "epoch 2 (60 s)" in error.message
    assert hypnogram(scored((0, 90, "W"), (60, 30, "W")), 90).stages.tolist() == [0, 0, 0]


def test_before_the_signal() -> None:
    error = refused(scored((-30, 60, "W")))
    assert error.reason == "before_signal"
    assert "30 s before" in error.message
    # A rounding error is none; and the grid cannot start before the first value.
    night = hypnogram(scored((-0.005, 60, "W")), 60)
    assert (night.onset_s, night.stages.tolist()) == (0, [0, 0])


def test_what_reads_like_a_stage_must_be_known() -> None:
    for text in ("Sleep stage X", "sleep stage 2", "Sleep stage W "):
        error = refused([*scored((0, 30, "W")), (30, 30, text)])
        assert error.reason == "unknown_label"
        assert repr(text) in error.message
        assert "`labels`" in error.message
    labels = {**ANNOTATION_STAGES, "Sleep stage X": UNSCORED}
    marks = [Annotation(onset_s=0, duration_s=60, text="Sleep stage X")]
    assert from_annotations(marks, labels, 60).stages.tolist() == [-1, -1]


def test_no_stage_at_all() -> None:
    error = refused([(0, 30, "Wake"), (30, None, "apnoea")])
    assert error.reason == "no_stages"
    assert "'Wake', 'apnoea'" in error.message
    assert refused([]).message.startswith("no annotation is a sleep stage; texts found: none")


def test_a_signal_shorter_than_an_epoch() -> None:
    assert refused(scored((0, 30, "W")), 29).reason == "too_short"


# Codes


def codes(
    text: str, duration_s: float, *, epochs_per_code: int = 1, trim: bool = False
) -> list[int]:
    beyond: BeyondSignal = "trim" if trim else "quarantine"
    night = from_codes(
        text, CODES, duration_s, epochs_per_code=epochs_per_code, beyond_signal=beyond
    )
    assert night.onset_s == 0
    stages: list[int] = night.stages.tolist()
    return stages


def test_codes_one_a_line() -> None:
    assert codes("0\n1\n2\n3\n4\n5\n6\n", 210) == [0, 4, 1, 2, 3, 3, -1]
    # Carriage returns, blank lines and blanks around a code are no codes.
    assert codes("0\r\n 3 \r\n\r\n5\r\n", 90) == [0, 2, 3]
    # The scorer stopped early.
    assert codes("0\n3\n", 120) == [0, 2, -1, -1]


def test_codes_of_longer_epochs() -> None:
    assert codes("0\n\n3\n", 120, epochs_per_code=2) == [0, 0, 2, 2]


def test_codes_beyond_the_signal() -> None:
    assert codes("0\n3\n3\n", 75) == [0, 2]
    assert codes("0\n3\n6\n6\n", 60) == [0, 2]
    assert codes("0\n3\n3\n3\n", 75, trim=True) == [0, 2]
    with pytest.raises(RecordingError, match="1 scored epochs lie after the end"):
        codes("0\n3\n3\n3\n", 75)


@pytest.mark.parametrize(
    ("text", "reason", "part"),
    [
        ("0\n\n8\n", "unknown_label", "line 3 of the stage file is '8'; allowed: 0, 1, 2"),
        ("0 3\n", "unknown_label", "line 1 of the stage file is '0 3'"),
        ("\n \n", "no_stages", "empty"),
    ],
)
def test_codes_that_cannot_be_read(text: str, reason: str, part: str) -> None:
    with pytest.raises(RecordingError) as caught:
        codes(text, 300, epochs_per_code=2)
    assert caught.value.reason == reason
    assert part in caught.value.message
