"""Several channels of a modality: related as their places say; and how much of the stage each modality shows."""

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.config.fields import MODALITIES, Modality
from orchestrator.config.montage import MontageFile, load_montage
from orchestrator.psg import synthetic
from orchestrator.psg.synthetic_hypnogram import draw_stages
from trainables.stages import Stage

FloatArray = NDArray[np.float64]

EACH_STAGE = np.repeat(np.arange(5, dtype=np.int8), 20)
BANDS_HZ = ((0.3, 0.8), (0.8, 2), (2, 4), (4, 8), (8, 12), (12, 15), (15, 30), (30, 45))
HEART_HZ = tuple((0.6 + 0.1 * i, 0.7 + 0.1 * i) for i in range(14))


@cache
def channels(montage: str, number: int = 1) -> dict[str, FloatArray]:
    """Label to (100, 3000): twenty epochs of each stage in turn, in microvolts."""
    edf = synthetic.recording(EACH_STAGE, number=number, montage=load_montage(montage))
    return {signal.label: signal.data.reshape(100, 3000) for signal in edf.signals}


def of(stage: Stage) -> NDArray[np.bool_]:
    return np.asarray(np.equal(EACH_STAGE, stage))


def log_powers(epochs: FloatArray, bands_hz: tuple[tuple[float, float], ...]) -> FloatArray:
    """(n_epochs, n_bands), by Welch's method."""
    frequency, density = scipy.signal.welch(epochs, 100, nperseg=1000)
    inside = [(frequency > low - 1e-6) & (frequency < high - 1e-6) for low, high in bands_hz]
    return np.stack([np.log(density[:, band].sum(axis=1)) for band in inside], axis=1)


def power(epochs: FloatArray, low_hz: float, high_hz: float) -> float:
    return float(np.exp(log_powers(epochs, ((low_hz, high_hz),))).mean())


def digital(montage: MontageFile, dominance: Mapping[Modality, float]) -> dict[Modality, bytes]:
    """Modality to the values of all of its channels."""
    edf = synthetic.recording([0, 1, 2, 3, 4], montage=montage, dominance=dominance)
    of_label = {signal.label: signal.digital.tobytes() for signal in edf.signals}
    return {
        m: b"".join(of_label[label] for label in labels) for m, labels in montage.labels.items()
    }


