"""Sweeps that adapt to each target subject by itself, run in this process, against sweeps on one subject alone."""

import json
import shutil
from collections.abc import Callable, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from orchestrator.alignment import scores
from orchestrator.labels import LabelGate
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.plan import plan_sweep
from orchestrator.methods.selective.run.method import SelectiveMethod
from orchestrator.methods.selective.run.predictions import joined
from orchestrator.methods.selective.run.scoring import rewards_by_subject, stored_scoring
from orchestrator.reviews import write_review
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.begun import stored_sweep
from orchestrator.sweeps.replay import replay
from orchestrator.telemetry.events import EventLog
from tests.orchestrator.methods.selective.scored import score_here
from tests.orchestrator.sweeps.in_process import run_here
from trainables.stages import STAGE_NAMES

pytestmark = pytest.mark.heavy

SUBJECTS = ("t1", "t3")
SHORT = "pretrain: {n_passes: 2, batch_size: 8, min_passes: 1, n_full_rate_passes: 1}"
ARMS = "arms: [no_adapt, all_source, random, lowest]"
ALL = ["arm-all_source", "arm-lowest", "arm-no_adapt", "arm-random", "t000", "t001", "t002"]
MakeSweep = Callable[..., SelectiveSweep]


def run_named(store: Store, named: str, sweep: SelectiveSweep) -> None:
    """Run a sweep under a name in this process, as the driver does."""
    sweep = sweep.model_copy(update={"name": named})
    score_here(store, plan_sweep(sweep, store))
    table = run_here(store, sweep)
    assert table["error"].to_pylist() == [None] * len(ALL)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of the first test is kept for the others."""
    return tmp_path_factory.mktemp("finished") / "store"


@pytest.fixture(autouse=True)
def finished(
    kept: Path,
    store: Store,
    two_sites: None,
    add_night: Callable[..., None],
    make_sweep: MakeSweep,
) -> None:
    """Finished sweeps: ``each`` adapts to every subject by itself, and ``alone-t1`` ... have one subject."""
    if kept.exists():
        shutil.rmtree(store.uri)
        shutil.copytree(kept, store.uri)
        return
    add_night("clinic", "t1", [2] * 9, recording="t1-n2")
    add_night("clinic", "t3", [0, 2] * 7)
    more = {"more_search": f"  max_concurrent: 1\n{SHORT}\n{ARMS}"}
    each = make_sweep(more_target="adapt_to: subject", **more)
    run_named(store, "each", each)
    for subject in SUBJECTS:
        alone = make_sweep(target_subjects=f"[{subject}]", **more)
        run_named(store, f"alone-{subject}", alone)
    shutil.copytree(store.uri, kept)


def rows(store: Store, name: str) -> Mapping[str, Mapping[str, Any]]:
    return {row["trial"]: row for row in store.read_table(paths.sweep_trials(name)).to_pylist()}


def of_role(table: pa.Table, role: str) -> pa.Table:
    return table.filter(pc.equal(pc.cast(table["role"], pa.string()), role)).drop_columns("role")


def method_of(store: Store, name: str) -> Any:
    sweep = stored_sweep(store, name)
    assert isinstance(sweep, SelectiveSweep)
    method = SelectiveMethod(store, sweep)
    method.begin(LabelGate(store, EventLog(store, "elsewhere.jsonl")), store)
    return method


TAUS = ({"tau_quantile": 0.0}, {"tau_quantile": 0.25}, {"tau_quantile": 0.5})
PARAMS: Mapping[str, Mapping[str, float] | None] = {
    **dict.fromkeys(ALL[:4]),
    **{f"t00{i}": {**tau, "learning_rate": 1e-4} for i, tau in enumerate(TAUS)},
}


def stored(store: Store, method: Any, trial: str) -> list[pa.Table]:
    names = method.configured(trial, PARAMS[trial]).stored
    return [store.read_table(paths.predictions(method.sweep.name, name)) for name in names]


def test_each_subject_gets_bit_for_bit_what_a_sweep_on_it_alone_gives(store: Store) -> None:
    each = method_of(store, "each")
    for i, subject in enumerate(SUBJECTS):
        alone = method_of(store, f"alone-{subject}")
        for trial in set(ALL) - {"arm-no_adapt"}:
            found, (expected,) = stored(store, each, trial)[i], stored(store, alone, trial)
            assert of_role(found, "objective").equals(of_role(expected, "objective"))
            own, others = of_role(found, "test"), of_role(expected, "test")
            assert own.drop_columns("recording").equals(others.drop_columns("recording"))
            # Recordings count in the list of those of all subjects.
            first = (0, 2)[i]
            assert own["recording"].to_pylist() == [
                r + first for r in others["recording"].to_pylist()
            ]
    kept = [each.kept.tolist() for each in each.configured("t002", PARAMS["t002"]).configurations]
    assert len({tuple(one) for one in kept}) == len(SUBJECTS), "the selections are the same"


def test_rewards_are_to_the_last_digit_those_of_a_sweep_on_one_subject(store: Store) -> None:
    plan = plan_sweep(method_of(store, "each").sweep, store)
    request = plan.score_request(plan.encoder_request().encoder_id)
    emd_ST = scores.read_scores(
        store, request.score_id, len(plan.source_batches), len(plan.target_batches)
    )
    assert {len(plan.target_batches_of(subject)) for subject in SUBJECTS} == {1, 3}
    for subject, own in rewards_by_subject(plan, emd_ST).items():
        alone = stored_scoring(store, plan_sweep(method_of(store, f"alone-{subject}").sweep, store))
        assert own.emd_S.tobytes() == alone.emd_S.tobytes()
        assert own.reward_S.tobytes() == alone.reward_S.tobytes()
    together = stored_scoring(store, plan)
    np.testing.assert_array_equal(together.emd_S, emd_ST.mean(axis=1))


def test_the_table_has_means_of_the_objective_and_sums_of_what_is_kept(store: Store) -> None:
    each = rows(store, "each")
    alone = [rows(store, f"alone-{subject}") for subject in SUBJECTS]
    assert list(each) == ALL
    for trial in set(ALL) - {"arm-no_adapt"}:
        row, singles = each[trial], [table[trial] for table in alone]
        for column in ("objective", "transfer_margin"):
            assert row[column] == pytest.approx(np.mean([one[column] for one in singles]))
        for column in ("n_kept", "n_selectable", *(f"kept_{name}" for name in STAGE_NAMES)):
            assert row[column] == sum(one[column] for one in singles), column
        for column in ("learning_rate", "n_steps", "tau_quantile"):
            assert row[column] == singles[0][column]
    assert {row["n_selectable"] for row in each.values()} == {16}
    untouched = each["arm-no_adapt"]
    assert (untouched["n_kept"], untouched["cost"]) == (0, 0)
    assert untouched["objective"] == alone[0]["arm-no_adapt"]["objective"]
    assert each["t002"]["tau_absolute"] is None
    one_training, two = 2 * 8, 2 * 2 * 8  # steps of 8 epochs
    costs = {trial: row["cost"] for trial, row in each.items()}
    assert costs["arm-all_source"] == costs["arm-random"] == costs["t000"] == one_training
    assert costs["t002"] == two


def test_the_joined_predictions_are_judged(store: Store) -> None:
    each = method_of(store, "each")
    plan = plan_sweep(each.sweep, store)
    true, said = [], []
    table = of_role(joined(stored(store, each, "t002")), "test")
    stages = [
        store.read_table(recording.path)["stage"].to_numpy() for recording in plan.target_test
    ]
    probability = np.stack([table[f"p_{name}"].to_numpy() for name in STAGE_NAMES], axis=1)
    places = zip(table["recording"].to_pylist(), table["epoch_index"].to_pylist(), strict=True)
    for (recording, epoch), p in zip(places, probability, strict=True):
        if stages[recording][epoch] >= 0:
            true.append(stages[recording][epoch])
            said.append(p.argmax())
    row = rows(store, "each")["t002"]
    expected = f1_score(true, said, labels=range(5), average="macro", zero_division=0)
    assert row["target_macro_f1"] == pytest.approx(expected)
    assert row["target_kappa"] == pytest.approx(cohen_kappa_score(true, said))
    assert row["target_accuracy"] == pytest.approx(np.mean(np.equal(true, said)))
    untouched = of_role(joined(stored(store, each, "arm-no_adapt")), "test")
    for column in ("recording", "epoch_index"):
        assert table[column].to_pylist() == untouched[column].to_pylist()


@pytest.mark.parametrize("path", [paths.sweep_trials_by_subject, paths.sweep_predicted])
def test_each_subject_has_the_rows_of_a_sweep_on_it_alone(
    store: Store, path: Callable[[str], str]
) -> None:
    each = store.read_table(path("each")).to_pylist()
    expected = [
        row
        for subject in SUBJECTS
        for row in store.read_table(path(f"alone-{subject}")).to_pylist()
        if row["subject"] is not None
    ]
    found = [row for row in each if row["subject"] is not None]
    key = lambda row: (row["trial"], row["subject"])  # noqa: E731
    assert sorted(found, key=key) == sorted(expected, key=key)
    assert len(found) == len(ALL) * len(SUBJECTS)


def test_a_replay_gives_the_same(store: Store) -> None:
    found = replay(store, "each")
    assert {trial.trial: trial.differs for trial in found.trials} == dict.fromkeys(ALL, ())
    assert found.same
    changed = method_of(store, "each").configured("t002", PARAMS["t002"]).stored[1]
    path = paths.predictions("each", changed)
    table = store.read_table(path)
    p_W = table["p_W"].to_numpy().copy()
    p_W[-1] = np.nextafter(p_W[-1], np.float32(2))
    at = table.schema.get_field_index("p_W")
    store.write_table(path, table.set_column(at, "p_W", pa.array(p_W)))
    (again,) = replay(store, "each", ["t002"]).trials
    assert again.differs
    assert "predictions, by up to" in again.differs[0]


def test_a_kept_model_has_weights_for_each_subject(store: Store) -> None:
    folder = paths.model_folder("each", "arm-lowest")
    record = json.loads(store.read_bytes(paths.model_json("each", "arm-lowest")))
    assert [(file["subject"], file["seed"]) for file in record["files"]] == [
        (subject, 1) for subject in SUBJECTS
    ]
    taus = record["about"]["tau_by_subject"]
    assert list(taus) == list(SUBJECTS)
    assert (
        sum(tau["tau_budget"] for tau in taus.values())
        == rows(store, "each")["arm-lowest"]["n_kept"]
    )
    for file in record["files"]:
        name = f"alone-{file['subject']}"
        alone = json.loads(store.read_bytes(paths.model_json(name, "arm-lowest")))
        (other,) = alone["files"]
        assert file["sha256"] == other["sha256"]
        assert store.exists(f"{folder}/{file['file']}")
    assert store.exists(paths.model_json("each", "arm-no_adapt"))  # the encoder


def test_its_page_says_for_whom_was_selected(store: Store) -> None:
    assert json.loads(store.read_bytes(paths.sweep_manifest("each")))["adapt_to"] == "subject"
    write_review(store, "each")
    page = store.read_bytes(paths.review("each", "review.html")).decode()
    html = " ".join(unescape(page).split())
    assert "of each target subject's own rewards, which keeps" in html
    assert "of 16 source batches, summed over 2 target subjects" in html
    assert "another one for each subject" in html
    write_review(store, "alone-t1")
    alone = store.read_bytes(paths.review("alone-t1", "review.html")).decode()
    assert "each target subject" not in alone
    assert "of 8 source batches (" in alone
