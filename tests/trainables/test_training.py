import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import CheckpointError, DivergedError, LeaveError, TrainableError
from trainables.surroundings import Pulse, Surroundings
from trainables.training import (
    Batch,
    Checkpoints,
    Loss,
    PassMetrics,
    Seconds,
    SupervisedStep,
    TrainingOutcome,
    train,
)

BATCHES: list[Batch] = [
    (torch.tensor([[1.0, 0.0]]), torch.tensor([0])),
    (torch.tensor([[0.0, 1.0]]), torch.tensor([1])),
]


def linear() -> tuple[nn.Linear, torch.optim.SGD]:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def run(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    passes: Iterable[Iterable[Batch]],
    loss: Loss,
    **options: Any,
) -> TrainingOutcome:
    """Train on a list of passes, or on as many as an iterator gives."""
    if isinstance(passes, list):
        options["n_passes"] = len(passes)
    iterator = iter(passes)
    return train(
        SupervisedStep(model=model, optimizer=optimizer, loss=loss),
        lambda _: next(iterator),
        **options,
    )


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


@pytest.mark.parametrize(("n_steps", "n_passes"), [(1, 1), (4, 2), (5, 3)])
def test_takes_exactly_n_steps(n_steps: int, n_passes: int) -> None:
    model, optimizer = linear()
    drawn = 0

    def counting() -> Iterator[Batch]:
        nonlocal drawn
        for batch in BATCHES:
            drawn += 1
            yield batch

    outcome = run(
        model,
        optimizer,
        (counting() for _ in itertools.count()),
        functional.cross_entropy,
        n_steps=n_steps,
    )
    assert (outcome.n_steps, outcome.n_passes, drawn) == (n_steps, n_passes, n_steps)
    assert outcome.best_pass is None
    # A second writing of the same steps.
    twin, twin_optimizer = linear()
    for x, stages in itertools.islice(itertools.cycle(BATCHES), n_steps):
        twin_optimizer.zero_grad()
        functional.cross_entropy(twin(x), stages).backward()  # type: ignore[no-untyped-call]
        twin_optimizer.step()
    assert torch.equal(weights(model), weights(twin))


@pytest.mark.parametrize(
    ("validations", "patience", "min_passes", "n_passes", "best_pass"),
    [
        ([0.3, 0.9, 0.5, 0.4, 0.95], 2, 1, 4, 2),  # the patience ends before the better pass
        ([0.3, 0.9, 0.5, 0.4, 0.95], 3, 1, 5, 5),
        ([0.3, 0.9, 0.5, 0.4, 0.95], 2, 5, 5, 5),  # the minimum overrides the patience
        ([0.5, 0.5, 0.5], 2, 1, 3, 1),  # an equal pass is no better one
        ([0.9, 0.1, 0.1], None, 1, 3, 1),  # no patience: never stop, still restore
        ([-2.0, -1.0], 1, 1, 2, 2),
    ],
)
def test_early_stop_restores_the_best_state(
    validations: list[float],
    patience: int | None,
    min_passes: int,
    n_passes: int,
    best_pass: int,
) -> None:
    model, optimizer = linear()
    states: list[Tensor] = []
    values = iter(validations)

    def validate() -> float:
        states.append(weights(model))
        return next(values)

    outcome = run(
        model,
        optimizer,
        [BATCHES for _ in validations],
        functional.cross_entropy,
        validate=validate,
        patience=patience,
        min_passes=min_passes,
    )
    assert (outcome.n_passes, outcome.best_pass) == (n_passes, best_pass)
    assert outcome.n_steps == 2 * n_passes
    assert torch.equal(weights(model), states[best_pass - 1])
    assert [entry["validation"] for entry in outcome.history] == validations[:n_passes]


def test_reports_each_pass_with_the_mean_loss() -> None:
    model, optimizer = linear()
    losses: list[float] = []

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        value = functional.cross_entropy(logits, stages)
        losses.append(value.item())
        return value

    reported: list[PassMetrics] = []
    outcome = run(
        model, optimizer, itertools.repeat(BATCHES), loss, n_steps=3, report=reported.append
    )
    assert tuple(reported) == outcome.history
    assert reported == [
        {"n_passes": 1, "n_steps": 2, "loss": pytest.approx((losses[0] + losses[1]) / 2)},
        {"n_passes": 2, "n_steps": 3, "loss": pytest.approx(losses[2])},
    ]


def test_learning_rate_is_set_for_each_pass() -> None:
    model, optimizer = linear()
    seen: list[float] = []

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        seen.append(optimizer.param_groups[0]["lr"])
        return functional.cross_entropy(logits, stages)

    run(model, optimizer, [BATCHES, BATCHES], loss, learning_rate={1: 0.5, 2: 0.25}.__getitem__)
    assert seen == [0.5, 0.5, 0.25, 0.25]


