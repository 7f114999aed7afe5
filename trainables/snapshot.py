"""All that a training needs to go on as if nothing had happened, as bytes.

Weights, best weights, optimiser, random numbers, progress and whatever the step remembers. No pickle: see
:mod:`trainables.checkpoint`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from trainables import checkpoint
from trainables.errors import CheckpointError

PassMetrics = TypeVar("PassMetrics")

_KIND = "training snapshot 1"


@dataclass(kw_only=True, slots=True)
class Progress(Generic[PassMetrics]):
    """Where a training stands between two steps."""

    pass_number: int = 1
    """The pass that is under way, from 1."""

    losses: list[float] = field(default_factory=list)
    """Of the steps taken in that pass."""

    n_steps: int = 0
    """Taken in all passes."""

    best_pass: int | None = None
    best_validation: float = -math.inf
    history: list[PassMetrics] = field(default_factory=list)
    """One entry for each finished pass."""

    is_finished: bool = False
    """No further pass: the steps or the patience are used up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot(Generic[PassMetrics]):
    """A training between two steps."""

    weights: Mapping[str, Tensor]
    best_weights: Mapping[str, Tensor]
    """Of the best pass so far; empty without one."""
    optimizer: Mapping[str, Any]
    """As ``Optimizer.state_dict()`` gives it."""
    step: Mapping[str, Tensor]
    """What the training step remembers."""
    random: Mapping[str, Tensor]
    """States of torch's random number generators, by device."""
    progress: Progress[PassMetrics]

    @classmethod
    def take(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: Mapping[str, Tensor],
        progress: Progress[PassMetrics],
        best_weights: Mapping[str, Tensor],
    ) -> "Snapshot[PassMetrics]":
        """Gather the state of a training, by reference: write it out before the next step."""
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        return cls(
            weights=model.state_dict(),
            best_weights=best_weights,
            optimizer=optimizer.state_dict(),
            step=step,
            random=random,
            progress=progress,
        )

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights, optimiser and random numbers back.

        Raises
        ------
        CheckpointError
            Model or optimiser are others than those that were saved.
        """
        try:
            model.load_state_dict(self.weights)
            optimizer.load_state_dict(dict(self.optimizer))
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint belongs to another model or optimiser: {error}"
            ) from error
        torch.set_rng_state(self.random["cpu"])
        if "cuda" in self.random and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.random["cuda"])

    def to_bytes(self) -> bytes:
        """Serialise; equal snapshots give equal bytes."""
        tensors: dict[str, Tensor] = {}
        for part in ("weights", "best_weights", "step", "random"):
            tensors |= {f"{part}/{name}": tensor for name, tensor in getattr(self, part).items()}
        scalars: dict[str, dict[str, Any]] = {}
        for index, slots in self.optimizer["state"].items():
            for name, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{name}"] = value
                else:
                    scalars.setdefault(str(index), {})[name] = value
        metadata = {
            "kind": _KIND,
            "progress": json.dumps(asdict(self.progress)),
            "optimizer_groups": json.dumps(self.optimizer["param_groups"]),
            "optimizer_scalars": json.dumps(scalars),
        }
        return checkpoint.to_bytes(tensors, metadata)

    @classmethod
    def from_bytes(cls, blob: bytes) -> "Snapshot[PassMetrics]":
        """Read back what `to_bytes` wrote.

        Raises
        ------
        CheckpointError
            The bytes are damaged, or no snapshot.
        """
        tensors, metadata = checkpoint.from_bytes(blob)
        if metadata.get("kind") != _KIND:
            raise CheckpointError(
                f"a checkpoint of kind {metadata.get('kind')!r} is no {_KIND!r}; training cannot go on from it."
            )
        parts: dict[str, dict[str, Tensor]] = {
            part: {} for part in ("weights", "best_weights", "step", "random", "optimizer")
        }
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        state: dict[int, dict[str, Any]] = {
            int(index): dict(slots)
            for index, slots in json.loads(metadata["optimizer_scalars"]).items()
        }
        for name, tensor in parts["optimizer"].items():
            index, _, slot = name.partition("/")
            state.setdefault(int(index), {})[slot] = tensor
        return cls(
            weights=parts["weights"],
            best_weights=parts["best_weights"],
            optimizer={"state": state, "param_groups": json.loads(metadata["optimizer_groups"])},
            step=parts["step"],
            random=parts["random"],
            progress=Progress(**json.loads(metadata["progress"])),
        )
