from collections.abc import Sequence
from typing import Any

from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.results import BatchRow, TrialRow
from orchestrator.methods.selective.review import statistics, wording
from orchestrator.methods.selective.review.cautions import cautions
from orchestrator.methods.selective.review.records import Manifest
from orchestrator.reviews.cautions import Caution, Level


def cautions_of(
    manifest: Manifest, trials: Sequence[TrialRow], batches: Sequence[BatchRow] = ()
) -> tuple[Caution, ...]:
    chosen = statistics.chosen_trial(trials)
    return cautions(
        manifest,
        trials,
        chosen,
        statistics.compare_with_arms(trials, chosen),
        statistics.stage_shares(batches, chosen, manifest.target_stage_counts),
        statistics.objective_agreement(trials, chosen),
        statistics.n_runs(trials),
    )


def text_of(cautions: Sequence[Caution]) -> str:
    return "\n".join(f"{c.level}: {c.title} {c.text}" for c in cautions)


def all_arms(made: Any, value: float = 0.6) -> list[TrialRow]:
    return [made.arm(arm, target_macro_f1=value) for arm in ARMS]


def answer_of(
    manifest: Manifest, trials: Sequence[TrialRow], chosen: TrialRow | None = None
) -> str:
    chosen = chosen or statistics.chosen_trial(trials)
    return wording.answer(
        chosen,
        statistics.tau_range(trials, manifest),
        statistics.compare_with_arms(trials, chosen),
        statistics.n_runs(trials),
    )


def test_answer_gives_the_range_all_readings_and_differences_that_may_be_chance(made: Any) -> None:
    trials = [
        made.trial("t000", tau_quantile=0.0, objective=0.5, target_macro_f1=0.55),
        made.trial("t001", tau_absolute=0.12345, objective=0.9, target_macro_f1=0.65),
        made.arm("no_adapt", target_macro_f1=0.70),
        made.arm("all_source", target_macro_f1=0.60),
        made.arm("random", target_macro_f1=0.63),
    ]
    assert answer_of(made.manifest(), trials) == (
        "Target macro-F1 is 0.550\u20130.650 over 2 enqueued taus, one run each, may be chance; "
        "the objective chooses tau_quantile 0.50, R > 0.1235, which keeps 10 of 20 source batches "
        "(50\u00a0%); the target macro-F1 of this trial minus that of an arm is \u22120.050 for no adaptation, +0.050 "
        "for all source batches and +0.020 for a random half of the source batches, one run each, may be chance."
    )


THREE = {"adapt_to": "subject", "target_subjects": ["a", "b", "c"]}


def test_answer_of_a_sweep_that_adapts_to_each_subject(made: Any) -> None:
    def said(**changes: Any) -> str:
        chosen = made.trial(n_kept=31, n_selectable=60, **changes)
        return wording.answer(chosen, None, (), 1, n_alone=wording.n_alone(made.manifest(**THREE)))

    assert said(tau_absolute=None) == (
        "The objective chooses tau_quantile 0.50 of each target subject's own rewards, which keeps "
        "31 of 60 source batches, summed over 3 target subjects (52\u00a0%)."
    )
    assert "tau_quantile 0.50, R > 0.1000 of each target subject's own rewards" in said()


def test_reading_notes_say_what_is_another_for_each_subject(made: Any) -> None:
    terms = dict(wording.reading_notes(made.manifest(**THREE), None, list(ARMS)))
    alone = terms["Each target subject by itself"]
    assert "a model is finetuned on what it keeps, and predicts the epochs of this subject" in alone
    assert terms["Chosen trial"].endswith("It is the mean over the target subjects' models.")
    for objective, said in {
        "target_emd": "the mean over the target subjects, of the model and the epochs of each",
        "target_certainty": "what each model says of its own subject, all subjects together",
    }.items():
        manifest = made.manifest(**THREE, objective=objective)
        assert said in dict(wording.reading_notes(manifest, None, []))["Chosen trial"]
    for manifest in (made.manifest(), made.manifest(target_subjects=["a", "b", "c"])):
        assert wording.counts_note(manifest) == ""
        assert "Each target subject" not in str(wording.reading_notes(manifest, None, list(ARMS)))


def test_the_confound_is_that_with_the_distance_to_all_subjects(made: Any) -> None:
    batches = [made.batch(i, emd=1.0 + i, W=3 * i, N3=32 - 3 * i) for i in range(10)]
    trials = [made.trial(), *all_arms(made)]
    together = "and its EMD to all target subjects together: +1.00"
    assert together in text_of(cautions_of(made.manifest(**THREE), trials, batches))
    assert "and its EMD: +1.00" in text_of(cautions_of(made.manifest(), trials, batches))


