"""Pretraining and finetuning on tiny synthetic epochs of 6 s, one sine per stage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from trainables import selective
from trainables.checkpoint import to_bytes
from trainables.errors import DivergedError, EpochsError, SettingsError, TrainableError
from trainables.inference import predict
from trainables.metrics import macro_f1
from trainables.models.mrcnn import StageClassifier
from trainables.selective import (
    PretrainOutcome,
    build_model,
    finetune,
    pretrain,
)
from trainables.settings import EncoderSettings, FinetuneSettings, PretrainSettings
from trainables.stage_loss import class_weights, stage_loss
from trainables.stages import UNSCORED, Stage

N_TIMES = 600
ALL = tuple(Stage)
FEW = (Stage.W, Stage.N2, Stage.N3)
FREQUENCY_HZ = {0: 11.0, 1: 7.0, 2: 13.0, 3: 1.5, 4: 5.0, -1: 30.0}

Epochs = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_epochs(stages: Sequence[int], seed: int = 0) -> Epochs:
    rng = np.random.default_rng(seed)
    time_s = np.arange(N_TIMES) / 100
    phase = rng.uniform(0, 2 * np.pi, (len(stages), 1))
    frequency_hz = np.array([[FREQUENCY_HZ[stage]] for stage in stages])
    x = np.sin(2 * np.pi * frequency_hz * time_s + phase) + 0.2 * rng.normal(
        size=(len(stages), N_TIMES)
    )
    # Read-only, as arrays from an object store are.
    epochs = x[:, None].astype(np.float32), np.array(stages)
    for array in epochs:
        array.setflags(write=False)
    return epochs


def run_pretrain(
    stages: Sequence[int] = (0, 2, 3, 3) * 6,
    early_stop: Sequence[int] = (0, 2, 3) * 4,
    *,
    declared: Sequence[Stage] = FEW,
    seed: int = 0,
    **changes: Any,
) -> PretrainOutcome:
    settings: dict[str, Any] = {"n_passes": 2, "batch_size": 8, "patience": 2, **changes}
    return pretrain(
        *make_epochs(stages, 1),
        *make_epochs(early_stop, 2),
        declared=declared,
        settings=PretrainSettings(**settings),
        encoder=EncoderSettings(),
        seed=seed,
    )


def state_bytes(model: nn.Module) -> bytes:
    return to_bytes(model.state_dict(), {})


def fresh_model(seed: int = 0, dropout: float = 0.5) -> StageClassifier:
    torch.manual_seed(seed)
    return build_model(EncoderSettings(dropout=dropout), n_channels=1, n_times=N_TIMES)


def make_batches(n_batches: int, stages: Sequence[int] = (0, 2, 3, 3)) -> Epochs:
    x, values = make_epochs(tuple(stages) * n_batches)
    return x.reshape(n_batches, len(stages), 1, N_TIMES), values.reshape(n_batches, len(stages))


def run_finetune(
    model: StageClassifier, batches: Epochs, *, n_steps: int = 3, seed: int = 0, **settings: float
) -> Any:
    return finetune(
        model,
        *batches,
        declared=FEW,
        class_weights=np.array([0.3, 0.7, 0.3, 0.2, 0.3], dtype=np.float32),
        settings=FinetuneSettings(n_steps=n_steps, **settings),
        seed=seed,
    )


# --- class weights and loss


def test_class_weights_of_sleep_edf_20() -> None:
    # Counts as AttnSleep publishes them; only N1 is rare enough for its log to exceed 1:
    # 0.4 * log(0.4 * 42308 / 2804) = 0.719.
    counts = {0: 8285, 1: 2804, 2: 17799, 3: 5703, 4: 7717}
    stages = np.repeat(list(counts), list(counts.values()))
    found = class_weights(stages, ALL)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.30, 0.72, 0.30, 0.20, 0.30], rtol=1e-6)


def test_absent_undeclared_and_unscored_weigh_nothing() -> None:
    stages = np.array([0] * 10 + [1] * 10 + [3] * 10 + [-1] * 100, dtype=np.int8)
    found = class_weights(stages, [Stage.N3, Stage.W, Stage.REM])
    # N = 20 declared epochs: log(0.3 * 2) and log(0.2 * 2) are below 1.
    np.testing.assert_allclose(found, [0.3, 0, 0, 0.2, 0], rtol=1e-6)
    assert not class_weights(stages[-5:], ALL).any()


def test_loss_is_weighted_cross_entropy() -> None:
    logits, stages = torch.randn(12, 5), torch.arange(12) % 5
    weights = torch.tensor([0.3, 0.72, 0.3, 0.2, 0.3])
    expected = nn.CrossEntropyLoss(weight=weights)(logits, stages)
    torch.testing.assert_close(stage_loss(logits, stages, weights), expected)


def test_masked_stages_and_their_epochs_contribute_nothing() -> None:
    weights = torch.tensor([0.3, 0.0, 0.3, 0.0, 0.3])
    logits = torch.randn(7, 5, requires_grad=True)
    stages = torch.tensor([0, 1, 2, 3, 4, -1, 0])
    rows, columns = [0, 2, 4, 6], [0, 2, 4]
    # The same loss with three stages only.
    expected = nn.CrossEntropyLoss(weight=weights[columns])(
        logits[rows][:, columns], torch.tensor([0, 1, 2, 0])
    )
    found = stage_loss(logits, stages, weights)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient[rows][:, columns].abs().min() > 0
    assert not gradient[[1, 3, 5]].any()
    assert not gradient[:, [1, 3]].any()


@pytest.mark.parametrize("weights", [[0.3, 0.0, 0.3, 0.0, 0.3], [0.0] * 5])
def test_batch_of_masked_stages_gives_zero_loss_and_no_gradient(weights: list[float]) -> None:
    model = fresh_model()
    x = torch.from_numpy(make_epochs((1, 3, -1))[0].copy())
    loss = stage_loss(model(x), torch.tensor([1, 3, -1]), torch.tensor(weights))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    for parameter in model.parameters():
        assert parameter.grad is None or not parameter.grad.any()


# --- pretraining


@pytest.mark.heavy
def test_pretraining_learns_and_ends_with_its_best_pass() -> None:
    outcome = run_pretrain((0, 2, 3, 3) * 16, n_passes=6, patience=6)
    x, stages = make_epochs((0, 2, 3) * 4, 2)
    predicted = predict(outcome.model, x, declared=FEW).argmax(axis=1)
    validations = [entry.get("validation", -1.0) for entry in outcome.history]
    assert macro_f1(stages, predicted, FEW) == max(validations) > 0.9
    assert outcome.best_pass == 1 + validations.index(max(validations))
    assert (outcome.n_passes, outcome.n_steps) == (6, 6 * 8)
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"] / 2
    assert not outcome.model.training


@pytest.mark.heavy
def test_same_seed_same_weights_to_the_last_bit() -> None:
    first = state_bytes(run_pretrain(seed=5).model)
    assert state_bytes(run_pretrain(seed=5).model) == first
    assert state_bytes(run_pretrain(seed=6).model) != first


@pytest.mark.heavy
def test_pretraining_ignores_unscored_and_undeclared_epochs() -> None:
    # REM is declared: -1 as an index would be REM.
    declared = (Stage.W, Stage.N2, Stage.REM)
    plain = run_pretrain((0, 2, 4, 4) * 3, (0, 2, 4), declared=declared)
    x, stages = make_epochs((0, 2, 4, 4) * 3, 1)
    junk = np.full((2, 1, N_TIMES), 1e6, dtype=np.float32)
    mixed = pretrain(
        np.concatenate([x, junk]),
        np.concatenate([stages, [UNSCORED, Stage.N3]]),
        *make_epochs((0, 2, 4), 2),
        declared=declared,
        settings=PretrainSettings(n_passes=2, batch_size=8, patience=2),
        encoder=EncoderSettings(),
        seed=0,
    )
    assert state_bytes(mixed.model) == state_bytes(plain.model)


@pytest.mark.heavy
def test_absent_stage_is_never_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    choices: list[Sequence[Stage]] = []

    def spy(*args: Any, declared: Sequence[Stage]) -> NDArray[np.float32]:
        choices.append(declared)
        return predict(*args, declared=declared)

    monkeypatch.setattr(selective, "predict", spy)
    outcome = run_pretrain((0, 3) * 8, (0, 1, 3) * 4, declared=(Stage.W, Stage.N1, Stage.N3))
    assert outcome.stages == (Stage.W, Stage.N3)
    assert choices == [outcome.stages] * 2  # nor in the early stop
    x, _ = make_epochs((0, 1, 2, 3, 4) * 4, 3)
    # Also for a model that would rather say N1.
    with torch.no_grad():
        outcome.model.head.bias[Stage.N1] = 100.0
    probabilities = predict(outcome.model, x, declared=outcome.stages)
    assert set(probabilities.argmax(axis=1)) <= {Stage.W, Stage.N3}
    assert not probabilities[:, [1, 2, 4]].any()
    # It still counts in the average of the early-stop metric: 2/3 is the most one can reach.
    assert all(0 < entry["validation"] <= 2 / 3 for entry in outcome.history)


@pytest.mark.heavy
def test_pretraining_stops_for_lack_of_patience() -> None:
    # The early-stop epochs are all N3, so one pass that says N3 throughout cannot be bettered.
    outcome = run_pretrain((3,) * 8, (3, 3), declared=(Stage.N3,), n_passes=9, patience=2)
    assert (outcome.n_passes, outcome.best_pass, outcome.n_steps) == (3, 1, 3)
    outcome = run_pretrain(
        (3,) * 8, (3, 3), declared=(Stage.N3,), n_passes=9, patience=2, min_passes=5
    )
    assert (outcome.n_passes, outcome.best_pass) == (5, 1)


@pytest.mark.heavy
def test_optimiser_is_adam_with_amsgrad_and_the_rate_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Adam] = []
    rates: list[float] = []

    class Spy(torch.optim.Adam):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Spy)
    run_pretrain((0, 2, 3, 3), (0, 2, 3), n_passes=3, patience=3, n_full_rate_passes=2)
    assert rates == [1e-3, 1e-3, 1e-4]
    run_finetune(fresh_model(), make_batches(1), n_steps=1, learning_rate=2e-4, weight_decay=0.5)
    assert rates[3:] == [2e-4]
    assert [optimizer.defaults["amsgrad"] for optimizer in made] == [True, True]
    assert [optimizer.defaults["weight_decay"] for optimizer in made] == [1e-3, 0.5]


# --- finetuning


@pytest.mark.heavy
@pytest.mark.parametrize(("n_batches", "n_steps", "n_passes"), [(2, 5, 3), (4, 3, 1)])
def test_finetuning_takes_exactly_n_steps(n_batches: int, n_steps: int, n_passes: int) -> None:
    model = fresh_model().eval()
    outcome = run_finetune(model, make_batches(n_batches), n_steps=n_steps)
    assert (outcome.n_steps, outcome.n_passes, outcome.best_pass) == (n_steps, n_passes, None)
    # Batch-norm has seen one batch per step, so it was in train mode and nothing else ran.
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(norms) == 9
    assert all(module.num_batches_tracked == n_steps for module in norms)
    assert not model.training


def batches_taken(n_steps: int, seed: int, batches: Epochs) -> list[float]:
    """First value of each batch that reaches the model, in order."""
    model, taken = fresh_model(), []
    model.register_forward_pre_hook(lambda _, inputs: taken.append(float(inputs[0][0, 0, 0])))
    run_finetune(model, batches, n_steps=n_steps, seed=seed)
    return taken


@pytest.mark.heavy
def test_kept_batches_are_shuffled_in_each_cycle() -> None:
    batches = make_batches(6, (0, 2))
    marks = [float(batch[0, 0, 0]) for batch in batches[0]]
    taken = batches_taken(18, 0, batches)
    cycles = [taken[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(cycle) == sorted(marks) for cycle in cycles)
    assert cycles[0] != cycles[1] != cycles[2]
    assert batches_taken(18, 0, batches) == taken
    assert batches_taken(6, 1, batches) != taken[:6]


@pytest.mark.heavy
def test_finetuning_is_deterministic_to_the_last_bit() -> None:
    states = []
    for seed in (0, 0, 1):
        model = fresh_model()
        run_finetune(model, make_batches(3), seed=seed)
        states.append(state_bytes(model))
    assert states[0] == states[1] != states[2]
    assert states[0] != state_bytes(fresh_model())


def test_one_finetuning_step_is_one_adam_step_on_the_whole_batch() -> None:
    x, stages = make_batches(1)
    model, twin = fresh_model(dropout=0.0), fresh_model(dropout=0.0)
    run_finetune(model, (x, stages), n_steps=1)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-4, weight_decay=1e-3, amsgrad=True)
    logits = twin(torch.from_numpy(x[0].copy()))
    # FEW = W, N2, N3; the weight of N1 and REM must not matter.
    weights = torch.tensor([0.3, 0.3, 0.2])
    targets = torch.tensor([{0: 0, 2: 1, 3: 2}[int(stage)] for stage in stages[0]])
    nn.CrossEntropyLoss(weight=weights)(logits[:, [0, 2, 3]], targets).backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        # A step of Adam moves each weight by about the learning rate, so tell apart far below it.
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=0, atol=2e-6, msg=name)


@pytest.mark.heavy
def test_batch_without_a_declared_stage_is_no_step() -> None:
    x, stages = make_batches(3)
    stages = stages.copy()
    stages[1] = [1, 4, -1, -1]
    model, plain = fresh_model(), fresh_model()
    run_finetune(model, (x, stages), n_steps=4)
    run_finetune(plain, (x[[0, 2]], stages[[0, 2]]), n_steps=4)
    assert state_bytes(model) == state_bytes(plain)


def test_nothing_to_finetune_on_is_refused() -> None:
    x, stages = make_batches(2, (1, 4))
    with pytest.raises(EpochsError, match="no epoch in 2 kept batches"):
        run_finetune(fresh_model(), (x, stages))
    with pytest.raises(EpochsError, match="no epoch in 0 kept batches"):
        run_finetune(fresh_model(), (x[:0], stages[:0]))


@pytest.mark.heavy
def test_rate_that_is_far_too_high_ends_in_a_named_error() -> None:
    model = fresh_model()
    with pytest.raises(DivergedError):  # noqa: PT012 - either step may be the one that notices
        run_finetune(model, make_batches(2), n_steps=6, learning_rate=1e30)
        predict(model, make_epochs((0, 2))[0], declared=FEW)


@pytest.mark.parametrize(
    "weights", [[0.3] * 4, [0.3, 0.3, 0.3, 0.3, -1], [np.nan, 0.3, 0.3, 0.3, 0.3]]
)
def test_unusable_class_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(SettingsError, match="class_weights are"):
        finetune(
            fresh_model(),
            *make_batches(1),
            declared=FEW,
            class_weights=np.array(weights, dtype=np.float32),
            settings=FinetuneSettings(),
            seed=0,
        )


# --- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, N_TIMES))}, r"shape \(4, 600\)"),
        ({"stages": np.zeros(3, dtype=int)}, r"stages \(3,\)"),
        ({"stages": np.array([0, 1, 2, 7])}, "training epochs hold stage 7"),
        ({"stages": np.array([1, 1, 4, -1])}, "none of 4 training epochs"),
        ({"stages_early_stop": np.array([1, -1])}, "none of 2 early-stop epochs"),
        ({"x_early_stop": np.zeros((2, 1, 500))}, "they must agree"),
        ({"x": np.full((4, 1, N_TIMES), np.nan)}, "training epochs hold NaN"),
        ({"declared": ()}, "declared stages are"),
        ({"declared": (0, 0)}, "each once"),
        ({"declared": (0, 9)}, "allowed: one or more of 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_is_refused_before_training(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "x": np.zeros((4, 1, N_TIMES)),
        "stages": np.array([0, 2, 3, 3]),
        "x_early_stop": np.zeros((2, 1, N_TIMES)),
        "stages_early_stop": np.array([0, 3]),
        "declared": FEW,
        "settings": PretrainSettings(n_passes=1),
        "encoder": EncoderSettings(),
        "seed": 0,
        "report": lambda _: pytest.fail("it trained"),
    }
    with pytest.raises(TrainableError, match=message):
        pretrain(**{**arguments, **changes})
