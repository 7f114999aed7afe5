"""The one training loop: passes over batches, early stop on a validation, a report per pass, checkpoints.

What happens in a step is the method's affair, see `TrainingStep`. Pretraining and SleepMG use the loop with a
validation and a limit of passes, finetuning with a fixed number of steps.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, NotRequired, Protocol, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from trainables.errors import DivergedError, LeaveError, TrainableError
from trainables.snapshot import Progress, Snapshot
from trainables.surroundings import Surroundings, Watch
from trainables.workers import Workers

Batch = tuple[Tensor, Tensor]
"""What a `SupervisedStep` takes: epochs (b, n_channels, n_times) and their stages (b,)."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (b, n_stages) and stages (b,) -> scalar."""

AnyBatch = TypeVar("AnyBatch")
AnyBatchIn = TypeVar("AnyBatchIn", contravariant=True)


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

    details: NotRequired[dict[str, float]]
    """What the step has to say about the pass, where it has."""


Report = Callable[[PassMetrics], None]


class TrainingStep(Protocol[AnyBatchIn]):
    """One optimiser update, with whatever it remembers between updates."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Over the parameters of the model."""

    def __call__(self, batch: AnyBatchIn) -> float:
        """Update the weights; return the loss before."""

    def end_pass(self) -> dict[str, float]:
        """Say what is to be reported of the pass, and begin a new one."""

    def state(self) -> dict[str, Tensor]:
        """Return what has to be remembered besides model and optimiser."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedStep:
    """The plain step: logits, loss, gradient, update. Remembers nothing."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    network: nn.Module | None = None
    """What is called instead of the model: the same, wrapped for several workers."""
    workers: Workers = field(default_factory=Workers)
    """Of which each has a part of every batch."""

    def __call__(self, batch: Batch) -> float:
        """Update the weights on epochs and their stages; return the loss of the whole batch before."""
        x, stages = batch
        self.optimizer.zero_grad()
        value = self.loss((self.network or self.model)(x), stages)
        total = float(self.workers.sum(value)) / self.workers.n
        if math.isfinite(total):  # else the loop stops; the weights stay as they are
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return total

    def end_pass(self) -> dict[str, float]:
        """Nothing to say."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing to remember."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoints:
    """How a training is saved on its way, and where it goes on."""

    save: Callable[[bytes], None]
    """Called with the bytes of a `Snapshot`; each replaces the one before."""

    every_n_steps: int | None = None
    """Save after so many steps too; after each pass in any case."""

    min_interval_s: float = 0.0
    """But not sooner than so long after the last time: what is lost when training is killed is bounded in seconds,
    and so is what saving costs."""

    resume_from: bytes | None = None
    """Go on from here: the result is the same to the last bit as without the interruption (on a CPU, with the
    same number of threads)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """What training took in this process; one that was resumed counts from there."""

    waited: float = 0.0
    """For batches to be there. A GPU may still be at work on the step before."""

    total: float = 0.0
    """In all, validation and checkpoints included."""

    def __add__(self, other: "Seconds") -> "Seconds":
        """Return what both trainings took together."""
        return Seconds(waited=self.waited + other.waited, total=self.total + other.total)


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

    seconds: Seconds = field(compare=False)
    """Of this process. No part of what equal trainings have in common, so no checkpoint holds it."""


def train(
    step: TrainingStep[AnyBatch],
    batches_of: Callable[[int], Iterable[AnyBatch]],
    *,
    n_passes: int | None = None,
    n_steps: int | None = None,
    learning_rate: Callable[[int], float] | None = None,
    validate: Callable[[], float] | None = None,
    patience: int | None = None,
    min_passes: int = 1,
    report: Report | None = None,
    after_step: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
    surroundings: Surroundings | None = None,
    workers: Workers | None = None,
) -> TrainingOutcome:
    """Train a model in place until the steps, the passes or the patience are used up.

    Parameters
    ----------
    step : TrainingStep
        Its model is in train mode during every step, batch-norm included.
    batches_of : callable
        Number of a pass (from 1) to its batches. Must not depend on which passes were asked for before: a resumed
        training asks for later ones only.
    n_passes, n_steps : int, optional
        At most this many passes; exactly this many steps, the last pass cut short where needed. One of both at least.
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
    after_step : callable, optional
        Called after each step with how many were taken. Must leave the model in train mode and the random numbers
        alone.
    checkpoints : Checkpoints, optional
    surroundings : Surroundings, optional
        Who is told how it goes, and who may end it.
    workers : Workers, optional
        That train together, if they are several.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    DivergedError
        The loss or the validation is not finite. The last checkpoint is from before.
    CheckpointError
        The checkpoint belongs to another training.
    LeaveError
        The surroundings asked for it. Everything is saved, the step that was just taken included.
    TrainableError
        A pass holds no batch, the passes end before ``n_steps``, there is patience without
        validation, or no limit.
    """
    if patience is not None and validate is None:
        raise TrainableError(f"patience is {patience}, but there is no validation to wait for.")
    if n_passes is None and n_steps is None:
        raise TrainableError("neither n_passes nor n_steps is given; training needs an end.")
    began_s = time.perf_counter()
    watch = Watch(surroundings or Surroundings())
    loop = _Loop(step, checkpoints, watch, workers or Workers())
    while not loop.progress.is_finished:
        pass_number = loop.progress.pass_number
        if n_passes is not None and pass_number > n_passes:
            break
        if learning_rate is not None:
            for group in step.optimizer.param_groups:
                group["lr"] = learning_rate(pass_number)
        loop.take_pass(batches_of(pass_number), n_steps, after_step)
        loop.end_pass(validate, report)
        progress = loop.progress
        out_of_patience = (
            patience is not None
            and progress.best_pass is not None
            and pass_number >= max(min_passes, progress.best_pass + patience)
        )
        progress.is_finished = progress.n_steps == n_steps or out_of_patience
        loop.save()
    progress = loop.progress
    if progress.n_steps < (n_steps or 1):
        raise TrainableError(
            f"the passes hold {progress.n_steps} batches; {n_steps or 1} are needed."
        )
    if progress.best_pass is not None:
        step.model.load_state_dict(loop.best_weights)
    return TrainingOutcome(
        n_steps=progress.n_steps,
        n_passes=len(progress.history),
        best_pass=progress.best_pass,
        history=tuple(progress.history),
        seconds=Seconds(waited=loop.waited_s, total=time.perf_counter() - began_s),
    )


