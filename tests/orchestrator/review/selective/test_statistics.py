from typing import Any

import pytest

from orchestrator.review.selective import statistics
from orchestrator.review.verdicts import Verdict


def test_objective_chooses_and_the_target_has_no_say(made: Any) -> None:
    trials = [
        made.trial("t000", objective=0.6, target_macro_f1=0.9),
        made.trial("t001", objective=0.7, target_macro_f1=0.1),
        made.trial("t002", objective=0.7, target_macro_f1=0.8),
        made.trial("t003", objective=None, target_macro_f1=0.99),
        made.trial("t004", objective=0.99, state="failed"),
        made.arm("all_source", objective=0.95),
    ]
    chosen = statistics.chosen_trial(trials)
    assert chosen is not None
    assert chosen.trial == "t001"


def test_planted_harm_is_called_hurt(made: Any) -> None:
    chosen = made.trial(target_macro_f1=0.60)
    no_adapt, all_source, random = statistics.compare_with_arms(
        [
            chosen,
            made.arm("no_adapt", target_macro_f1=0.70),
            made.arm("all_source", target_macro_f1=0.605),
            made.arm("random", target_macro_f1=0.55),
        ],
        chosen,
    )
    assert (no_adapt.arm, no_adapt.verdict) == ("no_adapt", Verdict.HURT)
    assert no_adapt.difference == pytest.approx(-0.10)
    assert (all_source.arm, all_source.verdict) == ("all_source", Verdict.NO_DIFFERENCE)
    assert (random.arm, random.verdict) == ("random", Verdict.HELPED)


def test_missing_failed_and_undefined_arms_have_no_verdict(made: Any) -> None:
    chosen = made.trial()
    compared = statistics.compare_with_arms(
        [
            chosen,
            made.arm("all_source", state="failed", target_macro_f1=None),
            made.arm("random", target_macro_f1=None),
        ],
        chosen,
    )
    assert [c.state for c in compared] == ["not run", "failed", "complete"]
    assert [c.verdict for c in compared] == [None, None, None]


def test_no_chosen_trial_gives_no_verdict(made: Any) -> None:
    compared = statistics.compare_with_arms([made.arm("no_adapt")], None)
    assert compared[0].target_macro_f1 == 0.6
    assert compared[0].verdict is None


def test_other_steps_give_no_verdict(made: Any) -> None:
    chosen = made.trial(n_steps=120, target_macro_f1=0.70)
    arms = [made.arm(name, target_macro_f1=0.60) for name in statistics.ARMS]
    no_adapt, all_source, random = statistics.compare_with_arms([chosen, *arms], chosen)
    # Finetuning helped; whether selecting did cannot be told from training four times as long.
    assert (no_adapt.equal_steps, no_adapt.verdict) == (True, Verdict.HELPED)
    for compared in (all_source, random):
        assert (compared.equal_steps, compared.verdict) == (False, None)
        assert compared.difference == pytest.approx(0.10)
    equal = made.trial(n_steps=30, target_macro_f1=0.70)
    compared_all = statistics.compare_with_arms([equal, *arms], equal)
    assert [c.verdict for c in compared_all] == [Verdict.HELPED] * 3


def test_steps_other_than_those_of_the_arms(made: Any) -> None:
    trials = [
        made.trial("t000", n_steps=30),
        made.trial("t001", n_steps=187),
        made.trial("t002", n_steps=23),
        made.trial("t003", n_steps=500, state="failed"),
        made.arm("no_adapt"),
    ]
    assert statistics.other_steps(trials, 30) == (23, 187)
    assert statistics.other_steps(trials[:1], 30) is None
    assert statistics.other_steps(trials[3:], 30) is None


def test_ranking_is_judged_at_equal_steps(made: Any) -> None:
    arm = made.arm("random", target_macro_f1=0.5)
    assert statistics.ranking_against_chance([made.trial(), arm]) is not None
    assert statistics.ranking_against_chance([made.trial(n_steps=60), arm]) is None


