"""Which trial is chosen, what it can be told apart from, and the sections that find its encoder."""

import json
from typing import Any

import pytest

from orchestrator.config.yaml_source import load
from orchestrator.methods.pretrain.review.cautions import cautions
from orchestrator.methods.pretrain.review.findings import Findings, find
from orchestrator.methods.pretrain.review.records import read_sweep
from orchestrator.store import paths


def found_in(save: Any, *arguments: Any, **changes: Any) -> Findings:
    return find(read_sweep(save(*arguments, **changes), "probe"))


def titles(found: Findings) -> list[str]:
    return [caution.title for caution in cautions(found)]


def test_the_highest_objective_is_chosen_and_failures_come_last(save: Any) -> None:
    found = found_in(save)
    assert found.chosen is not None
    assert found.chosen.trial == "t001"
    assert [trial.trial for trial in found.ranked] == ["t001", "t002", "t000", "t003"]
    dropout, batch_size = (
        found.sensitivities
    )  # in the order of the file, not of the manifest's keys
    assert (dropout.name, dropout.n_trials, dropout.chosen) == ("dropout", 3, 0.2)
    assert (batch_size.title, batch_size.low, batch_size.chosen) == ("batch size", 16, 33)
    # 0.5, 0.2, 0.7 against 0.60, 0.71, 0.66: ranks 2 1 3 and 1 3 2.
    assert dropout.correlation == pytest.approx(-0.5)


def test_trials_within_one_sd_between_subjects_are_named(made: Any, save: Any) -> None:
    found = found_in(save)
    assert found.subject_sd == pytest.approx(0.08)  # 0.62, 0.70, 0.78
    assert [trial.trial for trial in found.within_spread] == ["t002"]  # 0.05 lower, the other 0.11
    assert "1 other trial within the spread between subjects." in titles(found)
    narrow = [*made.subject_rows("t001", 0.70, 0.71, 0.72)]
    assert found_in(save, made.trials, narrow).within_spread == ()


def test_a_trial_with_the_same_encoder_is_no_other_trial(made: Any, save: Any) -> None:
    again = made.trial_row(
        "t004", objective=0.712345678901, encoder_id="e-t001", reused_from="t001"
    )
    assert [t.trial for t in found_in(save, [*made.trials, again]).within_spread] == ["t002"]


def test_the_sections_hold_the_chosen_values_and_the_files_own(save: Any, tmp_path: Any) -> None:
    sections = found_in(save).sections
    assert sections is not None
    (tmp_path / "encoder.yaml").write_text(sections, encoding="utf-8")
    assert load(tmp_path / "encoder.yaml").data == {
        "encoder": {"architecture": "mrcnn", "dropout": 0.2},
        "pretrain": {
            "n_passes": 6,
            "batch_size": 33,
            "learning_rate": 1e-3,
            "n_full_rate_passes": 10,
            "weight_decay": 1e-3,
            "patience": 3,
            "min_passes": 1,
        },
    }


def test_without_a_finished_trial_nothing_is_chosen(made: Any, save: Any) -> None:
    found = found_in(save, [made.failed(made.trial_row())], [])
    assert (found.chosen, found.sections, found.subject_sd) == (None, None, None)
    assert titles(found) == ["1 of 1 trial failed.", "Nothing here is about a target."]


def test_the_majority_answer_is_the_floor(save: Any) -> None:
    loud = cautions(found_in(save, majority={"stage": "N2", "macro_f1": 0.72}))[0]
    assert (loud.level, loud.title) == ("alarm", "No encoder learned to stage sleep.")
    assert "No encoder learned to stage sleep." not in titles(found_in(save))


@pytest.mark.parametrize(
    ("n", "title"),
    [(1, "One held-out subject chooses: v2."), (19, "Few held-out subjects: 19."), (20, None)],
)
def test_few_subjects_are_told(made: Any, save: Any, n: int, title: str | None) -> None:
    subjects = made.subject_rows("t001", *[0.7] * n)
    said = [t for t in titles(found_in(save, made.trials, subjects)) if "held-out subject" in t]
    assert said == ([title] if title else [])


def test_a_best_pass_at_the_limit_is_told(made: Any, save: Any) -> None:
    assert not any("still getting better" in title for title in titles(found_in(save)))
    trials = [made.trial_row("t001", best_pass=6)]
    assert "t001 was still getting better when it ended." in titles(found_in(save, trials))


def test_encoders_of_other_code_are_named_together(save: Any) -> None:
    store = save()
    codes = {name: {"trainables_sha256": name * 64} for name in "abc"}

    def record(path: str, code: str) -> None:
        content = json.loads(store.read_if_there(path) or b"{}")
        store.write_bytes(path, json.dumps(content | {"code": codes[code]}).encode())

    assert "encoder" not in " ".join(titles(find(read_sweep(store, "probe"))))
    record(paths.sweep_manifest("probe"), "a")
    for encoder_id, code in (("e-t000", "b"), ("e-t001", "a"), ("e-t002", "b")):
        record(paths.encoder_json(encoder_id), code)
    (told,) = (c for c in cautions(find(read_sweep(store, "probe"))) if "other code" in c.title)
    assert told.title == "Trained by other code than this sweep began with: 2 encoders."
    assert told.text.startswith(
        "e-t000, e-t002: trainables/ bbbbbbbbbbbb (commit unknown); the sweep: trainables/ aaaaaaaaaaaa"
    )
    record(paths.encoder_json("e-t002"), "c")
    every = [c for c in cautions(find(read_sweep(store, "probe"))) if "other code" in c.title]
    assert [c.text.partition(":")[0] for c in every] == ["e-t000", "e-t002"]