def test_answer_with_replicates_says_sensitive_where_seeds_do_not_explain_it(made: Any) -> None:
    def trials(width: float) -> list[TrialRow]:
        seeds = {
            "n_replicates": 3,
            "objective_low": 0.6 - width / 2,
            "objective_high": 0.6 + width / 2,
        }
        return [
            made.trial("t000", tau_quantile=0.0, objective=0.5, target_macro_f1=0.55, **seeds),
            made.trial("t001", objective=0.9, target_macro_f1=0.65, **seeds),
            made.arm("no_adapt", target_macro_f1=0.70),
        ]

    said = answer_of(made.manifest(), trials(0.02))
    assert said.startswith(
        "Staging is strongly sensitive to tau: target macro-F1 is 0.550\u20130.650 over 2 enqueued taus, means of "
        "3 runs each, a range of 0.100 beside 95\u00a0% intervals of their objectives over seeds no wider than 0.020; "
        "the objective chooses"
    )
    assert said.endswith(
        "is \u22120.050 for no adaptation, means of 3 runs each, no test was made."
    )
    said = answer_of(made.manifest(), trials(0.12))
    assert said.startswith(
        "Target macro-F1 is 0.550\u20130.650 over 2 enqueued taus, means of 3 runs each, no test was made; "
    )
    assert "sensitive" not in said


def test_answer_of_a_single_trial_and_of_none(made: Any) -> None:
    assert answer_of(made.manifest(), [made.trial()]).startswith(
        "The objective chooses tau_quantile"
    )
    assert "says nothing about tau" in answer_of(made.manifest(), [])


def test_one_target_subject_or_one_seed_has_no_interval_and_says_so(made: Any) -> None:
    one = wording.interval_note(made.manifest(), 1)
    many = wording.interval_note(made.manifest(target_subjects=["a", "b", "c"]), 1)
    assert one.startswith("One target subject and one seed (7): there is no interval")
    assert "3 target subjects: there is no interval" in many
    seeds = wording.interval_note(made.manifest(), 5)
    assert seeds.startswith(
        "One target subject; means over 5 seeds from 7 on, of trials and of arms."
    )
    assert "single observation" not in seeds
    assert "no test was made" in seeds


def test_quiet_sweep_gets_no_caution(made: Any) -> None:
    manifest = made.manifest(target_adapt_subjects=["a1"])
    trials = [made.trial(), *all_arms(made)]
    assert cautions_of(manifest, trials) == ()


def unlike_arms(cautions: Sequence[Caution]) -> Caution:
    (caution,) = [c for c in cautions if c.title.startswith("Not of equal")]
    return caution


def test_steps_that_vary_are_a_caution(made: Any) -> None:
    manifest = made.manifest(target_adapt_subjects=["a1"])
    longer = made.trial("t001", n_steps=187, objective=0.9, enqueued=False)
    trials = [made.trial(), made.trial("t002", n_steps=23, enqueued=False), longer, *all_arms(made)]
    caution = unlike_arms(cautions_of(manifest, trials))
    assert caution.level is Level.WARNING
    assert caution.title == "Not of equal length: arms took 30 steps, sampled trials 23 to 187."
    assert "a trial and an arm, mixes selection with length of training." in caution.text
    assert (
        "The chosen trial t001 took 187 steps, so its difference to an arm that was finetuned mixes selection "
        "with length of training. To compare like with like, enqueue its tau with search.n_steps: 187 and without "
        "space.n_steps."
    ) in caution.text
    caution = unlike_arms(cautions_of(manifest, [made.trial(objective=0.95), *trials[1:]]))
    assert "The chosen trial" not in caution.text
    # What mixes is in the table with its mark, not in the first sentence.
    said = answer_of(manifest, [longer, *all_arms(made, 0.5)])
    assert "minus that of an arm is +0.100 for no adaptation, one run each, may be chance." in said
    assert "all source batches" not in said


def test_learning_rate_of_the_chosen_trial_is_a_caution_as_steps_are(made: Any) -> None:
    manifest = made.manifest(target_adapt_subjects=["a1"])
    slower = made.trial("t011", learning_rate=1.1e-5, objective=0.9, enqueued=False)
    trials = [made.trial(), slower, *all_arms(made)]
    caution = unlike_arms(cautions_of(manifest, trials))
    assert caution.level is Level.WARNING
    assert caution.title == (
        "Not of equal learning rate: arms took 1.0e\u221204, the chosen trial t011 1.1e\u221205."
    )
    assert caution.text == (
        "The chosen trial t011 took 1.1e\u221205, so its difference to an arm that was finetuned mixes selection "
        "with learning rate. To compare like with like, enqueue its tau with search.default_learning_rate: 1.1e-05."
    )
    said = answer_of(manifest, [slower, *all_arms(made, 0.5)])
    assert "minus that of an arm is +0.100 for no adaptation, one run each, may be chance." in said
    assert "all source batches" not in said
    # Nothing to flag: the trial has the rate of the arms, or no arm was finetuned.
    assert cautions_of(manifest, [made.trial(objective=0.95), *trials[1:]]) == ()
    untrained = [made.trial(), slower, made.arm("no_adapt")]
    assert not any(c.title.startswith("Not of equal") for c in cautions_of(manifest, untrained))


