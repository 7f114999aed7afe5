from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.methods.sleepmg.review.cautions import cautions
from orchestrator.methods.sleepmg.review.findings import find
from orchestrator.reviews.cautions import Caution, Level

SUBJECTS = [f"s{i:02d}" for i in range(20)]


def found_in(
    made: Any, manifest: dict[str, Any], **tables: Sequence[Mapping[str, Any]]
) -> tuple[Caution, ...]:
    """Cautions of a sweep whose trials were all tested on 20 subjects, unless `recordings` says otherwise."""
    recordings = [
        made.recording_row(row["trial"], s, macro_f1=row["test_macro_f1"])
        for row in tables["trials"]
        for s in SUBJECTS
    ]
    return cautions(find(made.sweep(manifest, {"recordings": recordings} | tables)))


def text_of(found: Sequence[Caution]) -> str:
    return "\n".join(f"{c.level}: {c.title} {c.text}" for c in found)


def better_row(made: Any, **changes: Any) -> list[Any]:
    return [made.row_row(**changes), made.trial_row(test_macro_f1=0.65)]


def test_a_quiet_search_is_still_not_nested_and_of_one_seed(made: Any) -> None:
    found = found_in(made, made.manifest_json(), trials=better_row(made))
    assert [(c.level, c.title) for c in found] == [
        (
            Level.WARNING,
            "This is not nested cross-validation: the chosen trial's test numbers are optimistic.",
        ),
        (Level.NOTE, "The chosen trial was run with one seed."),
    ]
    assert "among 1 trial may have seen" in found[0].text


def test_of_a_model_that_is_trained_on_all_subjects(made: Any) -> None:
    sweep = made.sweep(made.manifest_json(refit=True), {"trials": better_row(made)})
    assert "not what was measured" not in text_of(cautions(find(sweep)))  # that training failed
    found = cautions(find(replace(sweep, refitted=frozenset({"t000"}))))
    assert (
        "note: The model of t000 is not what was measured here. The numbers on this page were measured on the networks "
        "of the folds; this one was trained on all subjects, and nobody is left to judge it."
    ) in text_of(found)


def test_a_quiet_ablation_only_warns_of_picking(made: Any) -> None:
    rows = [("NaiveMG", 0.55), ("xvx", 0.6), ("SleepMG", 0.65)]
    trials = [
        made.row_row(name, seed, test_macro_f1=value + 0.001 * seed)
        for name, value in rows
        for seed in (1, 2)
    ]
    (caution,) = found_in(made, made.ablation_json(), trials=trials)
    assert caution.level is Level.NOTE
    assert caution.title == "Picking a row from this page is a choice on test labels."


def test_harm_of_the_chosen_trial_is_an_alarm_and_of_a_part_is_a_result(made: Any) -> None:
    found = found_in(made, made.manifest_json(), trials=better_row(made, test_macro_f1=0.7))
    assert found[0].level is Level.ALARM
    assert found[0].title == "The chosen trial hurt: \u22120.050 macro-F1 against NaiveMG."
    trials = [
        made.row_row(name, seed, test_macro_f1=value)
        for name, value in (("NaiveMG", 0.7), ("SleepMG", 0.6))
        for seed in (1, 2)
    ]
    found = found_in(made, made.ablation_json(), trials=trials)
    assert "alarm" not in text_of(found)


def test_results_no_better_than_one_stage_are_alarms(made: Any) -> None:
    trials = [made.row_row(test_macro_f1=0.114), made.trial_row(test_macro_f1=0.1)]
    first = found_in(made, made.manifest_json(), trials=trials)[0]
    assert first.level is Level.ALARM
    assert "always answering N2 (0.114): t000 (0.100), NaiveMG (0.114)" in first.text
    trials = [made.row_row(test_macro_f1=0.114), made.trial_row()]
    first = found_in(made, made.manifest_json(), trials=trials)[0]
    assert (first.level, first.title) == (
        Level.WARNING,
        "Did not learn to stage sleep: NaiveMG.",
    )


def test_unclear_differences_and_close_ranks_are_named(made: Any) -> None:
    trials = [
        made.row_row("NaiveMG", 1, test_macro_f1=0.55),
        made.row_row("NaiveMG", 2, test_macro_f1=0.55),
        made.row_row("SleepMG", 1, test_macro_f1=0.60),
        made.row_row("SleepMG", 2, test_macro_f1=0.70),
        made.row_row("xvx", 1, test_macro_f1=0.62),
        made.row_row("xvx", 2, test_macro_f1=0.64),
    ]
    recordings = [made.recording_row(t["trial"], s) for t in trials for s in SUBJECTS]
    said = text_of(found_in(made, made.ablation_json(), trials=trials, recordings=recordings))
    assert "Between xvx, SleepMG and NaiveMG: the subjects do not agree" in said
    assert "within the noise of the seeds: SleepMG before xvx" in said
    assert "They are 0.020 apart; over seeds they move by 0.071 and 0.014 (SD)." in said


