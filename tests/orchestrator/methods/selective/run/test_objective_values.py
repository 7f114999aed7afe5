"""What predictions are worth: means over seeds, the subject who gains least, and a training under way."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import entropy

from orchestrator.methods.selective.run import objective_values
from orchestrator.methods.selective.run.predictions import joined
from orchestrator.methods.selective.trial.configuration import Configuration, Trial
from orchestrator.methods.selective.trial.finetuning import TARGET_EMD, part_name
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.reports import N_PARTS
from trainables.stages import Stage

W, N2 = Stage.W, Stage.N2
TRUE = {"anna": [W, W, N2, N2], "bert": [W, N2, N2, N2]}


class Judge:
    """Knows the stages of two subjects, and counts a share of right answers as macro-F1."""

    def evaluate(self, predictions: pa.Table) -> Any:
        shares = list(self.by_subject(predictions).values())
        return SimpleNamespace(macro_f1=float(np.mean(shares)))

    def by_subject(self, predictions: pa.Table) -> dict[str, float]:
        said = json.loads(predictions.schema.metadata[b"said"])
        return {
            name: float(np.mean(np.array(said[name]) == np.array(true)))
            for name, true in TRUE.items()
        }


def says(**said: list[Stage]) -> pa.Table:
    return pa.table({"role": ["objective"]}).replace_schema_metadata({"said": json.dumps(said)})


@pytest.fixture
def made(tmp_path: Path) -> Any:
    store = Store.open(str(tmp_path))
    search = SimpleNamespace(objective="source_val", also=("cost", "transfer_margin"))
    sweep = SimpleNamespace(search=search, stages=(W, N2), batch_size=4)
    inputs: Any = SimpleNamespace(sweep=sweep, sweep_name="probe")
    right, wrong = [W, W, N2, N2], [N2, N2, W, W]
    for seed, tables in {
        1: {"anna": right, "bert": [W, N2, N2, W]},  # 1 and 3/4
        2: {"anna": [W, W, W, N2], "bert": [W, N2, N2, N2]},  # 3/4 and 1
    }.items():
        store.write_table(paths.predictions("probe", f"s{seed}"), says(**tables))
    unadapted = says(anna=[W, W, N2, W], bert=wrong)  # 3/4, and 1/4 right by chance
    return objective_values.ObjectiveValues(store, inputs, Judge(), unadapted)  # type: ignore[arg-type]


def trial_of(*numbers: int, n_kept: int = 2) -> Trial:
    seeds = [
        Configuration(
            kept=np.arange(n_kept),
            tau_quantile=0.5,
            tau_absolute=0.1,
            learning_rate=1e-3,
            n_steps=30,
            seed=number,
        )
        for number in numbers
    ]
    stored = tuple(f"s{number}" for number in numbers)
    return Trial(configurations=tuple(seeds), signature="-".join(stored), stored=stored)


def test_one_seed(made: objective_values.ObjectiveValues) -> None:
    scores = made.scores(trial_of(1))
    assert scores.values == (0.875, 120.0, 0.25)  # anna gains 1 - 3/4, bert more
    assert scores.replicates == ()


def test_several_seeds_are_averaged_and_kept(made: objective_values.ObjectiveValues) -> None:
    scores = made.scores(trial_of(1, 2))
    assert scores.replicates == (0.875, 0.875)
    assert scores.values == (
        0.875,
        120.0,
        0.125,
    )  # anna gains 1/4 with one seed, nothing with the other


def test_a_training_under_way_is_judged_and_its_predictions_removed(
    made: objective_values.ObjectiveValues,
) -> None:
    path = paths.part_predictions("probe", part_name("s1-s2", "s2"), 3)
    made._store.write_table(path, says(anna=[W, W, W, W], bert=[N2, W, W, W]))
    assert made.of_part(trial_of(1, 2), {N_PARTS: 13}) == (0.875 + (0.5 + 0) / 2) / 2
    assert not made._store.exists(path)
    assert made.of_part(trial_of(1, 2), {N_PARTS: 10}) == 0.875


def test_two_trials_that_run_the_same_training_tell_of_it_apart(
    made: objective_values.ObjectiveValues,
) -> None:
    """The driver removes what it has read, and the other trial is judged by it, too."""
    one, two = trial_of(1, 2), replace(trial_of(1, 2), signature="another")
    for trial in (one, two):
        path = paths.part_predictions("probe", part_name(trial.signature, "s2"), 3)
        made._store.write_table(path, says(anna=[W, W, W, W], bert=[N2, W, W, W]))
    assert made.of_part(one, {N_PARTS: 13}) == made.of_part(two, {N_PARTS: 13})
    assert part_name("s1", "s1") == "s1"  # of one training, as in 0.1


def of_subjects(*numbers: int) -> Trial:
    """A trial with one seed and a model for each of as many subjects, on batches of its own."""
    first = trial_of(*numbers)
    each = [
        replace(one, seed=7, subject=f"subject {number}", kept=np.array([number, 9]))
        for number, one in zip(numbers, first.configurations, strict=True)
    ]
    return replace(first, configurations=tuple(each))


def test_an_objective_with_labels_is_the_mean_over_the_models_of_the_subjects(
    made: objective_values.ObjectiveValues,
) -> None:
    scores = made.scores(of_subjects(1, 2))
    assert scores.replicates == (), "there is one seed"
    assert scores.values == (
        0.875,
        240.0,
        0.125,
    )  # anna gains 1/4 by one model, nothing by the other
    assert made.scores(of_subjects(1)).values == made.scores(trial_of(1)).values


def test_a_training_that_serves_several_subjects_costs_once(
    made: objective_values.ObjectiveValues,
) -> None:
    both = of_subjects(1, 2)
    alike = tuple(replace(each, kept=np.arange(4)) for each in both.configurations)
    assert made.scores(replace(both, configurations=alike)).values[1] == 120.0


def test_a_subjects_training_under_way_counts_with_those_that_are_done(
    made: objective_values.ObjectiveValues,
) -> None:
    path = paths.part_predictions("probe", part_name("s1-s2", "s2"), 3)
    made._store.write_table(path, says(anna=[W, W, W, W], bert=[N2, W, W, W]))
    assert made.of_part(of_subjects(1, 2), {N_PARTS: 13}) == (0.875 + (0.5 + 0) / 2) / 2
    assert made.of_part(of_subjects(1, 2), {N_PARTS: 10}) == 0.875


def says_of(recording: int, p_W: list[float], distance: float) -> pa.Table:
    """Predictions of a subject's model: of the objective's epoch, and of its own."""
    n = len(p_W)
    return pa.table(
        {
            "role": ["objective", *["test"] * n],
            "recording": pa.array([0, *[recording] * n], pa.int32()),
            "epoch_index": pa.array(range(n + 1), pa.int32()),
            "p_W": pa.array([0.5, *p_W], pa.float32()),
            "p_N2": pa.array([0.5, *(1 - p for p in p_W)], pa.float32()),
        }
    ).replace_schema_metadata({TARGET_EMD: repr(distance)})


@pytest.mark.parametrize("objective", ["target_certainty", "target_information", "target_emd"])
def test_an_objective_without_labels_is_that_of_all_subjects_together(objective: str) -> None:
    tables = [says_of(0, [0.9, 0.8], 2.0), says_of(1, [0.25, 0.5, 0.125], 3.0)]
    inputs: Any = SimpleNamespace(
        sweep=SimpleNamespace(search=SimpleNamespace(objective=objective), stages=(W, N2)),
        unlabelled_role="test",
    )
    no_judge: Any = None  # no label is read
    trial = of_subjects(1, 2)
    found = objective_values.objective_value(inputs, no_judge, trial, tables)
    p_W = np.array([0.9, 0.8, 0.25, 0.5, 0.125])
    p = np.stack([p_W, 1 - p_W], axis=1)
    doubt = entropy(p, base=2, axis=1).mean()
    expected = {
        "target_certainty": 1 - doubt,
        "target_information": entropy(p.mean(axis=0), base=2) - doubt,
        "target_emd": -2.5,
    }
    assert found == pytest.approx(expected[objective], abs=1e-6)


def test_the_predictions_of_subjects_are_joined_in_their_order() -> None:
    tables = [says_of(0, [0.9, 0.8], 2.0), says_of(1, [0.25], 3.0)]
    table = joined(tables)
    assert table["role"].to_pylist() == ["test"] * 3
    assert table["recording"].to_pylist() == [0, 0, 1]
    assert table["p_W"].to_pylist() == pytest.approx([0.9, 0.8, 0.25])
    assert table.schema.metadata == {TARGET_EMD: b"2.5"}
    assert joined(tables[:1]) is tables[0]
    plain = [each.replace_schema_metadata(None) for each in tables]
    assert not joined(plain).schema.metadata


def test_a_configuration_without_training_costs_nothing(
    made: objective_values.ObjectiveValues,
) -> None:
    assert made.scores(trial_of(1, n_kept=0)).values[1] == 0.0


def test_certainty_is_one_minus_the_entropy_that_scipy_finds() -> None:
    probability = np.random.default_rng(0).dirichlet([0.3, 0.7], 50).astype(np.float32)
    role = ["test"] * 40 + ["objective"] * 10  # those of the target alone count
    columns = {"p_W": probability[:, 0], "p_N2": probability[:, 1]}
    found = objective_values.WITHOUT_LABELS["target_certainty"](
        pa.table({"role": role, **columns}), "test", (W, N2)
    )
    assert found == pytest.approx(1 - entropy(probability[:40], base=2, axis=1).mean(), abs=1e-6)