def test_model_trains_in_train_mode_even_if_the_validation_leaves_it_in_another() -> None:
    model, optimizer = linear()
    modes: list[bool] = []

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        modes.append(model.training)
        return functional.cross_entropy(logits, stages)

    def validate() -> float:
        model.eval()
        return 0.0

    run(model.eval(), optimizer, [BATCHES, BATCHES], loss, validate=validate)
    assert modes == [True] * 4


@pytest.mark.parametrize(
    ("passes", "n_steps", "message"),
    [
        ([], None, "hold 0 batches; 1 are needed"),
        ([BATCHES], 3, "hold 2 batches; 3 are needed"),
        (itertools.repeat([]), 3, "pass 1 holds no batch"),
    ],
)
def test_too_few_batches_are_refused(
    passes: Iterable[list[Batch]], n_steps: int | None, message: str
) -> None:
    model, optimizer = linear()
    with pytest.raises(TrainableError, match=message):
        run(model, optimizer, passes, functional.cross_entropy, n_steps=n_steps)


def test_patience_without_validation_is_refused() -> None:
    model, optimizer = linear()
    with pytest.raises(TrainableError, match="patience is 3"):
        run(model, optimizer, [BATCHES], functional.cross_entropy, patience=3)


def test_divergence_stops_before_the_weights_are_touched() -> None:
    model, optimizer = linear()
    before = weights(model)
    bad = (torch.tensor([[math.nan, 0.0]]), torch.tensor([0]))
    with pytest.raises(DivergedError, match=r"step 1 \(step 1 of pass 1\) is nan"):
        run(model, optimizer, [[bad]], functional.cross_entropy)
    assert torch.equal(weights(model), before)


def test_validation_that_is_not_finite_is_refused() -> None:
    model, optimizer = linear()
    with pytest.raises(DivergedError, match="validation after pass 1 is nan"):
        run(model, optimizer, [BATCHES], functional.cross_entropy, validate=lambda: math.nan)


def test_training_without_an_end_is_refused() -> None:
    model, optimizer = linear()
    with pytest.raises(TrainableError, match="neither n_passes nor n_steps"):
        run(model, optimizer, itertools.repeat(BATCHES), functional.cross_entropy)


