"""Who is in which fold."""

from collections.abc import Callable

import pytest

from orchestrator.errors import ConfigError
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep
from orchestrator.methods.sleepmg.plan import make_folds, plan_cross_validation
from orchestrator.store.store import Store

MakeSweep = Callable[..., SleepMGSweep]
AddSubject = Callable[..., None]


def test_leave_one_subject_out_tests_and_validates_each_subject_once(make_sweep: MakeSweep) -> None:
    subjects = [f"s{i}" for i in range(5)]
    folds = make_folds(subjects, make_sweep())
    assert [fold.test for fold in folds] == [(s,) for s in subjects]
    assert [fold.validation for fold in folds] == [("s1",), ("s2",), ("s3",), ("s4",), ("s0",)]
    for fold in folds:
        assert sorted((*fold.test, *fold.validation, *fold.train)) == subjects


def test_k_fold_groups_subjects_in_their_order(make_sweep: MakeSweep) -> None:
    # MASS-SS3 in the literature: 62 subjects in 31 folds of consecutive pairs.
    subjects = [f"{i:04d}" for i in range(1, 65) if i not in {43, 49}]
    folds = make_folds(subjects, make_sweep(folds="{kind: k_fold, n_folds: 31, n_validation: 2}"))
    assert [fold.test for fold in folds] == list(zip(subjects[::2], subjects[1::2], strict=True))
    assert folds[-1].validation == ("0001", "0002")
    assert all(len(fold.train) == 58 for fold in folds)


@pytest.mark.parametrize(
    ("n", "folds", "message"),
    [
        (3, "{kind: k_fold, n_folds: 4}", "n_folds is 4, but there are 3 subjects"),
        (3, "{kind: leave_one_subject_out}", "so 1 are left to train on; 2 are needed for a disc"),
        (4, "{kind: leave_one_subject_out, n_validation: 3}", "so 0 are left"),
    ],
)
def test_too_few_subjects_are_refused(
    make_sweep: MakeSweep, n: int, folds: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_folds([f"s{i}" for i in range(n)], make_sweep(folds=folds))


def test_without_discriminator_one_training_subject_is_enough(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(more="adversary: {enabled: false}\nmodulation: {mod_d: false}")
    assert len(make_folds(["a", "b", "c"], sweep)) == 3


def test_what_the_store_cannot_give_is_refused(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    for subject in "abcd":
        add_subject(subject)
    with pytest.raises(ConfigError, match=r"no recording .* has modality 'emg'.* has eeg, eog"):
        plan_cross_validation(make_sweep(modalities="[eeg, emg]"), store)
    add_subject("e", stages=[-1] * 5)  # unlabelled: in no fold, and no obstacle
    plan = plan_cross_validation(make_sweep(), store)
    assert plan.subjects == ("a", "b", "c", "d")
    without = plan_cross_validation(make_sweep(more="exclude: [e]"), store)
    assert (plan.recordings, plan.folds) == (without.recordings, without.folds)
    with pytest.raises(ConfigError, match=r"'e' matches unlabelled subjects alone \(e\)"):
        plan_cross_validation(make_sweep(more="subjects: [a, b, c, e]"), store)


def test_the_data_id_follows_the_epochs(
    store: Store, add_subject: AddSubject, make_sweep: MakeSweep
) -> None:
    for subject in "abcd":
        add_subject(subject)
    first = plan_cross_validation(make_sweep(), store).data_id
    assert plan_cross_validation(make_sweep(more="seed: 7"), store).data_id == first
    assert plan_cross_validation(make_sweep(more="scale: microvolts"), store).data_id != first
    add_subject("e")
    assert plan_cross_validation(make_sweep(), store).data_id != first