class TestPlaces:
    @pytest.mark.heavy
    def test_slow_waves_are_frontal_spindles_central_and_alpha_occipital(self) -> None:
        def strength(stage: Stage, low_hz: float, high_hz: float) -> list[float]:
            return [
                float(
                    np.mean(
                        [
                            power(
                                channels("mass-ss3", number)[f"EEG {site}-LER"][of(stage)],
                                low_hz,
                                high_hz,
                            )
                            for number in (1, 2)
                            for site in sites
                        ]
                    )
                )
                for sites in (("Fp1", "Fp2"), ("C3", "Cz", "C4"), ("O1", "Oz", "O2"))
            ]

        front, middle, back = strength(Stage.N3, 0.6, 2)
        assert front > middle > back
        front, middle, back = strength(Stage.W, 8, 12)
        assert front < middle < back
        front, middle, back = strength(Stage.N2, 12.5, 14)
        assert middle > 1.5 * max(front, back)

    @pytest.mark.heavy
    def test_blinks_are_seen_in_front_only(self) -> None:
        wake = {label: epochs[of(Stage.W)] for label, epochs in channels("mass-ss3").items()}
        eye = wake["EOG Left Horiz"] - wake["EOG Right Horiz"]
        blinks = eye > 200
        assert blinks.any()
        front, back = (wake[f"EEG {site}-LER"] for site in ("Fp1", "O1"))
        assert front[blinks].mean() - front.mean() > 40
        assert abs(back[blinks].mean() - back.mean()) < 5

    @pytest.mark.heavy
    @pytest.mark.parametrize(
        ("montage", "left", "right"),
        [
            ("isruc-s3", "LOC-A2", "ROC-A1"),
            ("mass-ss3", "EOG Left Horiz", "EOG Right Horiz"),
        ],
    )
    def test_the_eyes_move_in_opposite_directions(
        self, montage: str, left: str, right: str
    ) -> None:
        for stage in (Stage.REM, Stage.N1):
            a, b = (channels(montage)[label][of(stage)].ravel() for label in (left, right))
            assert np.corrcoef(a, b)[0, 1] < -0.5

    @pytest.mark.heavy
    def test_muscles_share_their_tone_and_not_their_noise(self) -> None:
        chin = [channels("mass-ss3")[f"EMG Chin{i}"] for i in (1, 2, 3)]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert abs(np.corrcoef(chin[i].ravel(), chin[j].ravel())[0, 1]) < 0.02
            tone = [np.log(muscle.std(axis=1)) for muscle in (chin[i], chin[j])]
            assert np.corrcoef(*tone)[0, 1] > 0.95

    @pytest.mark.heavy
    def test_no_two_eeg_channels_are_alike(self) -> None:
        labels = load_montage("mass-ss3").labels["eeg"]
        eeg = np.stack([channels("mass-ss3")[label].ravel() for label in labels])
        correlation = np.asarray(np.corrcoef(eeg))
        np.fill_diagonal(correlation, 0.5)
        assert correlation.min() > 0.2
        assert correlation.max() < 0.95

    @pytest.mark.heavy
    def test_c3_is_the_same_night_in_every_montage(self) -> None:
        night = [channels(montage)[label].ravel() for montage, label in (
            ("basic", "EEG C3-M2"), ("isruc-s3", "C3-A2"), ("mass-ss3", "EEG C3-LER"),
        )]  # fmt: skip
        assert np.corrcoef(night).min() > 0.95

    @pytest.mark.heavy
    def test_names_that_say_nothing_make_channels_that_differ(self) -> None:
        names = {"eeg": ("one", "two"), "eog": ("three",), "ecg": ("four", "five")}
        montage = MontageFile.model_validate({"name": "n", "title": "x", "channels": names})
        signals = synthetic.recording(EACH_STAGE, montage=montage).signals
        one, two, _, four, five = (signal.data for signal in signals)
        assert np.corrcoef(one, two)[0, 1] < 0.95
        assert np.corrcoef(four, five)[0, 1] > 0.9
        assert five.std() == pytest.approx(0.8 * four.std(), rel=0.1)


class TestDominance:
    @pytest.mark.heavy
    @pytest.mark.parametrize("modality", MODALITIES)
    def test_it_changes_its_own_modality_alone(self, modality: Modality) -> None:
        montage = load_montage("isruc-s3")
        plain = digital(montage, {})
        for factor in (0.0, 0.5, 2.0):
            changed = digital(montage, {modality: factor})
            assert {m for m in MODALITIES if changed[m] != plain[m]} == {modality}

    def test_one_is_the_default(self) -> None:
        montage = load_montage("isruc-s3")
        assert digital(montage, dict.fromkeys(MODALITIES, 1.0)) == digital(montage, {})

    @pytest.mark.heavy
    def test_it_is_an_exponent_on_ratios_of_amplitudes(self) -> None:
        """Of the muscle, whose amplitude is one number for each stage, twitches apart."""

        def log_ratio(factor: float) -> float:
            stages = np.repeat([Stage.W, Stage.N2], 60)
            edf = synthetic.recording(stages, dominance={"emg": factor}, spread=0.0)
            strength = edf.signals[2].data.reshape(120, 3000).std(axis=1)
            return float(np.log(np.median(strength[:59]) / np.median(strength[61:])))

        once = log_ratio(1.0)
        assert log_ratio(0.0) == pytest.approx(0, abs=0.1)
        assert log_ratio(0.5) == pytest.approx(0.5 * once, rel=0.35)
        assert log_ratio(2.0) == pytest.approx(2 * once, rel=0.35)

    @pytest.mark.heavy
    def test_nothing_clips_at_its_largest(self) -> None:
        montage = load_montage("isruc-s3")
        dominance = dict.fromkeys(MODALITIES, synthetic.LARGEST_DOMINANCE)
        limits_uv = [synthetic.LIMITS_UV[m] for m, labels in montage.labels.items() for _ in labels]
        for number in (1, 2, 3):
            edf = synthetic.recording(
                EACH_STAGE, number=number, montage=montage, dominance=dominance
            )
            for signal, limit_uv in zip(edf.signals, limits_uv, strict=True):
                assert (np.abs(signal.data) > 0.99 * limit_uv).mean() < 1e-4


