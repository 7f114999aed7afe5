"""The processes that train one model together: each takes a part of every batch.

Whatever depends on the whole batch (the weight of the loss, the modality scores, what is reported) is summed over all
of them, so that N workers compute what one would.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


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

    def seed(self, *numbers: int) -> None:
        """Seed torch differently in each of several workers, so that each draws its own dropout; one is left alone."""
        if self.n > 1:
            state = np.random.SeedSequence((*numbers, self.rank)).generate_state(1)
            torch.manual_seed(int(state[0]))

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all workers, without gradient; every worker has to call it."""
        value = value.detach()
        if self.n > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def first(self, value: float) -> float:
        """Return what the first worker has; every worker has to call it."""
        if self.n > 1:
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            holder = torch.tensor([value], dtype=torch.float64, device=device)
            dist.broadcast(holder, src=0)
            value = float(holder)
        return value
