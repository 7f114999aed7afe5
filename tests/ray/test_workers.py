"""Folds and finetuning under Ray Train: fed by Ray Data, resumed at a pass, errors with their class."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ray import train

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError
from orchestrator.sweeps.failures import LostError
from orchestrator.sweeps.workers import Feed, Room, Rows, check_fits, n_that_fit, run_on_workers
from orchestrator.telemetry.growth import GROWS_TO
from trainables.errors import DivergedError

pytestmark = pytest.mark.ray


def sweep(n: int, cpus: float) -> SweepBase:
    return SweepBase(name="probe", method="any", workers=n, cpus_per_worker=cpus)


def test_gpus_that_are_not_there_are_refused(ray_cluster: Any) -> None:
    with pytest.raises(ConfigError, match=r"need 0\.5 GPUs; the cluster has 0\."):
        check_fits(
            SweepBase(name="probe", method="any", gpus_per_worker=0.5), 4, Room.of_the_cluster()
        )


def test_a_worker_that_fits_no_node_is_refused() -> None:
    room = Room(total={"CPU": 8, "GPU": 0}, largest={"CPU": 2, "GPU": 0})
    check_fits(sweep(2, 2), 1, room)
    with pytest.raises(
        ConfigError, match="a worker needs 3 CPUs on one node; the largest node has 2"
    ):
        check_fits(sweep(2, 3), 1, room)


@pytest.mark.parametrize(
    ("n", "cpus", "n_concurrent", "needed"),
    [(2, 1.0, 1, "3"), (2, 0.5, 2, "3"), (3, 0.5, 1, "2.5")],
)
def test_more_than_the_cluster_holds_is_refused_with_the_numbers(
    ray_cluster: Any, n: int, cpus: float, n_concurrent: int, needed: str
) -> None:
    with pytest.raises(ConfigError, match=rf"need {needed} CPUs; the cluster has 2\."):
        check_fits(sweep(n, cpus), n_concurrent, Room.of_the_cluster())


def test_what_fits_is_let_through(ray_cluster: Any) -> None:
    check_fits(sweep(2, 0.5), 1, Room.of_the_cluster())
    check_fits(sweep(4, 0.25), 1, Room.of_the_cluster())
    check_fits(
        sweep(1, 1.0), 100, Room.of_the_cluster()
    )  # one worker waits for a CPU like any task
    assert n_that_fit(sweep(2, 0.5)) == 1
    assert n_that_fit(sweep(2, 0.25)) == 2


def test_a_cluster_that_can_grow_is_taken_as_large_as_it_may_get(
    ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROWS_TO, "CPU:17:8,GPU:4:1")
    check_fits(sweep(2, 8.0), 1, Room.of_the_cluster())
    with pytest.raises(ConfigError, match="the cluster has 17"):
        check_fits(sweep(2, 8.0), 2, Room.of_the_cluster())
    monkeypatch.setenv(GROWS_TO, "CPU:64:8,GPU:4:1")
    with pytest.raises(ConfigError, match="the largest node has 8"):
        check_fits(sweep(2, 9.0), 1, Room.of_the_cluster())
    monkeypatch.setenv(GROWS_TO, "CPU:17:8,GPU:4:1")
    assert n_that_fit(sweep(2, 0.5)) == 16
    monkeypatch.setenv(GROWS_TO, "CPU:inf:inf,GPU:inf:inf")
    check_fits(sweep(2, 64.0), 100, Room.of_the_cluster())
    assert n_that_fit(sweep(1, 1.0)) > 100


def squares(row: NDArray[np.int64]) -> Rows:
    return {"row": row, "square": np.stack([row, row**2], axis=1)}


def collect(
    arguments: str, feeds: Iterator[Iterator[Rows]]
) -> tuple[str, list[list[int]], list[int], list[list[int]]]:
    """Return what this worker got of the first feed step by step, and what all got of it, and of the others.

    Of each of those, it takes a step more than of the one before, and leaves the rest.
    """
    import torch
    import torch.distributed as dist

    def of_all(mine: list[int]) -> list[int]:
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
        return sorted(row for part in parts for row in part)

    steps = [share["row"].tolist() for share in next(feeds)]
    everything = of_all([row for step in steps for row in step])
    others = []
    for n_steps, shares in enumerate(feeds, start=1):
        taken = [next(shares)["row"].tolist() for _ in range(n_steps)]
        others.append(of_all([row for step in taken for row in step]))
    assert torch.get_num_threads() == 1
    return arguments, steps, everything, others


@pytest.mark.full
def test_workers_share_every_step_of_one_feed_after_the_other_also_when_they_leave_one_unfinished(
    ray_cluster: Any,
) -> None:
    feeds = [
        Feed(48, squares),
        Feed(800, squares),
        Feed(48, lambda row: squares(row + 1000)),
        Feed(24, squares),
    ]
    name, steps, everything, others = run_on_workers(
        collect, "hello", feeds, sweep=sweep(2, 0.5), share=4
    )
    assert name == "hello"
    assert [len(step) for step in steps] == [4] * 6
    assert everything == list(range(48))
    assert others == [list(range(8)), list(range(1000, 1016)), list(range(24))]


def diverge(arguments: None, feeds: Iterator[Iterator[Rows]]) -> None:
    raise DivergedError("the loss of step 3 is nan")


@pytest.mark.full
def test_an_error_in_a_worker_keeps_its_class(ray_cluster: Any) -> None:
    with pytest.raises(DivergedError, match="step 3 is nan"):
        run_on_workers(diverge, None, [Feed(8, squares)], sweep=sweep(2, 0.5), share=4)


def die(arguments: None, feeds: Iterator[Iterator[Rows]]) -> None:
    if train.get_context().get_world_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # until the others notice


@pytest.mark.full
def test_a_worker_that_dies_is_lost_and_not_at_fault(ray_cluster: Any) -> None:
    with pytest.raises(LostError):
        run_on_workers(die, None, [Feed(8, squares)], sweep=sweep(2, 0.5), share=4)
