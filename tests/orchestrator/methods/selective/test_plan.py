"""Who is trained on, judged on and adapted to, and which batches that gives, over made-up nights."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config.sweep import dump, renamed
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.psg.feed import StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store

AddNight = Callable[..., None]
MakeSweep = Callable[..., SelectiveSweep]
pytestmark = pytest.mark.usefixtures("two_sites")


def subjects(recordings: tuple[StoredRecording, ...]) -> list[str]:
    return [recording.subject for recording in recordings]


def refused(sweep: SelectiveSweep, store: Store) -> str:
    with pytest.raises(ConfigError) as caught:
        plan_sweep(sweep, store)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_role_has_its_subjects(make_sweep: MakeSweep, store: Store) -> None:
    plan = plan_sweep(make_sweep(), store)
    assert subjects(plan.train) == ["s1", "s2"]
    assert subjects(plan.early_stop) == ["v1"]
    assert subjects(plan.source_validation) == ["v2"]
    assert plan.target_validation == ()
    assert subjects(plan.target_test) == ["t1"]
    assert subjects(plan.source) == ["s1", "s2", "v1", "v2"]
    assert plan.objective_recordings == plan.source_validation


def test_the_first_validation_subject_by_name_stops_pretraining(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(validation="[v2, v1]"), store)
    assert subjects(plan.early_stop) == ["v1"]


def test_source_batches_are_scored_epochs_that_are_not_flat(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(), store)
    assert [b.subject for b in plan.source_batches] == ["s1"] * 3 + ["s2"] * 5 + ["v1", "v2", "v2"]
    # Of the first sixteen, 0 and 5 are flat, 5, 6, 13 and 14 unscored.
    assert plan.source_batches[0].epochs.tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    assert plan.source_batches[1].epochs.tolist() == [11, 12, 15, 16, 17, 18, 19, 20]


def test_held_out_batches_are_scored_but_cannot_be_selected(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(), store)
    assert plan.selectable == tuple(range(8))
    request = plan.score_request("e")
    assert len(request.source_batches) == 11
    assert request.statistics == plan.selectable


def test_target_batches_do_not_look_at_stages(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    (first, second) = plan_sweep(make_sweep(), store).target_batches
    assert first.epochs.tolist() == [0, 2, 3, 4, 5, 6, 7, 8]  # all but the flat one
    assert second.epochs.tolist() == [9, 10, 11, 12, 13, 14, 15, 16]
    add_night("scored", "t1", [2] * 20, flat=[1])
    other = plan_sweep(make_sweep(target="scored"), store).target_batches
    assert [b.epochs.tolist() for b in other] == [first.epochs.tolist(), second.epochs.tolist()]


ROLES = "  adapt: [{}]\n  test: [{}]"


def with_roles(adapt: str, test: str, **more: str) -> dict[str, str]:
    return {"target_subjects": "", "more_target": ROLES.format(adapt, test), **more}


@pytest.fixture
def three_at_the_clinic(add_night: AddNight) -> None:
    add_night("clinic", "t2", [2, 3] * 6)
    add_night("clinic", "t3", [-1] * 12)


@pytest.mark.usefixtures("three_at_the_clinic")
def test_whoever_is_judged_on_what_was_adapted_to_makes_a_sweep_transductive(
    make_sweep: MakeSweep, store: Store
) -> None:
    """However many subjects there are."""
    assert plan_sweep(make_sweep(), store).transductive
    assert plan_sweep(make_sweep(**with_roles("t1, t2", "t2, t3")), store).transductive
    assert not plan_sweep(make_sweep(**with_roles("t1", "t2, t3")), store).transductive


@pytest.mark.usefixtures("three_at_the_clinic")
def test_who_is_adapted_to_gives_the_batches_and_who_is_judged_none(
    make_sweep: MakeSweep, store: Store
) -> None:
    plan = plan_sweep(make_sweep(**with_roles("t1, t3", "t2")), store)
    assert subjects(plan.target_adapt) == ["t1", "t3"]
    assert subjects(plan.target_test) == ["t2"]
    assert {batch.subject for batch in plan.target_batches} == {"t1", "t3"}
    request = plan.score_request("e")
    assert subjects(request.target) == ["t1", "t3"]
    assert subjects(plan.tested_apart) == ["t2"]


@pytest.mark.usefixtures("three_at_the_clinic")
def test_what_a_sweep_began_with_knows_the_judged_too(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    def data_id(**changes: str) -> tuple[str, str]:
        plan = plan_sweep(make_sweep(**changes), store)
        return plan.data_id(plan.score_request("e").score_id)

    assert data_id()[0] == "score_id"
    same = data_id(**with_roles("t1, t2", "t2"))
    assert same[0] == "score_id"  # of all that is predicted, the score table knows
    key, before = data_id(**with_roles("t1", "t2"))
    assert key == "data_id"
    assert data_id(**with_roles("t1", "t3")) != (key, before)
    add_night("clinic", "t2", [1] * 8)
    assert data_id(**with_roles("t1", "t2")) != (key, before)


@pytest.mark.parametrize(
    "objective", ["source_val", "target_information", "target_emd", "target_certainty"]
)
def test_a_target_without_a_label_is_not_judged(
    make_sweep: MakeSweep, store: Store, add_night: AddNight, objective: str
) -> None:
    add_night("ward", "u1", [-1] * 24)
    search = f"  objective: {objective}"
    plan = plan_sweep(make_sweep(target="ward", more_search=search), store)
    assert not plan.judged
    assert subjects(plan.target_test) == subjects(plan.target_adapt) == ["u1"]
    assert plan_sweep(make_sweep(more_search=search), store).judged


def test_an_oracle_is_refused_by_name_where_the_target_has_no_label(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    for subject in ("u1", "u2"):
        add_night("ward", subject, [-1] * 24)
    more = {
        "more_target": "  validation: [u1]",
        "more_search": "  objective: oracle_target_val",
    }
    message = refused(make_sweep(target="ward", **more), store)
    assert "the objective oracle_target_val needs stages of u1" in message
    assert message.endswith("source_val, target_information, target_emd, target_certainty.")


def test_a_test_subject_without_a_signal_is_refused(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "t2", [2] * 8, flat=range(8))
    message = refused(make_sweep(**with_roles("t1", "t2")), store)
    assert "every epoch of the target's test subjects (t2) is flat" in message


def test_roles_of_the_target_are_no_source(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("home", "x1", [2] * 8)
    changes = with_roles("x1", "s2", target="home", exclude="[x1]")
    message = refused(make_sweep(**changes), store)
    assert message.startswith("s2 of data set 'home' would be source and target")
    assert message.endswith("out of target.adapt and target.test.")


def test_all_recordings_of_a_subject_share_its_role(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("home", "v1", [2] * 16, recording="v1-n2")
    plan = plan_sweep(make_sweep(), store)
    assert [r.recording for r in plan.early_stop] == ["v1-n1", "v1-n2"]
    assert plan.selectable == tuple(range(8))


def test_a_quarantined_recording_has_no_role(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("home", "s3", [2] * 80, status="quarantined")
    assert subjects(plan_sweep(make_sweep(), store).train) == ["s1", "s2"]


def test_unlabelled_recordings_are_no_source(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    before = plan_sweep(make_sweep(), store).encoder_request().encoder_id
    add_night("home", "s1", [-1] * 80, recording="s1-n2")
    add_night("home", "a1", [-1] * 80)
    plan = plan_sweep(make_sweep(), store)
    assert [r.recording for r in plan.train] == ["s1-n1", "s2-n1"]
    assert plan.encoder_request().encoder_id == before
    message = refused(make_sweep(validation="[a1, v2]"), store)
    assert "'a1' matches unlabelled subjects alone (a1)" in message


def test_oracle_validation_subjects_are_not_tested_on(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "t2", [2] * 8)
    sweep = make_sweep(
        more_target="  validation: [t2]", more_search="  objective: oracle_target_val"
    )
    plan = plan_sweep(sweep, store)
    assert subjects(plan.target_validation) == ["t2"]
    assert subjects(plan.target_test) == ["t1"]
    assert plan.objective_recordings == plan.target_validation
    assert {b.subject for b in plan.target_batches} == {"t1", "t2"}


def test_an_oracle_needs_two_target_subjects(make_sweep: MakeSweep, store: Store) -> None:
    sweep = make_sweep(
        more_target="  validation: [t1]", more_search="  objective: oracle_target_val"
    )
    assert "at least two target subjects" in refused(sweep, store)


@pytest.mark.parametrize("subject", ["s2", "v2"])
def test_a_subject_in_two_roles_is_refused(
    subject: str, make_sweep: MakeSweep, store: Store
) -> None:
    message = refused(make_sweep(target="home", target_subjects=f"[{subject}]"), store)
    assert message.startswith(f"{subject} of data set 'home' would be source and target")


def test_a_subject_may_be_the_target_if_it_is_no_source(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("home", "x1", [2] * 8)
    sweep = make_sweep(target="home", target_subjects="[x1]", exclude="[x1]")
    plan = plan_sweep(sweep, store)
    assert subjects(plan.target_adapt) == ["x1"]
    assert "x1" not in subjects(plan.source)


def test_the_same_name_in_two_data_sets_is_two_subjects(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "s1", [2] * 8)
    assert subjects(plan_sweep(make_sweep(), store).target_adapt) == ["s1", "t1"]


def test_one_validation_subject_is_refused(make_sweep: MakeSweep, store: Store) -> None:
    message = refused(make_sweep(validation="[v1]"), store)
    assert "gives 1 subject (v1); at least 2" in message


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"source": "hme"}, ["'hme' is not in the store", "did you mean 'home'?"]),
        ({"target": "ward"}, ["'ward' is not in the store", "clinic, home"]),
        ({"validation": "[v1, v3]"}, ["'v3'", "v2"]),
        ({"target_subjects": "[t9]"}, ["'t9'", "t1"]),
        ({"exclude": "[q1]"}, ["'q1'"]),
    ],
)
def test_unknown_names_are_refused(
    changes: dict[str, Any], parts: list[str], make_sweep: MakeSweep, store: Store
) -> None:
    message = refused(make_sweep(**changes), store)
    assert all(part in message for part in parts), message


def test_fewer_than_8_selectable_batches_are_refused(make_sweep: MakeSweep, store: Store) -> None:
    # 11 batches, but without those of s1 only 5 may be trained on.
    assert "5 batches of 8" in refused(make_sweep(exclude="[s1]"), store)


def test_a_target_shorter_than_a_batch_is_refused(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("short", "t1", [2] * 8, flat=[3])
    assert "the target gives no batch of 8" in refused(make_sweep(target="short"), store)


EACH = {"more_target": "adapt_to: subject"}


def test_each_test_subject_has_its_own_target_batches(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "t2", [2] * 17)
    assert plan_sweep(make_sweep(), store).adapted_alone == ()
    plan = plan_sweep(make_sweep(**EACH), store)
    assert plan.adapted_alone == ("t1", "t2")
    assert [plan.target_batches_of(subject) for subject in ("t1", "t2")] == [(0, 1), (2, 3)]
    together = plan_sweep(make_sweep(), store)
    assert plan.score_request("e").score_id == together.score_request("e").score_id


def test_a_subject_without_a_whole_batch_is_refused_by_name(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "t2", [2] * 8, flat=[3])
    add_night("clinic", "t2", [2] * 5, recording="t2-n2")  # a batch is of one recording
    assert plan_sweep(make_sweep(), store)
    message = refused(make_sweep(**EACH), store)
    assert "a batch of 8 epochs of one recording" in message
    assert "too few has t2 (7 in the longest recording). Lower batch_size" in message
    assert message.endswith("or name the subject in target.exclude.")
    assert "t1" not in message
    assert plan_sweep(make_sweep(more_target="  exclude: [t2]\nadapt_to: subject"), store)


def test_an_oracles_subjects_are_not_adapted_to(
    make_sweep: MakeSweep, store: Store, add_night: AddNight
) -> None:
    add_night("clinic", "t2", [2] * 8)
    sweep = make_sweep(
        more_target="  validation: [t2]\nadapt_to: subject",
        more_search="  objective: oracle_target_val",
    )
    assert plan_sweep(sweep, store).adapted_alone == ("t1",)


@pytest.mark.parametrize(
    ("earlier", "now", "said"),
    [
        ("", "adapt_to: subject", "which has adapt_to target; this sweep has adapt_to subject"),
        ("adapt_to: subject", "", "which has adapt_to subject; this sweep has adapt_to target"),
        (
            "adapt_to: subject",
            "adapt_to: subject",
            "which has tau_absolute; this sweep has tau_quantile",
        ),
        ("", "", None),
    ],
)
def test_a_sweep_learns_from_those_that_adapt_alike(
    earlier: str, now: str, said: str | None, make_sweep: MakeSweep, store: Store
) -> None:
    space = "  space: {tau_absolute: {log_uniform: [0.1, 1]}}"
    old = make_sweep(more_target=earlier, more_search=space)
    store.write_bytes(paths.sweep_file("old"), dump(renamed(old, "old")).encode())
    sweep = make_sweep(more_target=now, more_search="  warm_start: [old]")
    if said is None:
        assert plan_sweep(sweep, store)
    else:
        assert said in refused(sweep, store)
        store.write_bytes(paths.sweep_journal("probe"), b"")  # it has begun, so it has learned
        assert plan_sweep(sweep, store)
