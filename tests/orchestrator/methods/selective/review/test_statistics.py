from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.methods.selective.config.arms import ARMS, DEFAULT
from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.review import statistics


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


def test_chosen_trial_minus_arm_is_a_number_and_no_verdict(made: Any) -> None:
    chosen = made.trial(target_macro_f1=0.60)
    compared = statistics.compare_with_arms(
        [
            chosen,
            made.arm("no_adapt", target_macro_f1=0.70),
            made.arm("all_source", target_macro_f1=0.605),
            made.arm("random", target_macro_f1=0.55),
        ],
        chosen,
    )
    assert [c.arm for c in compared] == list(DEFAULT)
    assert [c.difference for c in compared] == pytest.approx([-0.10, -0.005, 0.05])
    assert [c.mixes for c in compared] == [(), (), ()]
    assert not any(hasattr(c, "verdict") for c in compared)


def test_missing_failed_and_undefined_arms_have_no_difference(made: Any) -> None:
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
    assert [c.difference for c in compared] == [None, None, None]


def test_no_chosen_trial_gives_no_difference(made: Any) -> None:
    compared = statistics.compare_with_arms([made.arm("no_adapt")], None)
    assert compared[0].target_macro_f1 == 0.6
    assert compared[0].difference is None


@pytest.mark.parametrize(
    ("changes", "mixes"),
    [
        ({"n_steps": 120}, ("steps",)),
        ({"learning_rate": 1.1e-5}, ("learning rate",)),
        ({"n_steps": 120, "learning_rate": 1.1e-5}, ("steps", "learning rate")),
        ({}, ()),
    ],
)
def test_other_steps_and_learning_rates_are_marked_where_the_arm_was_finetuned(
    made: Any, changes: dict[str, float], mixes: tuple[str, ...]
) -> None:
    chosen = made.trial(target_macro_f1=0.70, **changes)
    arms = [made.arm(name, target_macro_f1=0.60) for name in ARMS]
    no_adapt, *finetuned = statistics.compare_with_arms([chosen, *arms], chosen)
    assert no_adapt.mixes == ()  # what is not finetuned has neither steps nor rate
    for compared in finetuned:
        assert compared.mixes == mixes
        assert compared.difference == pytest.approx(0.10)
        assert compared.learning_rate == 1e-4


def test_one_run_each_unless_the_search_replicates(made: Any) -> None:
    assert statistics.n_runs([]) == 1
    assert statistics.n_runs([made.trial(), made.arm("no_adapt")]) == 1
    # Without training, seeds do not matter: no_adapt has one.
    assert statistics.n_runs([made.trial(n_replicates=3), made.arm("no_adapt")]) == 3


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
    found = statistics.tau_range(trials, made.manifest())
    assert found is not None
    assert (found.n_points, found.highest) == (2, 0.55)


def test_range_is_that_of_enqueued_taus_only(made: Any) -> None:
    trials = [
        made.trial("t000", target_macro_f1=0.60),
        made.trial("t001", target_macro_f1=0.64),
        made.trial("t002", target_macro_f1=0.61),
        made.trial("t003", target_macro_f1=None),
        made.trial("t004", target_macro_f1=0.10, enqueued=False),
        made.arm("no_adapt", target_macro_f1=0.05),
    ]
    found = statistics.tau_range(trials, made.manifest())
    assert found is not None
    assert (found.n_points, found.lowest, found.highest) == (3, 0.60, 0.64)
    assert found.width == pytest.approx(0.04)
    assert statistics.tau_range(trials[:1], made.manifest()) is None


def replicated(made: Any, values: Sequence[float], width: float | None) -> list[TrialRow]:
    """Enqueued trials of three seeds, whose objectives have intervals of up to this width."""
    made_trials = []
    for i, value in enumerate(values):
        ends: dict[str, float] = {}
        if width is not None:
            half = width / (2 if i else 4)
            ends = {"objective_low": 0.6 - half, "objective_high": 0.6 + half}
        made_trials.append(
            made.trial(f"t{i:03d}", target_macro_f1=value, n_replicates=3, objective=0.6, **ends)
        )
    return made_trials


@pytest.mark.parametrize(
    ("highest", "seeds", "word"),
    [
        (0.608, 0.004, "hardly"),
        (0.64, 0.02, "moderately"),
        (0.70, 0.02, "strongly"),
        (0.70, 0.0999, "strongly"),
        (0.70, 0.12, None),
        (0.64, 0.05, None),
        (0.604, 0.02, None),  # that there is no difference is not shown either
        (0.70, None, None),
    ],
)
def test_sensitivity_is_said_where_seeds_do_not_explain_the_range(
    made: Any, highest: float, seeds: float | None, word: str | None
) -> None:
    found = statistics.tau_range(replicated(made, [0.6, highest], seeds), made.manifest())
    assert found is not None
    assert found.sensitivity == word
    assert found.seed_width == (None if seeds is None else pytest.approx(seeds))


def test_sensitivity_is_not_said_of_one_run_each(made: Any) -> None:
    trials = [made.trial("t000", target_macro_f1=0.1), made.trial("t001", target_macro_f1=0.9)]
    found = statistics.tau_range(trials, made.manifest())
    assert found is not None
    assert (found.seed_width, found.sensitivity) == (None, None)


def test_a_spread_in_other_units_explains_no_range(made: Any) -> None:
    trials = replicated(made, [0.6, 0.7], 0.001)
    for objective in ("target_emd", "target_information"):
        found = statistics.tau_range(trials, made.manifest(objective=objective))
        assert found is not None
        assert found.sensitivity is None
    found = statistics.tau_range(trials, made.manifest(objective="oracle_target_val"))
    assert found is not None
    assert found.sensitivity == "strongly"


def test_rates_other_than_that_of_the_arms(made: Any) -> None:
    trials = [made.trial("t000"), made.arm("no_adapt")]
    assert not statistics.other_rates(trials, 1e-4)
    assert statistics.other_rates([*trials, made.trial("t001", learning_rate=2e-4)], 1e-4)
    failed = made.trial("t001", learning_rate=2e-4, state="failed")
    assert not statistics.other_rates([*trials, failed], 1e-4)


def test_agreement_ranks_trials_and_names_the_highest_in_hindsight(made: Any) -> None:
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
    assert found.best_minus_chosen == pytest.approx(0.2)
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
