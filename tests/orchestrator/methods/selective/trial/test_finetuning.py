"""One trial on small arrays: what it trains on, what it predicts, and that it is done once."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.alignment.selection import select_quantile
from orchestrator.config.proposals import Scheduler
from orchestrator.method import Order
from orchestrator.methods.selective.config.arms import ARMS
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.methods.selective.run.objective_values import objective_value
from orchestrator.methods.selective.trial import finetuning as trial
from orchestrator.methods.selective.trial.configuration import (
    Configuration,
    TargetSubject,
    TrialInputs,
    arm_configuration,
    arm_configurations,
    configured,
    signature,
    trial_configuration,
    trial_configurations,
)
from orchestrator.methods.selective.trial.distance import target_emd
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.epochs import UnlabelledEpochs
from trainables import checkpoint, inference, selective
from trainables.seeding import seed_everything
from trainables.settings import EncoderSettings
from trainables.stage_loss import class_weights
from trainables.stages import STAGE_NAMES, Stage
from trainables.training import Seconds, SupervisedStep
from trainables.weights import classifier_from_bytes

N_BATCHES, BATCH_SIZE = 6, 4
LEARNED = (Stage.W, Stage.N2, Stage.N3)


def unlabelled(n: int, seed: int) -> UnlabelledEpochs:
    x = np.random.default_rng(seed).normal(size=(n, 1, 3000)).astype(np.float32)
    return UnlabelledEpochs(
        x=x,
        recording=np.repeat(np.arange(2, dtype=np.int32), n)[:n],
        epoch_index=np.arange(n, dtype=np.int32) * 2,
    )


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    seed_everything(0)
    model = selective.build_model(EncoderSettings(), n_channels=1)
    weights = checkpoint.to_bytes(
        model.state_dict(),
        {"encoder": json.dumps(dataclasses.asdict(EncoderSettings())), "n_channels": "1"},
    )
    stages = rng.choice(np.array(LEARNED), (N_BATCHES, BATCH_SIZE)).astype(np.int64)
    return {
        "score_id": "0123",
        "weights": weights,
        "reward_S": np.array([0.3, 0.1, 0.6, 0.2, 0.5, 0.4]),
        "batches_x": rng.normal(size=(N_BATCHES, BATCH_SIZE, 1, 3000)).astype(np.float32),
        "batches_stages": stages,
        "class_weights": class_weights(stages.reshape(-1), LEARNED),
        "objective_epochs": unlabelled(7, 1),
        "test_epochs": unlabelled(5, 2),
    }


@pytest.fixture
def inputs(
    arrays: dict[str, Any], tmp_path: Path, make_sweep: Callable[[], SelectiveSweep]
) -> TrialInputs:
    return TrialInputs(
        sweep=make_sweep(),
        store_uri=str(tmp_path),
        sweep_name="probe",
        learned_stages=LEARNED,
        default_learning_rate=1e-3,
        n_steps=2,
        seed=5,
        **arrays,
    )


def predictions(inputs: TrialInputs, name: str) -> pa.Table:
    return Store.open(inputs.store_uri).read_table(paths.predictions("probe", name))


def probabilities(table: pa.Table) -> NDArray[np.float32]:
    return np.stack([table[f"p_{name}"].to_numpy() for name in STAGE_NAMES], axis=1)


def file_of(inputs: TrialInputs, name: str) -> Path:
    return Path(inputs.store_uri) / paths.predictions("probe", name)


def test_a_trial_holds_no_stage_of_the_target(inputs: TrialInputs) -> None:
    holders = {"batches_stages", "class_weights", "learned_stages"}  # all of the source
    with_stages = {f.name for f in dataclasses.fields(TrialInputs) if "stage" in f.name}
    assert with_stages == holders - {"class_weights"}
    for epochs in (inputs.objective_epochs, inputs.test_epochs):
        assert type(epochs) is UnlabelledEpochs
    assert "stage" not in " ".join(f.name for f in dataclasses.fields(UnlabelledEpochs))


@pytest.mark.heavy
def test_the_predictions_of_a_trial(inputs: TrialInputs) -> None:
    configuration = trial_configuration(inputs, {"tau_quantile": 0.5, "learning_rate": 2e-3})
    assert configuration.kept.tolist() == [2, 4, 5]
    assert configuration.tau_absolute == np.nextafter(0.4, 0)
    assert (configuration.learning_rate, configuration.n_steps) == (2e-3, 2)
    table = predictions(inputs, trial.run(inputs, configuration))
    assert table["role"].to_pylist() == ["objective"] * 7 + ["test"] * 5
    expected = [inputs.objective_epochs, inputs.test_epochs]
    for column in ("recording", "epoch_index"):
        values = np.concatenate([getattr(epochs, column) for epochs in expected])
        assert table[column].to_pylist() == values.tolist()
    probability = probabilities(table)
    np.testing.assert_allclose(probability[:, list(LEARNED)].sum(axis=1), 1, atol=1e-6)
    assert (probability[:, [Stage.N1, Stage.REM]] == 0).all()


def test_no_adapt_predicts_with_the_pretrained_model(inputs: TrialInputs) -> None:
    configuration = arm_configuration(inputs, "no_adapt")
    assert len(configuration.kept) == 0
    assert configuration.n_steps == 0
    assert configuration.learning_rate is None
    probability = probabilities(predictions(inputs, trial.run(inputs, configuration)))
    torch.set_num_threads(1)
    model = classifier_from_bytes(inputs.weights)
    for rows, epochs in (
        (slice(0, 7), inputs.objective_epochs),
        (slice(7, 12), inputs.test_epochs),
    ):
        expected = inference.predict(model, epochs.x, declared=LEARNED)
        assert probability[rows].tobytes() == expected.tobytes()


@pytest.mark.heavy
def test_a_trial_trains_on_exactly_the_kept_batches(
    inputs: TrialInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    finetune = selective.finetune

    def spy(model: Any, batches_x: Any, batches_stages: Any, **options: Any) -> Any:
        seen.update(x=batches_x, stages=batches_stages, **options)
        return finetune(model, batches_x, batches_stages, **options)

    monkeypatch.setattr(selective, "finetune", spy)
    trial.run(inputs, trial_configuration(inputs, {"tau_quantile": 0.6, "learning_rate": 3e-4}))
    np.testing.assert_array_equal(seen["x"], inputs.batches_x[[2, 4, 5]])
    np.testing.assert_array_equal(seen["stages"], inputs.batches_stages[[2, 4, 5]])
    assert (seen["settings"].learning_rate, seen["settings"].n_steps) == (3e-4, 2)
    assert seen["seed"] == 5


@pytest.mark.heavy
def test_the_same_seed_gives_the_same_bytes(inputs: TrialInputs, tmp_path: Path) -> None:
    elsewhere = replace(inputs, store_uri=str(tmp_path / "elsewhere"))
    other_seed = replace(inputs, seed=6)
    files = []
    for given in (inputs, elsewhere, other_seed):
        name = trial.run(given, arm_configuration(given, "all_source"))
        files.append(file_of(given, name))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].name == files[1].name
    assert files[0].read_bytes() != files[2].read_bytes()
    assert files[0].name != files[2].name


def test_a_second_call_is_a_look_up(inputs: TrialInputs) -> None:
    configuration = arm_configuration(inputs, "no_adapt")
    name = trial.run(inputs, configuration)
    before = file_of(inputs, name).stat()
    assert trial.run(inputs, configuration) == name
    after = file_of(inputs, name).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.heavy
def test_a_training_tells_what_it_took_and_a_look_up_nothing(inputs: TrialInputs) -> None:
    told: list[Seconds] = []
    trial.run(inputs, arm_configuration(inputs, "no_adapt"), trained=told.append)
    assert told == []
    every = arm_configuration(inputs, "all_source")
    trial.run(inputs, every, trained=told.append)
    (seconds,) = told
    assert 0 < seconds.waited < seconds.total
    trial.run(inputs, every, trained=told.append)
    assert len(told) == 1


def test_what_the_event_log_says_of_a_selection(inputs: TrialInputs) -> None:
    emd_S = 1 / inputs.reward_S
    half = configured(inputs, "t000", {"tau_quantile": 0.5, "learning_rate": 1e-3})
    fields = trial.described(inputs, half, emd_S)
    assert (fields["n_kept"], fields["n_batches"]) == (3, 6)
    assert fields["mean_emd"] == pytest.approx((1 / 0.6 + 1 / 0.5 + 1 / 0.4) / 3)
    none = configured(inputs, "t001", {"tau_absolute": 0.7, "learning_rate": 1e-3})
    found = trial.described(inputs, none, emd_S)
    assert found == {"n_kept": 0, "n_batches": 6, "mean_emd": None}


class KilledError(Exception):
    """Stands for kill -9, which leaves a process no time for anything."""


@pytest.mark.heavy
def test_a_killed_trial_goes_on_from_its_last_step_to_the_same_bytes(
    inputs: TrialInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = replace(inputs, n_steps=7)  # over two passes of the three kept batches
    configuration = trial_configuration(inputs, {"tau_quantile": 0.5, "learning_rate": 2e-3})
    undisturbed = replace(inputs, store_uri=str(tmp_path / "undisturbed"))
    expected = file_of(undisturbed, trial.run(undisturbed, configuration)).read_bytes()

    monkeypatch.setattr(trial, "CHECKPOINT_INTERVAL_S", 0.0)
    step = SupervisedStep.__call__
    n_taken: list[int] = []

    def dies_in_step_6(self: SupervisedStep, batch: Any) -> float:
        if len(n_taken) == 5:
            raise KilledError
        n_taken.append(1)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedStep, "__call__", dies_in_step_6)
        with pytest.raises(KilledError):
            trial.run(inputs, configuration)
    name = signature(inputs, configuration)
    checkpoint_path = Path(inputs.store_uri) / paths.trial_checkpoint("probe", name)
    assert checkpoint_path.exists()
    assert not file_of(inputs, name).exists()

    def counted(self: SupervisedStep, batch: Any) -> float:
        n_taken.append(1)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedStep, "__call__", counted)
        trial.run(inputs, configuration)
    assert len(n_taken) == 7, "a step was taken twice"
    assert file_of(inputs, name).read_bytes() == expected
    assert not checkpoint_path.exists()


def asking_for_target_emd(inputs: TrialInputs) -> TrialInputs:
    search = inputs.sweep.search.model_copy(update={"objective": "target_emd"})
    return replace(inputs, sweep=inputs.sweep.model_copy(update={"search": search}))


@pytest.mark.heavy
def test_a_trial_notes_the_distance_after_finetuning_where_that_is_the_objective(
    inputs: TrialInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"tau_quantile": 0.5, "learning_rate": 2e-3}
    plain = predictions(inputs, trial.run(inputs, trial_configuration(inputs, params)))
    assert not plain.schema.metadata
    inputs = replace(asking_for_target_emd(inputs), store_uri=f"{inputs.store_uri}/emd")
    finetuned = []
    finetune = selective.finetune

    def spy(model: Any, *arguments: Any, **options: Any) -> Any:
        finetuned.append(model)
        return finetune(model, *arguments, **options)

    monkeypatch.setattr(selective, "finetune", spy)
    values = {}
    for configuration in (
        arm_configuration(inputs, "no_adapt"),
        trial_configuration(inputs, params),
    ):
        found = predictions(inputs, trial.run(inputs, configuration))
        values[len(configuration.kept)] = float(found.schema.metadata[trial.TARGET_EMD])
    assert found.equals(plain), "the probabilities are those of another objective"
    source_x = inputs.batches_x.reshape(-1, 1, 3000)  # of all batches, not of the three kept ones
    for model, value in (
        (classifier_from_bytes(inputs.weights), values[0]),
        (finetuned[0], values[3]),
    ):
        expected = target_emd(model, source_x, inputs.test_epochs.x, "afr_gap", "euclidean")
        assert value == expected > 0
    assert values[0] != values[3]


def test_the_objective_is_minus_that_distance(inputs: TrialInputs) -> None:
    inputs = asking_for_target_emd(inputs)
    no_adapt = configured(inputs, "no_adapt", None)
    trial.train(Order(inputs=inputs, trial=no_adapt))
    table = predictions(inputs, no_adapt.signature)
    no_judge: Any = None  # no label is read
    value = objective_value(inputs, no_judge, no_adapt, [table])
    assert value == -float(table.schema.metadata[trial.TARGET_EMD]) < 0


@pytest.mark.heavy
def test_a_short_trial_is_not_slowed_by_checkpoints(
    inputs: TrialInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = Store.write_bytes

    def spy(self: Store, path: str, data: bytes) -> None:
        written.append(path)
        write(self, path, data)

    monkeypatch.setattr(Store, "write_bytes", spy)
    name = trial.run(inputs, arm_configuration(inputs, "all_source"))
    assert written == [paths.trial_weights("probe", name), paths.predictions("probe", name)]


def test_tau_0_is_the_selection_of_all_source(inputs: TrialInputs) -> None:
    zero = trial_configuration(
        inputs, {"tau_quantile": 0.0, "learning_rate": inputs.default_learning_rate}
    )
    every = arm_configuration(inputs, "all_source")
    assert zero.kept.tolist() == every.kept.tolist() == list(range(N_BATCHES))
    assert every.n_steps == zero.n_steps
    # So at the same learning rate it is the same training, found by its signature.
    assert signature(inputs, zero) == signature(inputs, every)


def test_two_taus_that_keep_the_same_batches_are_one_training(inputs: TrialInputs) -> None:
    names = {
        signature(inputs, trial_configuration(inputs, {"tau_quantile": tau, "learning_rate": 1e-3}))
        for tau in (0.5, 0.55, 0.6)
    }
    assert len(names) == 1


def test_all_readings_of_tau_are_one_training(inputs: TrialInputs) -> None:
    names = {
        signature(inputs, trial_configuration(inputs, {**tau, "learning_rate": 1e-3}))
        for tau in ({"tau_quantile": 0.5}, {"tau_budget": 3}, {"tau_absolute": 0.35})
    }
    assert len(names) == 1


@pytest.mark.heavy
def test_a_trial_may_have_steps_of_its_own(inputs: TrialInputs) -> None:
    params = {"tau_quantile": 0.0, "learning_rate": inputs.default_learning_rate}
    own, longer = (
        trial_configuration(inputs, given) for given in (params, {**params, "n_steps": 3})
    )
    assert (own.n_steps, longer.n_steps) == (2, 3)
    names = [trial.run(inputs, configuration) for configuration in (own, longer)]
    first, second = (probabilities(predictions(inputs, name)) for name in names)
    assert (first != second).any()
    # The arms stay as they were, and a trial with their steps is still the same training.
    every = arm_configuration(inputs, "all_source")
    assert every.n_steps == 2
    assert signature(inputs, every) == names[0]
    assert names[0] != names[1]


def test_a_tau_above_all_rewards_is_no_finetuning(inputs: TrialInputs) -> None:
    above = trial_configuration(inputs, {"tau_absolute": 0.7, "learning_rate": 1e-3})
    assert above.kept.tolist() == []
    assert above.tau_quantile == 1
    found = predictions(inputs, trial.run(inputs, above))
    untouched = predictions(inputs, trial.run(inputs, arm_configuration(inputs, "no_adapt")))
    assert found.equals(untouched)


@pytest.mark.parametrize(
    "change",
    [{"score_id": "4567"}, {"seed": 6}, {"default_learning_rate": 1e-4}, {"n_steps": 3}],
)
def test_the_signature_depends_on_all_that_the_predictions_depend_on(
    inputs: TrialInputs, change: dict[str, Any]
) -> None:
    changed = replace(inputs, **change)
    assert signature(inputs, arm_configuration(inputs, "all_source")) != signature(
        changed, arm_configuration(changed, "all_source")
    )


def test_the_random_arm_is_as_large_as_tau_one_half(inputs: TrialInputs) -> None:
    rng = np.random.default_rng(1)
    wide = replace(inputs, reward_S=rng.permutation(99).astype(np.float64) + 1)
    arms: list[Configuration] = [
        arm_configuration(replace(wide, seed=seed), "random") for seed in (1, 1, 2)
    ]
    assert len(arms[0].kept) == select_quantile(wide.reward_S, 0.5).n_kept == 50
    assert arms[0].kept.tolist() == arms[1].kept.tolist() == sorted(set(arms[0].kept))
    assert arms[0].kept.tolist() != arms[2].kept.tolist()
    assert (arms[0].n_steps, arms[0].learning_rate) == (2, 1e-3)
    assert arms[0].tau_quantile is None


def test_the_random_arm_counts_ties_as_tau_does(inputs: TrialInputs) -> None:
    tied = replace(inputs, reward_S=np.array([1.0, 1.0, 1.0, 1.0, 1.0, 2.0]))
    assert len(arm_configuration(tied, "random").kept) == 6


def with_search(inputs: TrialInputs, **keys: Any) -> TrialInputs:
    search = inputs.sweep.search.model_copy(update=keys)
    return replace(inputs, sweep=inputs.sweep.model_copy(update={"search": search}))


ASHA = Scheduler(name="asha")


@pytest.mark.heavy
def test_several_seeds_are_trained_one_after_the_other(inputs: TrialInputs) -> None:
    thrice = with_search(inputs, replicates=3)
    params = {"tau_quantile": 0.5, "learning_rate": 1e-3}
    of_three = configured(thrice, "t000", params)
    assert [configuration.seed for configuration in of_three.configurations] == [5, 6, 7]
    trial.train(Order(inputs=thrice, trial=of_three))
    own = [signature(thrice, configuration) for configuration in of_three.configurations]
    assert of_three.stored == tuple(own)
    assert len({of_three.signature, *own}) == 4
    tables = [probabilities(predictions(thrice, each)) for each in own]
    assert not np.array_equal(tables[0], tables[1])
    # The first seed is that of a sweep without replicates.
    assert configured(inputs, "t000", params).signature == own[0]


def test_a_name_that_is_no_arm_is_not_taken_for_one(inputs: TrialInputs) -> None:
    with pytest.raises(KeyError, match="all_sources"):
        arm_configuration(inputs, "all_sources")


def test_arms_have_as_many_seeds_as_trials(inputs: TrialInputs) -> None:
    thrice = with_search(inputs, replicates=3)
    arms = {arm: arm_configurations(thrice, arm) for arm in ARMS}
    n_seeds = {arm: 3 if about.is_finetuned else 1 for arm, about in ARMS.items()}
    assert {arm: len(of) for arm, of in arms.items()} == n_seeds
    assert len({tuple(of.kept) for of in arms["random"]}) > 1, "each seed draws its own batches"


@pytest.mark.heavy
def test_a_finetuning_tells_the_scheduler_after_each_tenth(
    inputs: TrialInputs, tmp_path: Path
) -> None:
    parts: list[int] = []
    store = Store.open(inputs.store_uri)

    def after_part(n_done: int, objective: float | None = None) -> None:
        assert objective is None, "a trial knows no stage of the objective's epochs"
        parts.append(n_done)
        if n_done % trial.PARTS_PER_FINETUNING:  # else the whole predictions are there
            configuration = seeds[n_done // trial.PARTS_PER_FINETUNING]
            name = trial.part_name(whole.signature, signature(watched, configuration))
            path = paths.part_predictions("probe", name, n_done % trial.PARTS_PER_FINETUNING)
            assert set(store.read_table(path)["role"].to_pylist()) == {"objective"}

    watched = replace(with_search(inputs, scheduler=ASHA, replicates=2), n_steps=20)
    params = {"tau_quantile": 0.5, "learning_rate": 1e-3}
    whole = configured(watched, "t000", params)
    seeds, name = whole.configurations, whole.signature
    trial.train(Order(inputs=watched, trial=whole, after_part=after_part))
    assert parts == list(range(1, 20))
    # Being watched changes nothing.
    alone = replace(inputs, n_steps=20, store_uri=str(tmp_path / "alone"))
    (configuration, _) = trial_configurations(replace(alone, sweep=watched.sweep), params)
    assert name != trial.run(alone, configuration)
    unwatched, seen = (
        probabilities(predictions(of, signature(of, configuration))) for of in (alone, watched)
    )
    np.testing.assert_array_equal(unwatched, seen)


@pytest.mark.parametrize(
    ("n_steps", "steps"),
    [(20, [2, 4, 6, 8, 10, 12, 14, 16, 18]), (3, [1, 2]), (1, []), (25, None)],
)
def test_tenths_of_a_training(n_steps: int, steps: list[int] | None) -> None:
    found = trial._tenths(n_steps)
    assert steps is None or list(found) == steps
    for step, part in found.items():
        assert (step - 1) * 10 < n_steps * part <= step * 10 or n_steps < 10


@pytest.mark.heavy
def test_without_a_scheduler_nothing_is_predicted_on_the_way(inputs: TrialInputs) -> None:
    long = replace(inputs, n_steps=20)
    whole = configured(long, "t000", {"tau_quantile": 0.5, "learning_rate": 1e-3})
    told = lambda n_done, objective=None: pytest.fail("told")  # noqa: E731
    trial.train(Order(inputs=long, trial=whole, after_part=told))
    assert not (Path(inputs.store_uri) / "sweeps" / "probe" / "parts").exists()


ANN, BOB = "ann", "bob"


def with_subjects(inputs: TrialInputs, bob: list[float] | None = None) -> TrialInputs:
    """The same, with two target subjects who are adapted to each by itself."""
    rewards = {ANN: inputs.reward_S, BOB: np.array(bob or [6.0, 5.0, 0.1, 4.0, 0.3, 0.2])}
    epochs = replace(inputs.test_epochs, recording=np.array([0, 0, 1, 1, 1], np.int32))
    subjects = tuple(
        TargetSubject(subject=name, recordings=(i,), emd_S=1 / reward_S, reward_S=reward_S)
        for i, (name, reward_S) in enumerate(rewards.items())
    )
    return replace(inputs, subjects=subjects, test_epochs=epochs)


@pytest.fixture
def finetunings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches each finetuning has had, one after the other."""
    seen: list[int] = []
    finetune = selective.finetune

    def spy(model: Any, batches_x: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(len(batches_x))
        return finetune(model, batches_x, *arguments, **options)

    monkeypatch.setattr(selective, "finetune", spy)
    return seen


def rows_of(table: pa.Table, role: str) -> list[int]:
    """Recordings of the rows of a role."""
    pairs = zip(table["role"].to_pylist(), table["recording"].to_pylist(), strict=True)
    return [recording for its_role, recording in pairs if its_role == role]


@pytest.mark.heavy
def test_each_subject_has_a_training_on_what_its_own_rewards_keep(
    inputs: TrialInputs, finetunings: list[int]
) -> None:
    inputs = with_subjects(inputs)
    whole = configured(inputs, "t000", {"tau_absolute": 0.45, "learning_rate": 1e-3})
    kept = {each.subject: each.kept.tolist() for each in whole.configurations}
    assert kept == {ANN: [2, 4], BOB: [0, 1, 3]}
    trial.train(Order(inputs=inputs, trial=whole))
    assert finetunings == [2, 3]
    tables = [predictions(inputs, name) for name in whole.stored]
    assert [rows_of(table, "test") for table in tables] == [[0, 0], [1, 1, 1]]
    assert [len(rows_of(table, "objective")) for table in tables] == [7, 7]
    # On the same batches, a model for all says the same of a subject's epochs.
    plain = replace(inputs, subjects=(), reward_S=inputs.subjects[1].reward_S)
    (one,) = trial_configurations(plain, {"tau_absolute": 0.45, "learning_rate": 1e-3})
    together = predictions(plain, trial.run(plain, one))
    np.testing.assert_allclose(probabilities(tables[1])[7:], probabilities(together)[9:], atol=1e-6)


def test_two_taus_that_keep_the_same_for_a_subject_share_that_training(inputs: TrialInputs) -> None:
    inputs = with_subjects(inputs)
    low, high = (
        configured(inputs, "t000", {"tau_absolute": tau, "learning_rate": 1e-3})
        for tau in (0.35, 0.45)
    )
    assert low.stored[0] != high.stored[0]
    assert low.stored[1] == high.stored[1]
    assert len({low.signature, high.signature, *low.stored, *high.stored}) == 5


def test_a_signature_knows_the_subject_where_there_is_one(inputs: TrialInputs) -> None:
    params = {"tau_quantile": 0.5, "learning_rate": 1e-3}
    plain = configured(inputs, "t000", params).signature
    each = with_subjects(inputs, bob=inputs.reward_S.tolist())
    names = configured(each, "t000", params).stored
    assert len({plain, *names}) == 3
    assert signature(each, trial_configuration(each, params)) == plain


@pytest.mark.heavy
@pytest.mark.parametrize("arm", ["all_source", "random"])
def test_an_arm_that_goes_by_no_reward_trains_once_for_all_subjects(
    arm: str, inputs: TrialInputs, finetunings: list[int]
) -> None:
    inputs = with_subjects(inputs)
    whole = configured(inputs, arm, None)
    assert [each.subject for each in whole.configurations] == [ANN, BOB]
    expected = arm_configuration(replace(inputs, subjects=()), arm).kept.tolist()
    assert [each.kept.tolist() for each in whole.configurations] == [expected] * 2
    told: list[Seconds] = []
    trial.train(Order(inputs=inputs, trial=whole, trained=told.append))
    assert finetunings == [len(expected)]
    assert len(told) == 1
    tables = [predictions(inputs, name) for name in whole.stored]
    assert [rows_of(table, "test") for table in tables] == [[0, 0], [1, 1, 1]]


def test_lowest_goes_by_each_subjects_own_rewards(inputs: TrialInputs) -> None:
    whole = configured(with_subjects(inputs), "lowest", None)
    assert [each.kept.tolist() for each in whole.configurations] == [[0, 1, 3], [2, 4, 5]]


def test_no_adapt_is_one_model_whoever_is_adapted_to(inputs: TrialInputs) -> None:
    each = with_subjects(inputs)
    whole = configured(each, "no_adapt", None)
    assert whole.signature == configured(inputs, "no_adapt", None).signature
    trial.train(Order(inputs=each, trial=whole))
    assert rows_of(predictions(each, whole.signature), "test") == [0, 0, 1, 1, 1]


@pytest.mark.heavy
def test_what_a_shared_training_lacks_is_written_and_nothing_else(
    inputs: TrialInputs, finetunings: list[int]
) -> None:
    inputs = with_subjects(inputs)
    whole = configured(inputs, "all_source", None)
    trial.train(Order(inputs=inputs, trial=whole))
    files = [file_of(inputs, name) for name in whole.stored]
    before = [file.read_bytes() for file in files]
    others = files[1].stat().st_mtime_ns
    files[0].unlink()
    trial.train(Order(inputs=inputs, trial=whole))
    assert [file.read_bytes() for file in files] == before
    assert files[1].stat().st_mtime_ns == others
    assert finetunings == [6, 6]


@pytest.mark.heavy
def test_a_subject_for_whom_nothing_is_kept_has_the_pretrained_model(inputs: TrialInputs) -> None:
    inputs = with_subjects(inputs)
    whole = configured(inputs, "t000", {"tau_absolute": 0.7, "learning_rate": 1e-3})
    assert [len(each.kept) for each in whole.configurations] == [0, 3]
    trial.train(Order(inputs=inputs, trial=whole))
    untouched = predictions(inputs, trial.run(inputs, arm_configuration(inputs, "no_adapt")))
    assert predictions(inputs, whole.stored[0]).equals(untouched.slice(0, 9))
    store = Store.open(inputs.store_uri)
    weights = [store.read_bytes(paths.trial_weights("probe", name)) for name in whole.stored]
    states = [classifier_from_bytes(each).state_dict() for each in (weights[0], inputs.weights)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert weights[0] != weights[1]


@pytest.mark.heavy
def test_each_subject_has_its_own_distance_after_finetuning(inputs: TrialInputs) -> None:
    inputs = with_subjects(asking_for_target_emd(inputs))
    source_x = inputs.batches_x.reshape(-1, 1, 3000)
    model = classifier_from_bytes(inputs.weights)
    own = [
        target_emd(model, source_x, inputs.test_epochs.x[rows], "afr_gap", "euclidean")
        for rows in (slice(0, 2), slice(2, 5))
    ]
    nothing = configured(inputs, "t000", {"tau_absolute": 7.0, "learning_rate": 1e-3})
    no_adapt = configured(inputs, "no_adapt", None)
    for whole in (nothing, no_adapt):
        trial.train(Order(inputs=inputs, trial=whole))
    distances = [
        [
            float(predictions(inputs, name).schema.metadata[trial.TARGET_EMD])
            for name in whole.stored
        ]
        for whole in (nothing, no_adapt)
    ]
    assert distances == [own, [np.mean(own)]]
    assert own[0] != own[1]


def test_what_the_event_log_says_of_the_selections_of_all_subjects(inputs: TrialInputs) -> None:
    watched = with_search(with_subjects(inputs), scheduler=ASHA, replicates=3)
    whole = configured(watched, "t000", {"tau_absolute": 0.45, "learning_rate": 1e-3})
    assert whole.seeds == (5, 6, 7)
    fields = trial.described(watched, whole, 1 / inputs.reward_S)
    assert (fields["n_kept"], fields["n_batches"], fields["n_parts"]) == (5, 12, 60)
    assert fields["mean_emd"] == pytest.approx(np.mean([1 / 0.6, 1 / 0.5, 1 / 6, 1 / 5, 1 / 4]))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("tau", "reports"),
    [
        (0.45, list(range(1, 40))),
        (0.05, [*range(1, 11), 20, *range(21, 31)]),  # bob's are those of ann: the batches are all
    ],
)
def test_a_scheduler_hears_of_each_subjects_training(
    tau: float, reports: list[int], inputs: TrialInputs
) -> None:
    watched = with_search(with_subjects(inputs), scheduler=ASHA, replicates=2)
    watched = replace(with_search(watched, objective="target_certainty"), n_steps=10)
    whole = configured(watched, "t000", {"tau_absolute": tau, "learning_rate": 1e-3})
    store = Store.open(inputs.store_uri)
    parts: list[int] = []

    def after_part(n_done: int, objective: float | None = None) -> None:
        parts.append(n_done)
        training, part = divmod(n_done, trial.PARTS_PER_FINETUNING)
        if part:
            path = paths.part_predictions(
                "probe", trial.part_name(whole.signature, whole.stored[training]), part
            )
            assert rows_of(store.read_table(path), "test") == (
                [1, 1, 1] if training % 2 else [0, 0]
            )

    trial.train(Order(inputs=watched, trial=whole, after_part=after_part))
    assert parts == reports