class _Loop(Generic[AnyBatch]):
    """Where a training stands, and how it is saved."""

    def __init__(
        self,
        step: TrainingStep[AnyBatch],
        checkpoints: Checkpoints | None,
        watch: Watch,
        workers: Workers,
    ) -> None:
        self.step = step
        self.checkpoints = checkpoints
        self.watch = watch
        self.workers = workers
        self.progress: Progress[PassMetrics] = Progress()
        self.best_weights: Mapping[str, Tensor] = {}
        self.saved_s = time.monotonic()
        self.waited_s = 0.0
        if checkpoints is not None and checkpoints.resume_from is not None:
            snapshot: Snapshot[PassMetrics] = Snapshot.from_bytes(checkpoints.resume_from)
            snapshot.restore(step.model, step.optimizer)
            step.load_state(snapshot.step)
            self.progress, self.best_weights = snapshot.progress, snapshot.best_weights
            watch.n_steps_before = self.progress.n_steps

    def take_pass(
        self,
        batches: Iterable[AnyBatch],
        n_steps: int | None,
        after_step: Callable[[int], None] | None,
    ) -> None:
        """Take a step per batch that is left of the pass."""
        progress = self.progress
        n_done = len(progress.losses)
        n_left = None if n_steps is None else n_done + n_steps - progress.n_steps
        self.step.model.train()
        for batch in self._awaited(itertools.islice(batches, n_done, n_left)):
            loss = self.step(batch)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of step {progress.n_steps + 1} (step {len(progress.losses) + 1} of pass "
                    f"{progress.pass_number}) is {loss}; a smaller learning rate may help."
                )
            progress.losses.append(loss)
            progress.n_steps += 1
            every = self.checkpoints.every_n_steps if self.checkpoints else None
            if every is not None and progress.n_steps % every == 0:
                self.save()
            if after_step is not None:
                after_step(progress.n_steps)
            self.watch.step(loss, self.waited_s)
            if self.watch.must_leave(self.workers):
                self.save(now=True)
                self.workers.meet()  # none ends before the first one has written
                raise LeaveError(f"asked to leave after step {progress.n_steps}.")
        if not progress.losses:
            raise TrainableError(
                f"pass {progress.pass_number} holds no batch; it needs at least one."
            )

    def _awaited(self, batches: Iterator[AnyBatch]) -> Iterator[AnyBatch]:
        """Hand the batches on, and add up how long they were waited for."""
        while True:
            began_s = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited_s += time.perf_counter() - began_s
            yield batch

    def end_pass(self, validate: Callable[[], float] | None, report: Report | None) -> None:
        """Validate, keep the best weights, and report."""
        progress = self.progress
        metrics = PassMetrics(
            n_passes=progress.pass_number,
            n_steps=progress.n_steps,
            loss=math.fsum(progress.losses) / len(progress.losses),
        )
        if validate is not None:
            metrics["validation"] = validation = validate()
            if not math.isfinite(validation):
                raise DivergedError(
                    f"the validation after pass {progress.pass_number} is {validation}."
                )
            if validation > progress.best_validation:
                progress.best_pass, progress.best_validation = progress.pass_number, validation
                self.best_weights = copy.deepcopy(self.step.model.state_dict())
        details = self.step.end_pass()
        if details:
            metrics["details"] = self.watch.details = details
        progress.history.append(metrics)
        progress.pass_number += 1
        progress.losses.clear()
        if report is not None:
            report(metrics)

    def save(self, now: bool = False) -> None:
        """Hand over all that a later process needs to go on, unless that was just done and need not be `now`."""
        checkpoints = self.checkpoints
        if checkpoints is None:
            return
        if not now and time.monotonic() - self.saved_s < checkpoints.min_interval_s:
            return
        snapshot = Snapshot.take(
            self.step.model,
            self.step.optimizer,
            self.step.state(),
            self.progress,
            self.best_weights,
        )
        checkpoints.save(snapshot.to_bytes())
        self.saved_s = time.monotonic()
