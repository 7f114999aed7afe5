"""The one training loop: passes over batches, early stop on a validation, a report per pass.

Pretraining uses it with a validation and a limit of passes, finetuning with a fixed number of
steps.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn

from trainables.errors import DivergedError, TrainableError

Batch = tuple[Tensor, Tensor]
"""What one step takes: epochs (b, n_channels, n_times) and their stages (b,)."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (b, n_stages) and stages (b,) -> scalar."""


class PassMetrics(TypedDict):
    """What is known after a pass, also one that the limit of steps cut short."""

    n_passes: int
    """Passes begun so far; 1 in the first report."""

    n_steps: int
    """Optimiser steps taken so far."""

    loss: float
    """Mean over the steps of this pass."""

    validation: NotRequired[float]
    """What ``validate`` returned, where there is one."""


Report = Callable[[PassMetrics], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOutcome:
    """What a training took and reached."""

    n_steps: int
    """Optimiser steps taken, those after the best pass included."""

    n_passes: int
    """Passes begun."""

    best_pass: int | None
    """The pass (from 1) whose weights the model ends with; None without a validation, where the
    model ends with the last weights."""

    history: tuple[PassMetrics, ...]
    """One entry per pass."""


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    passes: Iterable[Iterable[Batch]],
    loss: Loss,
    *,
    n_steps: int | None = None,
    learning_rate: Callable[[int], float] | None = None,
    validate: Callable[[], float] | None = None,
    patience: int | None = None,
    min_passes: int = 1,
    report: Report | None = None,
) -> TrainingOutcome:
    """Train a model in place until the steps, the passes or the patience are used up.

    Parameters
    ----------
    model : Module
        In train mode during every step, batch-norm included.
    optimizer : Optimizer
        Over the parameters of ``model``.
    passes : iterable of iterables of Batch
        May be endless where ``n_steps`` is given.
    loss : callable
        Logits and stages to a scalar.
    n_steps : int, optional
        Exactly this many steps, the last pass cut short where needed.
    learning_rate : callable, optional
        Number of a pass (from 1) to the learning rate of its steps; without it the optimiser's
        stays.
    validate : callable, optional
        Called after each pass; larger is better. The model ends with the weights of the best pass,
        the earliest of equals.
    patience : int, optional
        Stop after so many passes in a row without a better validation; without it, never.
    min_passes : int
        Do not stop for lack of patience before this many passes.
    report : callable, optional
        Called with the metrics of each pass.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    DivergedError
        The loss or the validation is not finite.
    TrainableError
        A pass holds no batch, the passes end before ``n_steps``, or there is patience without
        validation.
    """
    if patience is not None and validate is None:
        raise TrainableError(f"patience is {patience}, but there is no validation to wait for.")
    history: list[PassMetrics] = []
    n_taken = 0
    best_pass: int | None = None
    best_validation = -math.inf
    best_state: Mapping[str, Tensor] = {}
    for pass_number, batches in enumerate(passes, start=1):
        if learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(pass_number)
        n_left = None if n_steps is None else n_steps - n_taken
        losses = _take_steps(model, optimizer, itertools.islice(batches, n_left), loss)
        if not losses:
            raise TrainableError(f"pass {pass_number} holds no batch; it needs at least one.")
        n_taken += len(losses)
        metrics = PassMetrics(
            n_passes=pass_number, n_steps=n_taken, loss=math.fsum(losses) / len(losses)
        )
        if validate is not None:
            metrics["validation"] = validation = validate()
            if not math.isfinite(validation):
                raise DivergedError(f"the validation after pass {pass_number} is {validation}.")
            if validation > best_validation:
                best_pass, best_validation = pass_number, validation
                best_state = copy.deepcopy(model.state_dict())
        history.append(metrics)
        if report is not None:
            report(metrics)
        if n_taken == n_steps:
            break
        if (
            patience is not None
            and best_pass is not None
            and pass_number >= max(min_passes, best_pass + patience)
        ):
            break
    if n_taken < (n_steps or 1):
        raise TrainableError(f"the passes hold {n_taken} batches; {n_steps or 1} are needed.")
    if best_pass is not None:
        model.load_state_dict(best_state)
    return TrainingOutcome(
        n_steps=n_taken, n_passes=len(history), best_pass=best_pass, history=tuple(history)
    )


def _take_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch], loss: Loss
) -> list[float]:
    """Take one step per batch and return the losses."""
    model.train()
    losses: list[float] = []
    for x, stages in batches:
        optimizer.zero_grad()
        value = loss(model(x), stages)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise DivergedError(
                f"the loss of step {len(losses)} of a pass is {losses[-1]}; "
                "a smaller learning rate may help."
            )
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses
