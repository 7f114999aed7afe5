"""Folds: who is in them, that a killed one goes on to the same bits, and that something is learned."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from trainables.epochs import MultimodalEpochs
from trainables.errors import EpochsError, SettingsError
from trainables.fold import Fold, FoldOutcome, predict, predict_domains, train_fold
from trainables.models.featurenet import FeatureNet
from trainables.multimodal import SleepMG
from trainables.settings import (
    AdversarySettings,
    FoldSettings,
    ModulationSettings,
    NetworkSettings,
    SleepMGSettings,
)
from trainables.snapshot import Snapshot
from trainables.stages import UNSCORED, Stage
from trainables.training import Checkpoints

MakeEpochs = Callable[..., MultimodalEpochs]
ALL = tuple(Stage)


def fold_of(epochs: MultimodalEpochs, declared: tuple[Stage, ...] = ALL) -> Fold:
    """Subject 0 is tested, 1 validates, the others are learned from."""
    rows = np.arange(len(epochs.stages))
    return Fold.of(epochs, rows[epochs.subject > 1], rows[epochs.subject == 1], declared)


def settings(**training: Any) -> SleepMGSettings:
    return SleepMGSettings(
        adversary=AdversarySettings(grl_weight=0.1, schedule="dann"),
        modulation=ModulationSettings(score_memory=0.5),
        training=FoldSettings(
            **{"n_passes": 3, "batch_size": 8, "learning_rate": 1e-3, **training}
        ),
    )


def test_domains_are_the_training_subjects_numbered_from_zero(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs(n_subjects=5)
    epochs = replace(epochs, subject=np.array([7, 3, 9, 4, 5])[epochs.subject])
    rows = np.arange(len(epochs.stages))
    train, validation = rows[np.isin(epochs.subject, [9, 4, 5])], rows[epochs.subject == 3]
    fold = Fold.of(epochs, train, validation, ALL)
    assert fold.n_domains == 3
    assert {(s, d) for s, d in zip(epochs.subject[fold.train], fold.domain, strict=True)} == {
        (4, 0),
        (5, 1),
        (9, 2),
    }
    groups = np.where(epochs.subject == 9, 1, 0)
    assert Fold.of(epochs, train, validation, ALL, groups).n_domains == 2


def test_unscored_and_undeclared_epochs_are_left_out(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    stages = epochs.stages.copy()
    stages[-1] = UNSCORED
    fold = fold_of(replace(epochs, stages=stages), (Stage.W, Stage.REM))
    assert set(stages[fold.train]) == set(stages[fold.validation]) == {Stage.W, Stage.REM}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, of: np.where((s == Stage.REM) & (of > 1), UNSCORED, s), "has stage REM"),
        (lambda s, of: np.where(of == 1, UNSCORED, s), "no validation epoch"),
    ],
)
def test_folds_that_cannot_be_trained_are_refused(
    make_epochs: MakeEpochs, change: Any, message: str
) -> None:
    epochs = make_epochs()
    with pytest.raises(EpochsError, match=message):
        fold_of(replace(epochs, stages=change(epochs.stages, epochs.subject)))


def test_a_subject_on_both_sides_is_refused(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    rows = np.arange(len(epochs.stages))
    with pytest.raises(EpochsError, match=r"subjects \[1\] are in training and validation"):
        Fold.of(epochs, rows[epochs.subject > 0], rows[epochs.subject == 1], ALL)


def test_one_training_subject_and_one_modality_are_refused(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs(n_subjects=3)
    with pytest.raises(SettingsError, match="one training subject"):
        train_fold(epochs, fold_of(epochs), declared=ALL, settings=settings(), seed=1)
    epochs = make_epochs(channels={"eeg": 2})
    with pytest.raises(SettingsError, match="the only modality is eeg"):
        train_fold(epochs, fold_of(epochs), declared=ALL, settings=settings(), seed=1)


class Killed(Exception):
    """Stands for the end of the process."""


def trained(
    epochs: MultimodalEpochs, checkpoints: Checkpoints | None = None, stop_at: int = 0
) -> FoldOutcome:
    def trace(n_step: int, record: object) -> None:
        if n_step == stop_at:
            raise Killed

    return train_fold(
        epochs,
        fold_of(epochs),
        declared=ALL,
        settings=settings(),
        seed=1,
        checkpoints=checkpoints,
        trace=trace,
    )


@pytest.mark.heavy
@pytest.mark.parametrize("stop_at", [2, 4, 6])
def test_killed_and_resumed_equals_uninterrupted_to_the_last_bit(
    make_epochs: MakeEpochs, stop_at: int
) -> None:
    epochs = make_epochs()
    expected = trained(epochs)
    saved: list[bytes] = []
    with pytest.raises(Killed):
        trained(epochs, Checkpoints(save=saved.append, every_n_steps=1), stop_at)
    torch.rand(5)
    found = trained(epochs, Checkpoints(save=saved.append, resume_from=saved[-1]))
    assert found.training == expected.training
    for name, value in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value), name


@pytest.mark.heavy
def test_without_validation_it_is_the_training_of_so_many_passes_of_the_plan(
    make_epochs: MakeEpochs,
) -> None:
    epochs = make_epochs()
    fold = fold_of(epochs)
    alone = Fold.of(epochs, fold.train, None, ALL)
    assert (len(alone.validation), alone.n_domains) == (0, fold.n_domains)
    saved: list[bytes] = []
    planned = trained(epochs, Checkpoints(save=saved.append))
    assert len(saved) == 3, "one after each pass; lambda grows as the plan of three has it"
    found = train_fold(epochs, alone, declared=ALL, settings=settings(), seed=1, n_passes=2)
    assert (found.training.n_passes, found.training.best_pass) == (2, None)
    assert not found.model.training
    after_two = Snapshot.from_bytes(saved[1]).weights
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, after_two[name]), name
    losses = [metrics["loss"] for metrics in planned.training.history]
    assert [metrics["loss"] for metrics in found.training.history] == losses[:2]


def test_passes_are_fixed_where_and_only_where_nobody_validates(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    fold = fold_of(epochs)
    for given, n_passes in ((fold, 2), (replace(fold, validation=fold.validation[:0]), None)):
        with pytest.raises(SettingsError, match=f"n_passes is {n_passes}, with .* without valid"):
            train_fold(epochs, given, declared=ALL, settings=settings(), seed=1, n_passes=n_passes)


@pytest.mark.heavy
def test_stages_are_learned_and_judged_as_scikit_learn_does(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs(n_each=25, noise={"emg": 20.0})
    wanted = replace(settings(n_passes=6), modulation=ModulationSettings())
    outcome = train_fold(epochs, fold_of(epochs), declared=ALL, settings=wanted, seed=1)
    rows = np.flatnonzero(epochs.subject == 1)
    found = predict(outcome.model, epochs, rows, declared=ALL)
    best = max(entry["validation"] for entry in outcome.training.history)
    predicted = found.probability.argmax(axis=1)
    assert f1_score(epochs.stages[rows], predicted, average="macro") == pytest.approx(best)
    assert best > 0.7
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-5)
    last = outcome.training.history[outcome.training.best_pass - 1]["details"]  # type: ignore[operator]
    for modality, own in zip(epochs.modalities, found.own_stage, strict=True):
        own_f1 = f1_score(epochs.stages[rows], own, average="macro")
        assert last[f"macro_f1/{modality}"] == pytest.approx(own_f1)
    assert last["macro_f1/eeg"] > last["macro_f1/emg"]
    domains = predict_domains(outcome.model, epochs, rows)
    assert set(domains) <= {0, 1}


@pytest.mark.heavy
def test_undeclared_stages_are_never_predicted(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    declared = (Stage.W, Stage.N2, Stage.REM)
    outcome = train_fold(
        epochs, fold_of(epochs, declared), declared=declared, settings=settings(), seed=1
    )
    found = predict(outcome.model, epochs, np.arange(len(epochs.stages)), declared=declared)
    assert not found.probability[:, [Stage.N1, Stage.N3]].any()
    assert set(found.own_stage.ravel()) <= set(declared)
    assert predict(outcome.model, epochs, np.arange(0), declared=declared).probability.shape == (
        0,
        5,
    )


def test_one_group_of_all_channels_is_featurenet(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs()
    network = SleepMG(
        epochs.n_channels, settings=NetworkSettings(multimodal=False), n_times=epochs.n_times
    )
    whole = FeatureNet(n_channels=4, n_times=epochs.n_times)
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for p in whole.parameters()
    )
    # Both list extractor before head, in the order of their layers.
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), whole.parameters(), strict=True):
            theirs.copy_(ours)
    rows = np.arange(6)
    x = torch.from_numpy(np.concatenate([x[rows] for x in epochs.x.values()], axis=1))
    with torch.inference_mode():
        found = network.eval()(epochs.signals(rows)).logits
        torch.testing.assert_close(found, whole.eval()(x))


@pytest.mark.heavy
def test_without_adversary_there_is_no_discriminator(make_epochs: MakeEpochs) -> None:
    epochs = make_epochs(n_subjects=3)  # one training subject is enough then
    wanted = replace(
        settings(n_passes=1),
        adversary=AdversarySettings(enabled=False),
        modulation=ModulationSettings(mod_d=False),
    )
    outcome = train_fold(epochs, fold_of(epochs), declared=ALL, settings=wanted, seed=1)
    assert outcome.model.discriminator is None
    with pytest.raises(SettingsError, match="no discriminator"):
        predict_domains(outcome.model, epochs, np.arange(3))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # PyTorch of itself
def test_a_compiled_network_trains_to_the_same_weights(
    make_epochs: MakeEpochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The whole network as one graph, but with PyTorch's own kernels: generating code takes a minute.
    compiled: list[SleepMG] = []

    compile_ = torch.compile

    def trace(model: SleepMG) -> Any:
        compiled.append(model)
        return compile_(model, backend="aot_eager", fullgraph=True)

    epochs = make_epochs()
    found = []
    for is_compiled in (False, True):
        if is_compiled:
            monkeypatch.setattr("torch.compile", trace)
        wanted = replace(
            settings(n_passes=1, compile=is_compiled), network=NetworkSettings(dropout=0.0)
        )
        found.append(train_fold(epochs, fold_of(epochs), declared=ALL, settings=wanted, seed=1))
    assert len(compiled) == 1
    for name, value in found[0].model.state_dict().items():
        torch.testing.assert_close(found[1].model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.heavy
def test_the_reversal_makes_the_discriminator_worse_on_subjects_with_their_own_gain(
    make_epochs: MakeEpochs,
) -> None:
    accuracy: dict[float, list[float]] = {0.0: [], 1.0: []}
    for seed in (1, 2, 3):
        epochs = make_epochs(
            n_subjects=5, n_each=40, channels={"eeg": 1, "emg": 1}, gain_spread=1.0, seed=seed
        )
        rows = np.arange(len(epochs.stages))
        learned = rows[epochs.subject < 4]
        held_out = learned % 4 == 0
        fold = Fold.of(epochs, learned[~held_out], rows[epochs.subject == 4], ALL)
        for weight, found in accuracy.items():
            wanted = replace(
                settings(n_passes=6, batch_size=16), adversary=AdversarySettings(grl_weight=weight)
            )
            outcome = train_fold(epochs, fold, declared=ALL, settings=wanted, seed=seed)
            named = predict_domains(outcome.model, epochs, learned[held_out])
            found.append(float((named == epochs.subject[learned[held_out]]).mean()))
    without, with_ = (float(np.mean(accuracy[weight])) for weight in (0.0, 1.0))
    chance = 1 / 4
    assert without > chance + 0.1
    assert with_ < without - 0.1