def test_other_steps_and_another_learning_rate_are_one_caution(made: Any) -> None:
    manifest = made.manifest(target_adapt_subjects=["a1"])
    both = made.trial("t001", n_steps=187, learning_rate=1.1e-5, objective=0.9, enqueued=False)
    caution = unlike_arms(cautions_of(manifest, [made.trial(), both, *all_arms(made)]))
    assert caution.title == (
        "Not of equal length and learning rate: arms took 30 steps at 1.0e\u221204, sampled trials 187, "
        "the chosen trial t001 187 at 1.1e\u221205."
    )
    assert (
        "The chosen trial t001 took 187 steps at 1.1e\u221205, so its difference to an arm that was finetuned mixes "
        "selection with length of training and learning rate. To compare like with like, enqueue its tau with "
        "search.n_steps: 187 and search.default_learning_rate: 1.1e-05 and without space.n_steps."
    ) in caution.text


def test_rates_that_look_alike_get_the_digits_that_tell_them_apart(made: Any) -> None:
    near = made.trial("t001", learning_rate=1.004e-4, objective=0.9, enqueued=False)
    caution = unlike_arms(cautions_of(made.manifest(), [near, *all_arms(made)]))
    assert "arms took 1.000e\u221204, the chosen trial t001 1.004e\u221204." in caution.title
    assert "search.default_learning_rate: 0.0001004." in caution.text


def test_notes_say_how_long_arms_were_trained(made: Any) -> None:
    def arms(other: tuple[int, int] | None) -> str:
        return dict(wording.reading_notes(made.manifest(), other, tuple(ARMS)))["Arms"]

    assert "for as many steps as every trial" in arms(None)
    assert "for 30 steps, as the enqueued trials were" in arms((20, 200))


def test_oracle_is_an_alarm_and_comes_first(made: Any) -> None:
    found = cautions_of(
        made.manifest(objective="oracle_target_val"), [made.trial(), *all_arms(made, 0.7)]
    )
    assert [c.level is Level.ALARM for c in found] == [True] + [False] * (len(found) - 1)
    assert "oracle_target_val read stages of the target" in found[0].title


def test_a_trial_below_its_arms_is_no_caution(made: Any) -> None:
    manifest = made.manifest(target_adapt_subjects=["a1"])
    assert cautions_of(manifest, [made.trial(target_macro_f1=0.56), *all_arms(made, 0.6)]) == ()


def test_transductive_says_what_it_means(made: Any) -> None:
    said = text_of(cautions_of(made.manifest(), [made.trial(), *all_arms(made)]))
    assert "Transductive, with 1 target subject." in said
    assert "822 target epochs" in said
    assert "465 of the same epochs" in said


def test_transductive_whatever_the_number_of_subjects(made: Any) -> None:
    trials = [made.trial(), *all_arms(made)]

    def said(judged: list[str], adapted: list[str] | None, **more: Any) -> str:
        manifest = made.manifest(target_subjects=judged, target_adapt_subjects=adapted, **more)
        return text_of(cautions_of(manifest, trials))

    assert "Transductive, with 3 target subjects." in said(["a", "b", "c"], ["a", "b", "c"])
    assert "Transductive, with 2 target subjects." in said(
        ["a", "b"], None
    )  # of before there were roles
    partly = said(["a", "b", "c"], ["b", "z"])
    assert "Transductive for 1 of 3 target subjects." in partly
    assert "b is judged on nights whose signals" in partly
    assert "Transductive" not in said(["a", "b"], ["y", "z"])
    assert "Transductive" not in said(["a"], ["a"], target_is_labelled=False)


def test_stage_mix_confound_has_its_numbers(made: Any) -> None:
    strong = [made.batch(i, W=4 * i, N3=32 - 4 * i, emd=9.0 - i) for i in range(8)]
    weak = [
        made.batch(i, W=w, N3=32 - w, emd=emd)
        for i, (w, emd) in enumerate([(0, 2.0), (8, 4.0), (16, 1.0), (24, 3.0)])
    ]
    manifest = made.manifest(target_adapt_subjects=["a1"])
    trials = [made.trial(kept_W=100, kept_N3=0), *all_arms(made)]
    (caution,) = cautions_of(manifest, trials, strong)
    assert caution.level is Level.WARNING
    assert "share of W in a source batch and its EMD: \u22121.00" in caution.text
    # All batches: W 112 of 256 epochs; kept: all W.
    assert "56\u00a0% of the kept epochs" in caution.text
    (caution,) = cautions_of(manifest, trials, weak)
    assert (caution.level, caution.title) == (Level.NOTE, "Stage-mix confound: weak here.")


