"""What Ray runs of a sweep in other processes, which import what a trial needs and nothing of the search."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.method import AfterPart, Configured, InputsRef, Order, Trainer
from orchestrator.sweeps.reports import Outcome, outcome_of
from search_spaces.space import Params

if TYPE_CHECKING:
    from trainables.training import Seconds


def run_control(
    trial: Callable[[InputsRef, str], Outcome], inputs_ref: InputsRef, name: str
) -> Outcome:
    """Run an arm or row in a Ray task."""
    return trial(inputs_ref, name)


def train_one(
    inputs_ref: InputsRef,
    name: str,
    params: Params | None = None,
    after_part: AfterPart | None = None,
    *,
    trainer: Trainer[Any, Any],
) -> Outcome:
    """Train a trial, arm or row in a process of its own, and return what becomes of it."""
    inputs = ray.get(inputs_ref[0])
    seconds: list[Seconds] = []

    def train() -> str:
        trial = trainer.configured(inputs, name, params)
        trainer.train(
            Order(
                inputs=inputs,
                trial=trial,
                inputs_ref=inputs_ref,
                after_part=after_part,
                trained=seconds.append,
            )
        )
        signature: str = trial.signature
        return signature

    return outcome_of(train, seconds)


def train_configured(
    inputs_ref: InputsRef,
    name: str,
    *,
    trainer: Trainer[Any, Any],
    trials: Mapping[str, Configured],
) -> Outcome:
    """Train one of some trials that are configured already, by its name."""
    return train_one(inputs_ref, name, trainer=replace(trainer, configured=lambda *_: trials[name]))


def train_proposed(
    inputs_ref: InputsRef, params: Params, after_part: AfterPart, *, trainer: Trainer[Any, Any]
) -> Outcome:
    """Train what a search proposed."""
    return train_one(inputs_ref, "", params, after_part, trainer=trainer)
