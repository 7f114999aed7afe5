from collections.abc import Sequence
from typing import Any

from orchestrator.review.cautions import Caution, Level
from orchestrator.review.selective import statistics, wording
from orchestrator.review.selective.cautions import cautions
from orchestrator.review.selective.records import Batch, Manifest, Trial


def cautions_of(
    manifest: Manifest, trials: Sequence[Trial], batches: Sequence[Batch] = ()
) -> tuple[Caution, ...]:
    chosen = statistics.chosen_trial(trials)
    return cautions(
        manifest,
        trials,
        chosen,
        statistics.compare_with_arms(trials, chosen),
        statistics.stage_shares(batches, chosen, manifest.target_stage_counts),
        statistics.objective_agreement(trials, chosen),
    )


def text_of(cautions: Sequence[Caution]) -> str:
    return "\n".join(f"{c.level}: {c.title} {c.text}" for c in cautions)


def all_arms(made: Any, value: float = 0.6) -> list[Trial]:
    return [made.arm(arm, target_macro_f1=value) for arm in statistics.ARMS]


def test_answer_gives_sensitivity_all_readings_and_verdicts(made: Any) -> None:
    trials = [
        made.trial("t000", tau_quantile=0.0, objective=0.5, target_macro_f1=0.55),
        made.trial("t001", tau_absolute=0.12345, objective=0.9, target_macro_f1=0.65),
        made.arm("no_adapt", target_macro_f1=0.70),
        made.arm("all_source", target_macro_f1=0.60),
        made.arm("random", target_macro_f1=0.63),
    ]
    chosen = statistics.chosen_trial(trials)
    said = wording.answer(
        chosen, statistics.tau_sensitivity(trials), statistics.compare_with_arms(trials, chosen)
    )
    assert said == (
        "Staging is strongly sensitive to tau (target macro-F1 0.550\u20130.650 over 2 enqueued taus); "
        "the objective chooses tau_quantile 0.50, R > 0.1235, which keeps 10 of 20 source batches "
        "(50\u00a0%); finetuning on them hurt compared with no adaptation (\u22120.050) and helped compared "
        "with all source batches (+0.050) and a random half of the source batches (+0.020)."
    )


def test_answer_of_a_single_trial_and_of_none(made: Any) -> None:
    trials = [made.trial()]
    compared = statistics.compare_with_arms(trials, trials[0])
    assert wording.answer(trials[0], None, compared).startswith(
        "The objective chooses tau_quantile"
    )
    assert "says nothing about tau" in wording.answer(None, None, compared)


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


def test_quiet_sweep_gets_no_caution(made: Any) -> None:
    manifest = made.manifest(transductive=False)
    trials = [made.trial(), *all_arms(made)]
    assert cautions_of(manifest, trials) == ()


def test_steps_that_vary_are_a_caution(made: Any) -> None:
    manifest = made.manifest(transductive=False)
    longer = made.trial("t001", n_steps=187, objective=0.9, enqueued=False)
    trials = [made.trial(), made.trial("t002", n_steps=23, enqueued=False), longer, *all_arms(made)]
    found = [c for c in cautions_of(manifest, trials) if "equal length" in c.title]
    (caution,) = found
    assert caution.level is Level.WARNING
    assert caution.title.endswith("arms took 30 steps, sampled trials 23 to 187.")
    assert "mixes selection with length of training" in caution.text
    assert "The chosen trial t001 took 187: there is no verdict" in caution.text
    assert "search.n_steps: 187" in caution.text
    (caution,) = [
        c
        for c in cautions_of(manifest, [made.trial(objective=0.95), *trials[1:]])
        if "equal length" in c.title
    ]
    assert "no verdict" not in caution.text
    # What has no verdict is not told as a judgement.
    said = wording.answer(
        longer, None, statistics.compare_with_arms([longer, *all_arms(made, 0.5)], longer)
    )
    assert "helped compared with no adaptation (+0.100)." in said
    assert "all source batches" not in said


def test_notes_say_how_long_arms_were_trained(made: Any) -> None:
    def arms(other: tuple[int, int] | None) -> str:
        return dict(wording.reading_notes(made.manifest(), other))["Arms"]

    assert "for as many steps as every trial" in arms(None)
    assert "for 30 steps, as the enqueued trials were" in arms((20, 200))


def test_oracle_and_harm_are_alarms_and_come_first(made: Any) -> None:
    found = cautions_of(
        made.manifest(objective="oracle_target_val"), [made.trial(), *all_arms(made, 0.7)]
    )
    assert [c.level for c in found][:4] == [Level.ALARM] * 4
    assert "oracle_target_val read stages of the target" in found[0].title
    assert "hurt: \u22120.100 macro-F1 against no_adapt" in found[1].title
    assert found[-1].level is not Level.ALARM


def test_transductive_says_what_it_means(made: Any) -> None:
    said = text_of(cautions_of(made.manifest(), [made.trial(), *all_arms(made)]))
    assert "Transductive, with 1 target subject." in said
    assert "822 target epochs" in said
    assert "465 of the same epochs" in said


def test_stage_mix_confound_has_its_numbers(made: Any) -> None:
    strong = [made.batch(i, W=4 * i, N3=32 - 4 * i, emd=9.0 - i) for i in range(8)]
    weak = [
        made.batch(i, W=w, N3=32 - w, emd=emd)
        for i, (w, emd) in enumerate([(0, 2.0), (8, 4.0), (16, 1.0), (24, 3.0)])
    ]
    manifest = made.manifest(transductive=False)
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
    few = made.manifest(n_source_batches=25, n_selectable=19, transductive=False)
    enough = made.manifest(n_source_batches=25, n_selectable=20, transductive=False)
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
    assert "It is 0.702 for the pretrained encoder as it was and 0.690 for the chosen trial" in said
    said = text_of(cautions_of(made.manifest(), [made.trial(objective=0.703), *arms]))
    assert "prefers no adaptation" not in said


def test_choosing_everything_is_said(made: Any) -> None:
    trials = [made.trial(n_kept=20), *all_arms(made)]
    assert "prefers no selection" in text_of(cautions_of(made.manifest(), trials))


def test_objective_against_the_target_is_a_warning(made: Any) -> None:
    against = [
        made.trial(f"t{i:03d}", objective=0.5 + i / 10, target_macro_f1=0.9 - i / 10)
        for i in range(4)
    ]
    found = cautions_of(made.manifest(transductive=False), [*against, *all_arms(made, 0.6)])
    (caution,) = [c for c in found if "Spearman" in c.text]
    assert caution.level is Level.WARNING
    assert "over 4 trials: \u22121.00" in caution.text
    assert (
        "best trial was t000 with 0.900; choosing by the objective gives up 0.300" in caution.text
    )


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