def test_few_source_batches(made: Any) -> None:
    trials = [made.trial(), *all_arms(made)]
    few = made.manifest(n_source_batches=25, n_selectable=19, target_adapt_subjects=["a1"])
    enough = made.manifest(n_source_batches=25, n_selectable=20, target_adapt_subjects=["a1"])
    assert "Only 19 source batches to select from." in text_of(cautions_of(few, trials))
    assert cautions_of(enough, trials) == ()


def test_failed_trials_and_missing_arms_are_named(made: Any) -> None:
    trials = [made.trial(), made.trial("t001", state="failed", error="out of memory\nline 2")]
    said = text_of(cautions_of(made.manifest(), trials))
    assert "1 of 2 trials and arms failed." in said
    assert "t001: out of memory." in said
    assert "line 2" not in said
    assert "Not run: no_adapt, all_source, random." in said


def test_an_objective_that_no_trial_raises_is_said(made: Any) -> None:
    arms = [made.arm("no_adapt", objective=0.702), made.arm("all_source"), made.arm("random")]
    said = text_of(cautions_of(made.manifest(), [made.trial(objective=0.690), *arms]))
    assert "The objective prefers no adaptation." in said
    assert (
        "It is 0.702 for the pretrained encoder as it was and 0.690 for the chosen trial t000 (one run each, "
        "may be chance): whoever"
    ) in said
    said = text_of(cautions_of(made.manifest(), [made.trial(objective=0.703), *arms]))
    assert "prefers no adaptation" not in said


def test_choosing_everything_is_said(made: Any) -> None:
    trials = [made.trial(n_kept=20), *all_arms(made)]
    assert "prefers no selection" in text_of(cautions_of(made.manifest(), trials))


def test_agreement_of_objective_and_target_is_a_number_and_no_warning(made: Any) -> None:
    def agreement(*target: float, n_replicates: int = 1) -> Caution:
        trials = [
            made.trial(
                f"t{i:03d}", objective=0.5 + i / 10, target_macro_f1=f1, n_replicates=n_replicates
            )
            for i, f1 in enumerate(target)
        ]
        found = cautions_of(
            made.manifest(target_adapt_subjects=["a1"]), [*trials, *all_arms(made, 0.6)]
        )
        (caution,) = [c for c in found if "Spearman" in c.text]
        return caution

    against = agreement(0.9, 0.8, 0.7, 0.6)
    assert against.level is Level.NOTE
    assert against.title == (
        "Objective and target macro-F1: rank correlation \u22121.00 over 4 trials."
    )
    assert against.text == (
        "Spearman, one run each, may be chance. In hindsight the highest target macro-F1 is that of t000, 0.900: "
        "0.300 above the chosen trial. The highest of several runs lies above the others by chance alone."
    )
    along = agreement(0.6, 0.7, 0.8, 0.9)
    assert along.level is Level.NOTE
    assert "is that of t003, 0.900. The highest" in along.text  # the chosen trial itself
    assert "rank correlation +1.00" in along.title
    assert "means of 3 runs each, no test was made" in agreement(0.6, 0.7, 0.8, n_replicates=3).text


def test_encoder_that_learnt_nothing(made: Any) -> None:
    pretrain = {
        "source_val_macro_f1": 0.3,
        "majority_macro_f1": 0.3,
        "n_steps": 1,
        "n_passes": 1,
    }
    said = text_of(cautions_of(made.manifest(pretrain=pretrain), [made.trial()]))
    assert "The encoder did not learn to stage sleep." in said


def test_target_that_needs_no_adaptation_is_named(made: Any) -> None:
    trials = [made.trial(target_macro_f1=0.99), made.arm("no_adapt", target_macro_f1=0.985)]
    assert "leaves nothing to gain" in text_of(cautions_of(made.manifest(), trials))
    trials = [made.trial(target_macro_f1=0.99), made.arm("no_adapt", target_macro_f1=0.975)]
    assert "leaves nothing to gain" not in text_of(cautions_of(made.manifest(), trials))


def test_notes_say_what_a_difference_and_a_range_are_not(made: Any) -> None:
    notes = dict(wording.reading_notes(made.manifest(), None, tuple(ARMS)))
    assert "Helped, hurt, no difference" not in notes
    assert "a number, not a finding" in notes["Chosen trial minus arm"]
    assert "another learning rate" in notes["Chosen trial minus arm"]
    assert "With one run each, nothing is said" in notes["Sensitive to tau"]
    assert "conventions" in notes["Sensitive to tau"]
