from typing import Any

import pytest

from orchestrator.methods.sleepmg.review import notes, wording
from orchestrator.methods.sleepmg.review.findings import find

SUBJECTS = [f"s{i}" for i in range(8)]


def tables_of(made: Any, trials: list[Any]) -> dict[str, Any]:
    """Subjects all have the pooled macro-F1 of the trial."""
    recordings = [
        made.recording_row(t["trial"], s, macro_f1=t["test_macro_f1"])
        for t in trials
        for s in SUBJECTS
    ]
    return {"trials": trials, "recordings": recordings}


@pytest.mark.heavy
def test_answer_of_a_search_names_the_values_and_every_verdict(made: Any) -> None:
    rows = [{"name": n, "ours": None} for n in ("NaiveMG", "FeatureNet", "OGM", "Concat")]
    trials = [
        made.row_row("NaiveMG", test_macro_f1=0.645),
        made.row_row("FeatureNet", test_macro_f1=0.60),
        made.row_row("OGM", test_macro_f1=0.70),
        made.row_row("Concat", 1, test_macro_f1=0.50),
        made.row_row("Concat", 2, test_macro_f1=0.70),
        made.trial_row("t007", alpha_y=0.32, grl_weight=0.021, objective=0.66, test_macro_f1=0.65),
        made.trial_row("t008", objective=0.60, test_macro_f1=0.9),
    ]
    found = find(made.sweep(made.manifest_json(rows=rows), tables_of(made, trials)))
    assert wording.answer(found) == (
        "Of 2 trials, t007 has the highest objective (validation macro-F1 0.660): alpha_y 0.32, lambda 0.021. Its "
        "test macro-F1 is 0.650: it helped compared with FeatureNet (+0.050), hurt compared with OGM (\u22120.050), "
        "made no difference compared with NaiveMG (+0.005) and cannot be told from chance compared with Concat "
        "(+0.050)."
    )


def test_answer_of_an_ablation_ranks_by_the_mean_over_seeds(made: Any) -> None:
    trials = [
        made.row_row(name, seed, test_macro_f1=value + change)
        for name, value in (("NaiveMG", 0.60), ("xvx", 0.605), ("SleepMG", 0.66))
        for seed, change in ((1, -0.01), (2, 0.01))
    ]
    found = find(made.sweep(made.ablation_json(), tables_of(made, trials)))
    assert wording.answer(found) == (
        "Of 3 rows, SleepMG has the highest test macro-F1, 0.660 \u00b1 0.014 (mean and SD over 2 seeds). Compared "
        "with NaiveMG: SleepMG (+0.060) helped; xvx (+0.005) made no difference."
    )


@pytest.mark.heavy
def test_many_rows_are_counted_after_the_best(made: Any) -> None:
    names = ["NaiveMG", *(f"row {i}" for i in range(6))]
    trials = [made.row_row(n, test_macro_f1=0.5 + 0.02 * i) for i, n in enumerate(names)]
    rows = [{"name": name, "ours": None} for name in names]
    found = find(made.sweep(made.ablation_json(rows=rows), tables_of(made, trials)))
    assert "row 5 (+0.120), row 4 (+0.100), row 3 (+0.080), row 2 (+0.060) and 2 more helped." in (
        wording.answer(found)
    )


def test_the_first_finished_row_is_what_the_others_are_compared_with(made: Any) -> None:
    trials = [
        made.failed(made.row_row("NaiveMG")),
        made.row_row("xvx", test_macro_f1=0.5),
        made.row_row("SleepMG", test_macro_f1=0.6),
    ]
    found = find(made.sweep(made.ablation_json(), tables_of(made, trials)))
    assert "Compared with xvx: SleepMG (+0.100) helped." in wording.answer(found)
    assert "Row minus xvx" in wording.comparison_note(found)


def test_answers_without_anything_finished(made: Any) -> None:
    search = find(made.sweep(made.manifest_json(), {"trials": [made.failed(made.trial_row())]}))
    assert "says nothing about its parameters" in wording.answer(search)
    ablation = find(made.sweep(made.ablation_json(), {"trials": [made.failed(made.row_row())]}))
    assert "says nothing about its parts" in wording.answer(ablation)


def test_caption_states_steps_pooling_seeds_and_what_is_ours(made: Any) -> None:
    rows = [{"name": "NaiveMG", "ours": None}, {"name": "SleepMG", "ours": "Our reading."}]
    trials = [made.row_row(n, seed) for n in ("NaiveMG", "SleepMG") for seed in (1, 2)]
    folds = [
        made.fold_row("row-naivemg-seed1", n_steps=96),
        made.fold_row("row-sleepmg-seed2", n_steps=120),
        made.fold_row("t000", n_steps=7),
    ]
    manifest = made.ablation_json(rows=rows, figure="Components")
    found = find(made.sweep(manifest, {"trials": trials, "folds": folds}))
    caption = wording.confusion_caption(found)
    assert "Steps per fold: 96 to 120." in caption
    assert "pooled over 3 folds, counts of the seeds summed" in caption
    assert "mean \u00b1 SD over seeds" in caption
    assert wording.confusion_title(found.sweep.manifest) == "Components"
    assert wording.ours_notes(found) == (("SleepMG", "Our reading."),)
    assert wording.ours_lead(found).startswith("Rows that are ours")


def test_caption_of_one_seed_and_of_rows_that_are_not_marked(made: Any) -> None:
    found = find(made.sweep(made.manifest_json(), {"trials": [made.row_row(), made.trial_row()]}))
    assert "seeds" not in wording.confusion_caption(found)
    assert "Steps per fold: \u2013." in wording.confusion_caption(found)
    assert "No row of this figure is marked" in wording.ours_lead(found)


def test_foot_names_subjects_channels_folds_and_the_papers(made: Any) -> None:
    found = find(made.sweep(made.manifest_json()))
    terms = dict(notes.provenance(found))
    assert terms["Subjects"] == "10: s1, s2, s3, s4, s5, s6, s7, s8, s9, s10"
    assert terms["Channels"].startswith(
        "eeg: F3-A2, F4-A1, C3-A2, C4-A1, O1-A2, O2-A1; eog: LOC-A2"
    )
    assert terms["Folds"] == "3 folds (groups of subjects), 1 validation subject in each"
    assert terms["Always the same stage"] == "answering N2 every time has macro-F1 0.114"
    reading = dict(notes.reading_notes(found))
    assert "not a reproduction" in reading["What is reconstruction"]
    assert "OGM-GE" in reading["What is reconstruction"]