def test_ranking_is_judged_at_equal_batches_and_learning_rate(made: Any) -> None:
    trials = [
        made.trial("t000", n_kept=10, learning_rate=1e-3, target_macro_f1=0.9),
        made.trial("t001", n_kept=15, target_macro_f1=0.8),
        made.trial("t002", n_kept=10, target_macro_f1=0.65),
        made.arm("random", n_kept=10, target_macro_f1=0.60),
    ]
    pair = statistics.ranking_against_chance(trials)
    assert pair is not None
    assert pair[0].trial == "t002"
    assert pair[1] == pytest.approx(0.05)
    assert statistics.ranking_against_chance(trials[:2]) is None
    assert statistics.ranking_against_chance([*trials[:2], trials[3]]) is None


def test_other_rates_are_no_points_of_tau(made: Any) -> None:
    trials = [
        made.trial("t000", target_macro_f1=0.50),
        made.trial("t001", target_macro_f1=0.55),
        made.trial("t002", target_macro_f1=0.90, learning_rate=1e-2, on_line=False),
    ]
    sensitivity = statistics.tau_sensitivity(trials)
    assert sensitivity is not None
    assert (sensitivity.n_points, sensitivity.highest) == (2, 0.55)


def test_sensitivity_is_the_range_over_enqueued_taus_only(made: Any) -> None:
    trials = [
        made.trial("t000", target_macro_f1=0.60),
        made.trial("t001", target_macro_f1=0.64),
        made.trial("t002", target_macro_f1=0.61),
        made.trial("t003", target_macro_f1=None),
        made.trial("t004", target_macro_f1=0.10, enqueued=False),
        made.arm("no_adapt", target_macro_f1=0.05),
    ]
    found = statistics.tau_sensitivity(trials)
    assert found is not None
    assert (found.n_points, found.lowest, found.highest, found.word) == (
        3,
        0.60,
        0.64,
        "moderately",
    )
    assert found.range == pytest.approx(0.04)
    assert statistics.tau_sensitivity(trials[:1]) is None


@pytest.mark.parametrize(
    ("highest", "word"), [(0.605, "hardly"), (0.64, "moderately"), (0.7, "strongly")]
)
def test_sensitivity_words(made: Any, highest: float, word: str) -> None:
    trials = [made.trial("t000", target_macro_f1=0.6), made.trial("t001", target_macro_f1=highest)]
    found = statistics.tau_sensitivity(trials)
    assert found is not None
    assert found.word == word


def test_agreement_ranks_trials_and_counts_what_choosing_gives_up(made: Any) -> None:
    trials = [
        made.trial("t000", objective=0.9, target_macro_f1=0.5),
        made.trial("t001", objective=0.8, target_macro_f1=0.6),
        made.trial("t002", objective=0.7, target_macro_f1=0.7),
        made.trial("t003", objective=None, target_macro_f1=0.9),
        made.arm("no_adapt", objective=0.1, target_macro_f1=0.95),
    ]
    found = statistics.objective_agreement(trials, statistics.chosen_trial(trials))
    assert found is not None
    assert (found.n_trials, found.correlation, found.best_trial) == (3, -1.0, "t002")
    assert found.given_up == pytest.approx(0.2)
    assert statistics.objective_agreement(trials[3:], None) is None


def test_stage_shares_by_hand(made: Any) -> None:
    batches = [
        made.batch(0, W=32, N3=0, emd=1.0),
        made.batch(1, W=16, N3=16, emd=2.0),
        made.batch(2, W=0, N3=32, emd=3.0),
        made.batch(3, W=32, N3=0, emd=9.0, selectable=False),  # would spoil the order
    ]
    chosen = made.trial(n_kept=1, kept_W=32, kept_N3=0)
    shares = statistics.stage_shares(batches, chosen, {"W": 3, "N3": 1})
    wake, n3 = shares[0], shares[3]
    assert (wake.stage, wake.all_share, wake.kept_share, wake.target_share) == ("W", 0.5, 1.0, 0.75)
    assert (wake.emd_correlation, n3.emd_correlation) == (-1.0, 1.0)
    assert shares[1].emd_correlation is None  # no N1 anywhere: constant
    assert statistics.moved_mix(shares) == 0.5  # half of the kept epochs are W in the place of N3
    strongest = statistics.strongest_confound(shares)
    assert strongest is not None
    assert strongest.stage == "W"


def test_stage_shares_without_batches_or_choice() -> None:
    shares = statistics.stage_shares([], None, {})
    assert {(s.all_share, s.kept_share, s.target_share) for s in shares} == {(None, None, None)}
    assert statistics.moved_mix(shares) is None
    assert statistics.strongest_confound(shares) is None