class Noisy(nn.Module):
    """Draws random numbers in every step, and has a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(x))
        return logits


class Killed(Exception):
    """Stands for the end of the process."""


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
}


def noisy_training(
    optimizer_name: str,
    checkpoints: Checkpoints | None,
    stop_after: int | None = None,
    surroundings: Surroundings | None = None,
) -> tuple[Tensor, TrainingOutcome]:
    """Train over four passes of five batches; `stop_after` so many steps of this process, it dies."""
    torch.manual_seed(0)
    model = Noisy()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    x = torch.randn(40, 2)
    stages = (x.sum(dim=1) > 0).long()
    n_taken = itertools.count()

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        if next(n_taken) == stop_after:
            raise Killed
        return functional.cross_entropy(logits, stages)

    def batches_of(pass_number: int) -> Iterator[Batch]:
        order = torch.randperm(40, generator=torch.Generator().manual_seed(pass_number))
        for start in range(0, 40, 8):
            rows = order[start : start + 8]
            yield x[rows], stages[rows]

    def validate() -> float:
        model.eval()
        with torch.no_grad():
            return -functional.cross_entropy(model(x), stages).item()

    outcome = train(
        SupervisedStep(model=model, optimizer=optimizer, loss=loss),
        batches_of,
        n_passes=4,
        validate=validate,
        patience=3,
        checkpoints=checkpoints,
        surroundings=surroundings,
    )
    return torch.cat([value.flatten() for value in model.state_dict().values()]), outcome


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("stop_after", [1, 4, 5, 7, 15, 19])
def test_killed_and_resumed_equals_uninterrupted_to_the_last_bit(
    optimizer: str, stop_after: int
) -> None:
    expected, uninterrupted = noisy_training(optimizer, None)
    saved: list[bytes] = []
    with pytest.raises(Killed):
        noisy_training(
            optimizer, Checkpoints(save=saved.append, every_n_steps=1), stop_after=stop_after
        )
    torch.rand(3)  # whatever happened in between must not matter
    found, resumed = noisy_training(
        optimizer, Checkpoints(save=saved.append, resume_from=saved[-1])
    )
    assert torch.equal(found, expected)
    assert resumed == uninterrupted


@pytest.mark.heavy
@pytest.mark.parametrize("n_steps", [1, 4, 5, 7, 20])
def test_asked_to_leave_it_loses_not_one_step(n_steps: int) -> None:
    expected, uninterrupted = noisy_training("adam", None)
    saved: list[bytes] = []
    asked = itertools.count(1)
    around = Surroundings(must_leave=lambda: next(asked) == n_steps)
    seldom = Checkpoints(save=saved.append, every_n_steps=1, min_interval_s=3600)
    with pytest.raises(LeaveError, match=f"after step {n_steps}"):
        noisy_training("adam", seldom, surroundings=around)
    assert len(saved) == 1
    # Only the steps that are left are taken: one more would be one too many.
    pulses: list[Pulse] = []
    found, resumed = noisy_training(
        "adam",
        Checkpoints(save=saved.append, resume_from=saved[-1]),
        stop_after=20 - n_steps,
        surroundings=Surroundings(pulse=pulses.append, every_s=0),
    )
    assert [(p.n_steps, p.n_steps_before) for p in pulses] == [
        (n, n_steps) for n in range(n_steps + 1, 21)
    ]
    assert torch.equal(found, expected)
    assert resumed == uninterrupted


@pytest.mark.heavy
def test_pulses_come_at_their_interval_and_tell_loss_pace_and_wait() -> None:
    pulses: list[Pulse] = []
    n_taken = itertools.count(1)

    def slow(pass_number: int) -> Iterator[Batch]:
        for batch in itertools.islice(itertools.cycle(BATCHES), 6):
            time.sleep(0.03)
            yield batch

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        time.sleep(0.01)
        return logits.sum() * 0 + float(next(n_taken))

    model, optimizer = linear()
    step = SupervisedStep(model=model, optimizer=optimizer, loss=loss)
    around = Surroundings(pulse=pulses.append, every_s=0.1)  # 0.04 s a step: every third one
    train(step, slow, n_passes=1, surroundings=around)
    assert [pulse.loss for pulse in pulses] == [2.0, 5.0]  # of steps 1 to 3, and 4 to 6
    assert [pulse.n_steps for pulse in pulses] == [3, 6]
    for pulse in pulses:
        assert 0 < pulse.steps_per_s <= 25
        assert 0.5 < pulse.waited <= 1
        assert pulse.details == {}


def test_a_finished_training_resumes_to_its_end_without_a_step() -> None:
    expected, uninterrupted = noisy_training("adam", None)
    saved: list[bytes] = []
    noisy_training("adam", Checkpoints(save=saved.append))
    found, resumed = noisy_training(
        "adam", Checkpoints(save=saved.append, resume_from=saved[-1]), stop_after=0
    )
    assert torch.equal(found, expected)
    assert resumed == uninterrupted


def test_equal_trainings_give_equal_checkpoints() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    for saved in (first, second):
        noisy_training("adam", Checkpoints(save=saved.append, every_n_steps=3))
    assert first == second
    assert len(first) == 4 + 20 // 3


def test_the_checkpoint_of_another_model_is_refused() -> None:
    saved: list[bytes] = []
    noisy_training("adam", Checkpoints(save=saved.append))
    model, optimizer = linear()
    with pytest.raises(CheckpointError, match="another model or optimiser"):
        run(
            model,
            optimizer,
            [BATCHES],
            functional.cross_entropy,
            checkpoints=Checkpoints(save=saved.append, resume_from=saved[-1]),
        )
    with pytest.raises(CheckpointError, match="not a safetensors"):
        noisy_training("adam", Checkpoints(save=saved.append, resume_from=saved[-1][:-1]))


@pytest.mark.heavy
def test_the_wait_for_batches_is_told_apart_from_the_rest() -> None:
    wait_s, step_s, validate_s = 0.03, 0.01, 0.02

    def slow(pass_number: int) -> Iterator[Batch]:
        for batch in BATCHES:
            time.sleep(wait_s)
            yield batch

    def loss(logits: Tensor, stages: Tensor) -> Tensor:
        time.sleep(step_s)
        return functional.cross_entropy(logits, stages)

    def validate() -> float:
        time.sleep(validate_s)
        return 0.0

    model, optimizer = linear()
    step = SupervisedStep(model=model, optimizer=optimizer, loss=loss)
    began_s = time.perf_counter()
    seconds = train(step, slow, n_passes=2, validate=validate).seconds
    passed_s = time.perf_counter() - began_s
    rest_s = 4 * step_s + 2 * validate_s
    assert 4 * wait_s <= seconds.waited <= passed_s - rest_s
    assert seconds.waited + rest_s <= seconds.total <= passed_s


def test_the_time_that_training_takes_is_no_part_of_its_outcome() -> None:
    _, first = noisy_training("adam", None)
    saved: list[bytes] = []
    _, second = noisy_training("adam", Checkpoints(save=saved.append))
    assert first.seconds != second.seconds
    assert first == second
    _, looked_up = noisy_training("adam", Checkpoints(save=saved.append, resume_from=saved[-1]))
    assert looked_up.seconds.waited == 0  # nothing of what another process spent


def test_seconds_add_up() -> None:
    found = Seconds(waited=1.0, total=4.0) + Seconds(waited=0.5, total=2.0)
    assert found == Seconds(waited=1.5, total=6.0)