class Classifier:
    """Stages of made-up subjects by log band powers of one modality, learnt from other subjects."""

    def __init__(self, montage: MontageFile | None = None, **options: object) -> None:
        montage = montage or load_montage("isruc-s3")
        self.subjects = [subject(number, montage, **options) for number in range(1, 13)]

    def accuracy(self, modality: Modality) -> float:
        """On four subjects that the other eight were not."""
        x, y = ([x[modality] for x, _ in self.subjects], [y for _, y in self.subjects])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        model.fit(np.concatenate(x[:8]), np.concatenate(y[:8]))
        return float(model.score(np.concatenate(x[8:]), np.concatenate(y[8:])))

    @property
    def majority(self) -> float:
        """Of always answering the most frequent stage of those four."""
        stages = np.concatenate([y for _, y in self.subjects[8:]])
        return float(np.bincount(stages).max() / len(stages))


def subject(
    number: int, montage: MontageFile, **options: object
) -> tuple[dict[Modality, FloatArray], NDArray[np.int8]]:
    """Features of each modality, and stages. Signals are scaled as ingest does: the gain says nothing."""
    stages = draw_stages(np.random.default_rng((1, number, 1)), 60)
    edf = synthetic.recording(stages, number=number, montage=montage, **options)  # type: ignore[arg-type]
    of_label = {signal.label: signal.data.reshape(60, 3000) for signal in edf.signals}

    def features(modality: Modality, label: str) -> FloatArray:
        epochs = of_label[label]
        scaled = epochs / np.subtract(*np.percentile(epochs, [75, 25]))
        return log_powers(scaled, HEART_HZ if modality == "ecg" else BANDS_HZ)

    return {
        m: np.concatenate([features(m, label) for label in labels], axis=1)
        for m, labels in montage.labels.items()
    }, stages


@pytest.fixture(scope="module")
def plain() -> Classifier:
    return Classifier()


@pytest.mark.heavy
class TestInformation:
    """How much of the stage a linear classifier finds in each modality, in subjects that it does not know."""

    def test_eeg_shows_most_and_every_other_modality_something(self, plain: Classifier) -> None:
        found = {modality: plain.accuracy(modality) for modality in MODALITIES}
        assert found["eeg"] == max(found.values())
        assert found["eeg"] < 1
        for modality in ("eog", "emg", "ecg"):
            assert found[modality] > plain.majority + 0.05, found

    def test_dominance_0_takes_it_away(self) -> None:
        blind = Classifier(dominance=dict.fromkeys(MODALITIES, 0.0))
        for modality in MODALITIES:
            assert blind.accuracy(modality) < blind.majority + 0.05, modality

    def test_dominance_moves_it_both_ways(self, plain: Classifier) -> None:
        less, more = (
            Classifier(dominance=dict.fromkeys(MODALITIES, factor)) for factor in (0.4, 2.0)
        )
        for modality in MODALITIES:
            accuracy = [model.accuracy(modality) for model in (less, plain, more)]
            assert accuracy == sorted(accuracy), modality
            assert accuracy[0] < accuracy[2]

    def test_spread_makes_subjects_easier_to_tell_apart(self) -> None:
        """Which of twelve an epoch of the second half of the night is from, learnt from the first half."""

        eeg = {"name": "eeg", "title": "x", "channels": {"eeg": ["EEG C3-M2"]}}

        def separability(spread: float) -> float:
            montage = MontageFile.model_validate(eeg)
            x = [x["eeg"] for x, _ in Classifier(montage, spread=spread).subjects]
            who = np.repeat(np.arange(12), 30)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
            model.fit(np.concatenate([half[:30] for half in x]), who)
            return float(model.score(np.concatenate([half[30:] for half in x]), who))

        none, some, much = (separability(spread) for spread in (0.0, 1.0, 2.0))
        assert none < 1 / 12 + 0.08
        assert none + 0.15 < some < much


@pytest.mark.heavy
def test_26_channels_of_six_subjects_take_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    montage = load_montage("mass-ss3")
    synthetic.write_domain(str(tmp_path), n_subjects=6, shift=0, seed=1, hours=0.5, montage=montage)
    assert time.process_time() - start < 20  # 3 s on the machine it was written on
