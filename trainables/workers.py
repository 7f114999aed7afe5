"""The processes that train one model together: each takes a part of every batch.

Whatever depends on the whole batch (the weight of the loss, the modality scores, what is reported) is summed over all
of them, so that N workers compute what one would.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

AnyBatch = TypeVar("AnyBatch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """The processes of a training, this one among them; one by default."""

    n: int = 1
    """How many there are."""

    rank: int = 0
    """Which of them this is, from 0; the first one reports and saves."""

    @classmethod
    def current(cls) -> "Workers":
        """Return the processes of torch's default group, or this one alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(n=dist.get_world_size(), rank=dist.get_rank())
        return cls()

    def seeded(self, batches: Iterable[AnyBatch], *numbers: int) -> Iterable[AnyBatch]:
        """Seed torch before each batch, differently in each of several workers, so that each draws its own dropout.

        They draw the same for a batch whichever one a training goes on from. One worker is left alone.
        """
        if self.n == 1:
            return batches
        return self._seeded(batches, numbers)

    def _seeded(self, batches: Iterable[AnyBatch], numbers: tuple[int, ...]) -> Iterator[AnyBatch]:
        for i, batch in enumerate(batches):
            state = np.random.SeedSequence((*numbers, i, self.rank)).generate_state(1)
            torch.manual_seed(int(state[0]))
            yield batch

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all workers, without gradient; every worker has to call it."""
        value = value.detach()
        if self.n > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, value: bool) -> bool:
        """Return whether it is true of any worker; every worker has to call it."""
        if self.n > 1:
            holder = torch.tensor([float(value)], device=self._device)
            dist.all_reduce(holder, op=dist.ReduceOp.MAX)
            value = bool(holder)
        return value

    def meet(self) -> None:
        """Return when every worker has called it."""
        if self.n > 1:
            dist.barrier()

    def first(self, value: float) -> float:
        """Return what the first worker has; every worker has to call it."""
        if self.n > 1:
            holder = torch.tensor([value], dtype=torch.float64, device=self._device)
            dist.broadcast(holder, src=0)
            value = float(holder)
        return value

    @property
    def _device(self) -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"