def test_one_seed_of_an_ablation_is_a_warning(made: Any) -> None:
    trials = [made.row_row("NaiveMG"), made.row_row("SleepMG", test_macro_f1=0.7)]
    found = found_in(made, made.ablation_json(seeds=[1]), trials=trials)
    assert "warning: One seed: there is no spread over seeds." in text_of(found)


def test_few_subjects(made: Any) -> None:
    trials = better_row(made)
    for n, level, said in (
        (19, "note", "With 19 test subjects, intervals over subjects are coarse"),
        (5, "warning", "With 5 test subjects, no interval and no test can be given"),
    ):
        recordings = [
            made.recording_row(t["trial"], s, macro_f1=t["test_macro_f1"])
            for t in trials
            for s in SUBJECTS[:n]
        ]
        found = found_in(made, made.manifest_json(), trials=trials, recordings=recordings)
        assert f"{level}: Few subjects: {n}. {said}" in text_of(found)


def test_rare_and_absent_stages(made: Any) -> None:
    counts = {"W": 120, "N1": 49, "N2": 240, "N3": 50}
    found = found_in(made, made.manifest_json(stage_counts=counts), trials=better_row(made))
    assert "Stages with few epochs: N1 (49) and REM (0)." in text_of(found)


def test_starved_modalities_are_named_with_their_trainings(made: Any) -> None:
    modalities = [
        made.modality_row(modality="eeg", starved=True, fold=0),
        made.modality_row(modality="eeg", starved=False, fold=1),
        made.modality_row(modality="ecg", starved=True, fold=0),
        made.modality_row("row-naivemg-seed1", "emg", starved=True),
    ]
    found = found_in(
        made,
        made.manifest_json(),
        trials=better_row(made, mod_y=False, mod_d=False),
        modalities=modalities,
    )
    said = text_of(found)
    assert "warning: Starved: EEG and ECG." in said
    assert "t000: EEG in 1 of 2 trainings and ECG in 1 of 1 training." in said
    assert "EMG" not in said


def test_a_discriminator_at_chance_is_stuck_or_has_unlearnt(made: Any) -> None:
    trials = [
        made.row_row(domain_accuracy=0.21, domain_accuracy_best=0.35, domain_chance=0.2),
        made.trial_row(
            test_macro_f1=0.65, domain_accuracy=0.22, domain_accuracy_best=0.22, domain_chance=0.2
        ),
    ]
    said = text_of(found_in(made, made.manifest_json(), trials=trials))
    assert "warning: The discriminator never left chance: t000." in said
    assert "note: The discriminator ended at chance: NaiveMG." in said
    assert "NaiveMG (0.210 of 0.200)" in said
    trials = better_row(made, domain_accuracy=None, domain_chance=None)
    assert "chance:" not in text_of(found_in(made, made.manifest_json(), trials=trials))


def test_failures_are_named_with_the_first_line(made: Any) -> None:
    trials = [
        *better_row(made),
        made.failed(made.trial_row("t001")),
        made.failed(made.row_row(seed=2), None),
    ]
    said = text_of(found_in(made, made.manifest_json(), trials=trials))
    assert "warning: 2 of 4 trials and runs of rows failed." in said
    assert "t001: out of memory; row-naivemg-seed2: no message was stored." in said
    assert "Traceback" not in said


def test_a_search_without_rows_has_no_control(made: Any) -> None:
    found = found_in(made, made.manifest_json(rows=[]), trials=[made.trial_row()])
    assert "No row was run: there is no control." in text_of(found)


def test_nothing_finished(made: Any) -> None:
    for manifest, run in (
        (made.manifest_json(), made.trial_row()),
        (made.ablation_json(), made.row_row()),
    ):
        found = found_in(made, manifest, trials=[made.failed(run)], recordings=[])
        assert "1 of 1 trials and runs of rows failed." in text_of(found)


def test_several_seeds_of_the_chosen_trial_need_no_note(made: Any) -> None:
    trials = [made.trial_row("t000", objective=0.7, n_replicates=3), made.row_row()]
    found = found_in(made, made.manifest_json(), trials=trials)
    assert "one seed" not in text_of(found)
    trials[0]["n_replicates"] = 1
    assert "The chosen trial was run with one seed." in text_of(
        found_in(made, made.manifest_json(), trials=trials)
    )


def test_what_the_scheduler_ended_is_no_failure(made: Any) -> None:
    ended = {"state": "stopped", "objective": None, "stopped_after": 2}
    trials = [made.trial_row("t000"), made.failed(made.trial_row("t001"), None) | ended]
    assert "failed" not in text_of(found_in(made, made.manifest_json(), trials=trials))
