"""The tables of a sweep, row by row by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import entropy

from orchestrator.alignment.batches import Batch
from orchestrator.method import Done
from orchestrator.methods.selective.results import TrialRow
from orchestrator.methods.selective.run.tables import (
    batches_table,
    predicted_of,
    subject_rows,
    trial_row,
    trials_table,
)
from orchestrator.methods.selective.trial.configuration import Configuration, Trial
from orchestrator.psg.feed import StoredRecording
from orchestrator.sweeps.objective import Evaluation, Judged
from orchestrator.tables.rows import schema_of, values_of
from trainables.stages import Stage


def batch(batch_id: int, subject: str, *epochs: int) -> Batch:
    return Batch(
        batch_id=batch_id,
        subject=subject,
        recording=f"{subject}-n1",
        epochs=np.array(epochs, np.int32),
    )


BATCHES = [batch(0, "s1", 0, 2), batch(1, "s1", 3, 4), batch(2, "s2", 7, 8), batch(3, "v1", 0, 1)]
STAGES = np.array([[0, 0], [3, 2], [4, 1], [0, 3]])


def of_seeds(*seeds: Configuration) -> Trial:
    return Trial(configurations=seeds, signature="abc", stored=("abc",))


TRIAL: Done[Trial] = Done(
    name="t001",
    is_control=False,
    enqueued=True,
    trial=of_seeds(
        *(
            Configuration(
                kept=np.array([1, 2]),
                tau_quantile=0.25,
                tau_absolute=0.1,
                learning_rate=1e-4,
                n_steps=30,
                seed=seed,
            )
            for seed in (1, 2, 3)
        )
    ),
    signature="abc",
    objective=0.75,
    replicates=(0.73, 0.75, 0.77),
    on_front=True,
    error=None,
)


def predictions(*rows: tuple[str, int, list[float]]) -> pa.Table:
    """Role, position of the recording, and probabilities of W, N2 and N3."""
    columns = {
        "role": [role for role, _, _ in rows],
        "recording": pa.array([position for _, position, _ in rows], pa.int32()),
        "epoch_index": pa.array(range(len(rows)), pa.int32()),
    }
    for i, stage in enumerate(("W", "N2", "N3")):
        columns[f"p_{stage}"] = pa.array([float(p[i]) for _, _, p in rows])
    return pa.table(columns)


def test_what_a_trial_says_of_subjects_is_the_mean_of_its_seeds() -> None:
    recordings = [
        StoredRecording(dataset="d", subject=subject, recording=name, epochs_sha256="")
        for subject, name in (("b", "b-1"), ("a", "a-1"), ("a", "a-2"), ("c", "all-flat"))
    ]
    one = predictions(
        ("objective", 0, [0, 1, 0]),
        ("test", 0, [1, 0, 0]),
        ("test", 1, [0.9, 0.1, 0]),
        ("test", 2, [0, 0.2, 0.8]),
    )
    two = predictions(
        ("objective", 0, [0, 1, 0]),
        ("test", 0, [1, 0, 0]),
        ("test", 1, [0.0, 1.0, 0]),
        ("test", 2, [0, 0.2, 0.8]),
    )
    rows = predicted_of("t003", recordings, [one, two], (Stage.W, Stage.N2, Stage.N3))
    assert [(row.trial, row.subject, row.n_epochs) for row in rows] == [
        ("t003", None, 3), ("t003", "a", 2), ("t003", "b", 1),
    ]  # fmt: skip
    every = dict.fromkeys(("W", "N1", "N2", "N3", "REM"), 0)
    assert [row.epochs for row in rows] == [
        every | {"W": 1, "N2": 1, "N3": 1},
        every | {"N2": 1, "N3": 1},
        every | {"W": 1},
    ]
    assert (rows[2].certainty, rows[2].information) == (1, 0)
    doubts = [entropy([0.45, 0.55, 0], base=3), entropy([0, 0.2, 0.8], base=3)]
    assert rows[1].certainty == pytest.approx(1 - np.mean(doubts))
    spread = entropy([0.225, 0.375, 0.4], base=3)
    assert rows[1].information == pytest.approx(spread - np.mean(doubts))


def test_a_complete_trial() -> None:
    evaluation = Evaluation(macro_f1=0.6, accuracy=0.7, kappa=0.4, n_epochs=10)
    row = trial_row(
        TRIAL, BATCHES[:3], STAGES[:3], evaluation, 2, on_line=True, transfer_margin=-0.02
    )
    assert values_of(row) == {
        "trial": "t001",
        "kind": "trial",
        "arm": None,
        "state": "complete",
        "enqueued": True,
        "on_line": True,
        "reused_from": None,
        "tau_quantile": 0.25,
        "tau_absolute": 0.1,
        "learning_rate": 1e-4,
        "n_kept": 2,
        "n_selectable": 3,
        "n_subjects_kept": 2,
        "n_steps": 30,
        "objective": 0.75,
        "n_replicates": 3,
        # 0.75 -+ t(0.975, 2) 0.02 / sqrt(3), from a table of Student's t.
        "objective_low": pytest.approx(0.75 - 4.303 * 0.02 / 3**0.5, abs=1e-5),
        "objective_high": pytest.approx(0.75 + 4.303 * 0.02 / 3**0.5, abs=1e-5),
        "cost": 60.0,
        "transfer_margin": -0.02,
        "on_front": True,
        "stopped_after": None,
        "target_macro_f1": 0.6,
        "target_accuracy": 0.7,
        "target_kappa": 0.4,
        "kept_W": 0,
        "kept_N1": 1,
        "kept_N2": 1,
        "kept_N3": 1,
        "kept_REM": 1,
        "signature": "abc",
        "error": None,
    }


def of_subjects(*kept: tuple[list[int], float, float]) -> Done[Trial]:
    """The trial with one seed and a selection for each subject: batches, and tau as a quantile and on the reward."""
    first = TRIAL.trial.configurations[0]
    each = [
        replace(
            first,
            subject=f"n{i}",
            kept=np.array(batches, np.intp),
            tau_quantile=tau_quantile,
            tau_absolute=tau_absolute,
        )
        for i, (batches, tau_quantile, tau_absolute) in enumerate(kept)
    ]
    return replace(TRIAL, trial=of_seeds(*each), replicates=())


def test_a_trial_with_a_model_for_each_subject_has_sums() -> None:
    one = of_subjects(([1, 2], 0.25, 0.1), ([0, 2], 0.25, 0.2))
    row = trial_row(one, BATCHES[:3], STAGES[:3], None, 2, n_subjects=2)
    assert (row.n_kept, row.n_selectable, row.kept_fraction) == (4, 6, 4 / 6)
    assert row.n_subjects_kept == 2
    assert row.kept == {"W": 2, "N1": 2, "N2": 1, "N3": 1, "REM": 2}
    assert (row.tau_quantile, row.tau_absolute) == (0.25, None)
    assert row.cost == 2 * 60
    shared = trial_row(
        of_subjects(([1, 2], 0.25, 0.1), ([1, 2], 0.25, 0.1)), BATCHES, STAGES, None, 2
    )
    assert (shared.n_kept, shared.cost, shared.tau_absolute) == (4, 60, 0.1)


def test_a_cut_on_the_reward_drops_another_share_for_each_subject() -> None:
    one = of_subjects(([1, 2], 1 / 3, 0.1), ([], 1.0, 0.1))
    row = trial_row(one, BATCHES[:3], STAGES[:3], None, 2, n_subjects=2)
    assert row.tau_quantile == pytest.approx(1 - row.n_kept / row.n_selectable)
    assert row.tau_absolute == 0.1
    assert row.cost == 60, "nothing is trained for the second"


def test_an_arm_without_training() -> None:
    untrained = Configuration(
        kept=np.arange(0),
        tau_quantile=None,
        tau_absolute=None,
        learning_rate=None,
        n_steps=0,
        seed=1,
    )
    arm = replace(TRIAL, name="no_adapt", is_control=True, trial=of_seeds(untrained), replicates=())
    row = trial_row(arm, BATCHES[:3], STAGES[:3], None, 2)
    assert (row.trial, row.kind, row.arm) == ("arm-no_adapt", "arm", "no_adapt")
    assert (row.n_kept, row.n_steps) == (0, 0)
    assert row.n_subjects_kept == 0
    assert row.cost == 0
    assert (row.n_replicates, row.objective_low, row.objective_high) == (1, None, None)
    assert row.kept == dict.fromkeys(("W", "N1", "N2", "N3", "REM"), 0)


def test_a_failed_trial_keeps_its_reason_and_has_no_metric() -> None:
    failed = replace(TRIAL, signature=None, objective=None, error="DivergedError")
    row = trial_row(failed, BATCHES[:3], STAGES[:3], None, 2)
    assert (row.state, row.error, row.signature) == ("failed", "DivergedError", None)
    assert row.objective is None
    assert row.target_macro_f1 is None


def test_a_trial_that_the_scheduler_ended_has_no_metric() -> None:
    ended = replace(TRIAL, signature=None, objective=None, stopped_after=3)
    row = trial_row(ended, BATCHES[:3], STAGES[:3], None, 2)
    assert (row.state, row.stopped_after, row.objective) == ("stopped", 3, None)
    assert row.cost is None, "nobody knows where between two reports it was ended"


TARGET = [
    StoredRecording(dataset="new", subject=subject, recording=recording, epochs_sha256="")
    for subject, recording in (("n1", "n1-a"), ("n2", "n2-a"), ("n2", "n2-b"))
]


def judged(recording: list[int], true: list[int], predicted: list[int]) -> Judged:
    rows = pa.table({"recording": pa.array(recording, pa.int32())})
    return Judged(rows=rows, true=np.array(true), predicted=np.array(predicted))


def test_each_seed_has_its_test_subjects() -> None:
    true = [0, 2, 0, 2, 2]
    with_seeds = [
        judged([0, 0, 1, 2, 2], true, predicted)
        for predicted in ([0, 2, 0, 2, 2], [0, 0, 0, 2, 2], [0, 2, 2, 2, 0])
    ]
    rows = subject_rows(TRIAL, with_seeds, TARGET, tuple(Stage))
    assert [(row.seed, row.subject, row.accuracy) for row in rows] == [
        *((1, "n1", 1.0), (1, "n2", 1.0)),
        *((2, "n1", 0.5), (2, "n2", 1.0)),
        *((3, "n1", 1.0), (3, "n2", pytest.approx(1 / 3))),
    ]
    assert {(row.trial, row.kind, row.control, row.split, row.fold) for row in rows} == {
        ("t001", "trial", None, "test", None)
    }
    assert rows[-1].confusion["N2_as_W"] == rows[-1].confusion["W_as_N2"] == 1


def test_an_arm_and_a_trial_that_reuses_have_rows_of_their_own() -> None:
    one_seed = replace(TRIAL, trial=of_seeds(TRIAL.trial.configurations[0]))
    found = [judged([0], [0], [0])]
    (arm,) = subject_rows(
        replace(one_seed, name="random", is_control=True), found, TARGET, tuple(Stage)
    )
    assert (arm.trial, arm.kind, arm.control, arm.seed) == ("arm-random", "arm", "random", 1)
    reusing = replace(one_seed, name="t007", reused_from="t001")
    (row,) = subject_rows(reusing, found, TARGET, tuple(Stage))
    assert (row.trial, row.kind, row.control, row.seed) == ("t007", "trial", None, 1)


def test_the_table_is_sorted_and_typed() -> None:
    evaluation = Evaluation(macro_f1=0.6, accuracy=0.7, kappa=0.4, n_epochs=10)
    rows = [trial_row(TRIAL, BATCHES[:3], STAGES[:3], evaluation, 2)]
    rows += [replace(rows[0], trial=name, objective=None) for name in ("t000", "arm-random")]
    table = trials_table(rows)
    assert table.schema == schema_of(TrialRow)
    assert table["trial"].to_pylist() == ["arm-random", "t000", "t001"]
    assert table["objective"].to_pylist() == [None, None, 0.75]


def test_batches_with_those_held_out() -> None:
    emd_S = np.array([2.0, 4.0, 0.0, 1.0])
    reward_S = np.array([0.5, 0.25, np.inf, 1.0])
    table = batches_table(BATCHES, [0, 1, 2], emd_S, reward_S, STAGES)
    assert table["selectable"].to_pylist() == [True, True, True, False]
    assert table.to_pylist()[2] == {
        "batch_id": 2,
        "subject": "s2",
        "recording": "s2-n1",
        "first_epoch": 7,
        "n": 2,
        "selectable": True,
        "emd": 0.0,
        "reward": float("inf"),
        "W": 0,
        "N1": 1,
        "N2": 0,
        "N3": 0,
        "REM": 1,
    }
    assert table["W"].to_pylist() == [2, 0, 0, 1]
