"""What the stage does to made-up signals: what the textbook says; stages can be told apart, less well elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import edfio
import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.alignment.emd import emd
from orchestrator.config.montage import MontageFile
from orchestrator.psg import preprocess, synthetic
from orchestrator.psg.synthetic_hypnogram import draw_stages
from orchestrator.psg.synthetic_traits import draw_traits
from trainables.stages import Stage

BANDS_HZ = ((0.5, 4), (4, 8), (8, 12), (12, 15), (15, 30))
EACH_STAGE = np.repeat(np.arange(5, dtype=np.int8), 20)
EEG = MontageFile.model_validate(
    {"name": "eeg", "title": "The EEG of the basic montage", "channels": {"eeg": ["EEG C3-M2"]}}
)


class TestPhysiology:
    """What the textbook says of a stage is there, measured on the written signals by Welch's method."""

    @pytest.mark.heavy
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

    @pytest.mark.heavy
    def test_alpha_lies_where_the_trait_says(self) -> None:
        for number, shift in ((1, 0.0), (2, 0.0), (3, 1.0)):
            edf = synthetic.recording([0] * 40, number=number, shift=shift, montage=EEG)
            wake = edf.signals[0].data
            frequency, density = scipy.signal.welch(wake, 100, nperseg=400)
            near = (frequency > 6) & (frequency < 13)
            peak_hz = frequency[near][np.argmax(density[near])]
            assert abs(peak_hz - draw_traits(1, number, shift).alpha_hz) < 0.6

    @pytest.mark.heavy
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


@pytest.mark.heavy
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
        position = [draw_traits(1, number, 0.0).position for number in range(1, 7)]
        assert np.corrcoef(distance, position)[0, 1] < -0.8


def of(stage: Stage) -> NDArray[np.bool_]:
    return np.asarray(np.equal(EACH_STAGE, stage))


@cache
def each_stage(number: int) -> edfio.Edf:
    return synthetic.recording(EACH_STAGE, number=number)


def channel(number: int, index: int) -> NDArray[np.float64]:
    """Return (100, 3000): twenty epochs of each stage in turn, in microvolts."""
    data = each_stage(number).signals[index].data
    return np.asarray(data, np.float64).reshape(100, 3000)


def band_power(epochs: NDArray[np.float64], low_hz: float, high_hz: float) -> float:
    frequency, density = scipy.signal.welch(epochs, 100, nperseg=1000)
    return float(density[:, (frequency >= low_hz) & (frequency < high_hz)].sum(axis=1).mean())


def spectral_subject(*, seed: int, number: int, shift: float) -> Subject:
    """Log band powers of the EEG after the filter and the scaling that ingest applies."""
    stages = draw_stages(np.random.default_rng((seed, number, 1)), 240)
    edf = synthetic.recording(stages, shift=shift, seed=seed, number=number, montage=EEG)
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
