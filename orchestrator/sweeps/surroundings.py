"""What a trial says of its training while it runs, and how it learns that it has to leave its machine."""

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from orchestrator.cluster.reclaim import LEAVE_FILE
from orchestrator.errors import OrchestratorError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.tables.shown import gauges
from trainables.surroundings import Pulse, Surroundings
from trainables.workers import Workers

LOCAL_S, S3_S = 5.0, 15.0
"""How often a trial says how it is doing. An object is written as often as Prometheus usually looks."""


def leave_asked() -> Callable[[], bool] | None:
    """Return what tells whether this machine is about to be taken away; None on one that stays."""
    path = os.environ.get(LEAVE_FILE)
    return None if path is None else partial(os.path.exists, path)


@dataclass(frozen=True, slots=True)
class TrainingWatch:
    """A trial, or what else is known by a signature, whose training is watched."""

    store: Store
    sweep_name: str
    signature: str

    @contextlib.contextmanager
    def training(self, batch_size: int, device: str) -> Iterator[Surroundings]:
        """Give a training its surroundings. What it says is in the store until it ends.

        Parameters
        ----------
        batch_size : int
            Epochs of a step, of all workers together.
        device : str
        """
        if Workers.current().rank > 0:
            yield Surroundings(must_leave=leave_asked())
            return
        path = paths.live_metrics(self.sweep_name, self.signature)

        def pulse(found: Pulse) -> None:
            with contextlib.suppress(OrchestratorError):  # no training fails for its metrics
                content = json.dumps(_as_data(found, batch_size, device))
                self.store.write_bytes(path, content.encode())

        try:
            yield Surroundings(
                pulse=pulse,
                every_s=LOCAL_S if self.store.is_local else S3_S,
                must_leave=leave_asked(),
            )
        finally:
            with contextlib.suppress(OrchestratorError):
                self.store.delete_if_there(path)


def _as_data(pulse: Pulse, batch_size: int, device: str) -> dict[str, Any]:
    return {
        "at": time.time(),
        "n_steps": pulse.n_steps,
        "n_steps_before": pulse.n_steps_before,
        "loss": pulse.loss,
        "epochs_per_s": pulse.steps_per_s * batch_size,
        "data_wait": pulse.waited,
        "device": device,
        "memory_bytes": _memory_bytes(device),
        "modalities": {
            key: value for key, value in pulse.details.items() if key.partition("_")[0] in gauges()
        },
    }


def _memory_bytes(device: str) -> int:
    """Return the most that this process has held, of the GPU where it trains on one."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
