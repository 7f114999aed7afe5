from typing import Any

import pytest

from orchestrator.methods.sleepmg.review.balance import (
    never_left_chance,
    shown_in_figure,
    summaries,
    traces,
)


def test_traces_are_means_and_spreads_over_the_folds_that_got_there(made: Any) -> None:
    entry = made.entry(made.trial_row())
    passes = [
        made.modality(fold=0, rho_y=1.0, **{"pass": 1}),
        made.modality(fold=1, rho_y=1.4, **{"pass": 1}),
        made.modality(fold=1, rho_y=1.6, **{"pass": 2}),
        made.modality("t001", fold=0, rho_y=9.0, **{"pass": 1}),
    ]
    first, second = (p for p in traces(entry, passes) if p.quantity == "rho_y")
    assert (first.modality, first.pass_, first.n_folds) == ("eeg", 1, 2)
    assert first.mean == pytest.approx(1.2)
    assert first.sd == pytest.approx(0.2828427)  # 0.4 / sqrt 2
    assert (second.pass_, second.n_folds, second.mean, second.sd) == (2, 1, 1.6, None)


def test_coefficients_that_scaled_nothing_are_left_out(made: Any) -> None:
    passes = [made.modality("row-naivemg-seed1")]
    naive = made.entry(made.row_row(mod_y=False, mod_d=True))
    assert {p.quantity for p in traces(naive, passes)} == {"rho_y", "rho_d", "k_d", "macro_f1"}
    (summary,) = summaries(naive, passes, (), ("eeg",))
    assert (summary.k_y, summary.k_d) == (None, 1.0)


def test_summary_takes_the_tested_pass_and_weighs_trainings_alike(made: Any) -> None:
    entry = made.entry(made.row_row(seed=1), made.row_row(seed=2))
    one, two = "row-naivemg-seed1", "row-naivemg-seed2"
    passes = [
        made.modality(one, macro_f1=0.3, k_y=0.9, **{"pass": 1}),
        made.modality(one, macro_f1=0.4, k_y=0.5, starved=True, **{"pass": 2}),
        made.modality(one, macro_f1=0.9, k_y=0.1, starved=True, **{"pass": 3}),
        made.modality(two, macro_f1=0.6, k_y=0.9, **{"pass": 1}),
        made.modality(one, "ecg", macro_f1=0.2, **{"pass": 2}),
    ]
    folds = [made.fold(one, best_pass=2), made.fold(two, best_pass=1)]
    eeg, ecg = summaries(entry, passes, folds, ("eeg", "eog", "ecg"))
    assert (eeg.modality, eeg.n_folds, eeg.n_starved) == ("eeg", 2, 1)
    assert eeg.macro_f1 == pytest.approx(0.5)  # 0.4 and 0.6
    assert eeg.k_y == pytest.approx(0.7)  # 0.5 over three passes, and 0.9
    assert (ecg.modality, ecg.macro_f1, ecg.n_starved) == ("ecg", 0.2, 0)


def test_each_seed_of_a_trial_is_a_training_of_its_own(made: Any) -> None:
    entry = made.entry(made.trial_row(n_replicates=2))
    passes = [
        made.modality(macro_f1=0.3, seed=1, **{"pass": 1}),
        made.modality(macro_f1=0.4, seed=1, **{"pass": 2}),
        made.modality(macro_f1=0.6, seed=2, **{"pass": 1}),
        made.modality(macro_f1=0.9, seed=2, **{"pass": 2}),
    ]
    folds = [made.fold(seed=1, best_pass=2), made.fold(seed=2, best_pass=1)]
    (eeg,) = summaries(entry, passes, folds, ("eeg",))
    assert eeg.n_folds == 2
    assert eeg.macro_f1 == pytest.approx(0.5)  # 0.4 and 0.6


@pytest.mark.parametrize(("mod_f", "k_f", "n_starved"), [(True, 0.25, 1), (False, None, None)])
def test_nothing_is_starved_where_nothing_is_balanced(
    made: Any, mod_f: bool, k_f: float | None, n_starved: int | None
) -> None:
    entry = made.entry(made.row_row(mod_y=False, mod_d=False, mod_f=mod_f))
    passes = [made.modality("row-naivemg-seed1", starved=True, k_f=0.25)]
    (summary,) = summaries(entry, passes, (), ("eeg",))
    assert (summary.k_f, summary.k_y, summary.k_d) == (k_f, None, None)
    assert summary.n_starved == n_starved


def test_the_chosen_trial_is_drawn_or_the_best_row_that_balances(made: Any) -> None:
    plain = {"mod_y": False, "mod_d": False}
    single = made.entry(made.row_row("FeatureNet", multimodal=False, **plain))
    naive = made.entry(made.row_row("NaiveMG", **plain))
    balanced = made.entry(made.row_row("SleepMG"))
    chosen = made.entry(made.trial_row())
    passes = [
        made.modality("t000"),
        made.modality("row-naivemg-seed1"),
        made.modality("row-sleepmg-seed1"),
    ]
    assert shown_in_figure(chosen, (naive, balanced), passes) is chosen
    assert shown_in_figure(None, (single, naive, balanced), passes) is balanced
    assert shown_in_figure(None, (single, naive), passes) is naive
    assert shown_in_figure(None, (single,), passes) is None
    assert shown_in_figure(chosen, (), passes[1:]) is None


def test_a_discriminator_that_once_knew_more_than_chance_has_left_it(made: Any) -> None:
    def entry(best: float | None) -> Any:
        return made.entry(made.trial_row(domain_accuracy_best=best, domain_chance=0.2))

    assert never_left_chance(entry(0.22), margin=0.02)
    assert not never_left_chance(entry(0.23), margin=0.02)
    assert not never_left_chance(entry(None), margin=0.02)
