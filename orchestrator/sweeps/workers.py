"""Several workers for one trial: Ray Train's TorchTrainer inside the trial, fed by Ray Data's ``streaming_split``.

The trial itself takes no CPU while its workers run; they take ``cpus_per_worker`` each, and the task that reads for
them takes one.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError
from orchestrator.sweeps.failures import LostError, is_lost
from orchestrator.telemetry.growth import Growth
from orchestrator.telemetry.limits import n_usable_cpus
from orchestrator.telemetry.session import configure_data

if TYPE_CHECKING:
    import ray.data

Rows = dict[str, NDArray[Any]]
"""Column -> one value (of any shape) for each row."""

Work = Callable[[Any, Iterator[Iterator[Rows]]], Any]
"""What each worker does: with its arguments, and for each feed an iterator over its share of every batch. It may leave
a feed unfinished when it takes the next."""

_READERS = 1
"""CPUs of the task that reads for the workers."""

_STALLED_S = 600
"""Seconds without progress after which reading fails instead of waiting for ever. The first worker validates while the
others wait and nobody reads: a minute, which is enough to notice a hang, is not enough for a large validation."""

_MOST_AT_ONCE = 10_000  # where nobody knows how far a cluster may grow
_WHAT = ("CPU", "GPU")
_SHARE, _N_FEEDS = "share", "n_feeds"


@dataclass(frozen=True, slots=True)
class Feed:
    """What all workers train one model on."""

    n_rows: int
    """For all workers and all passes together; a multiple of ``share * sweep.workers``."""
    rows_of: Callable[[NDArray[np.int64]], Rows]
    """Numbers of rows to what they hold; runs in a Ray Data task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What there is to run on."""

    total: Mapping[str, float]
    """CPUs and GPUs of all nodes, those that an autoscaler may add included."""
    largest: Mapping[str, float]
    """Of the node that has the most of each."""

    @classmethod
    def of_this_machine(cls, n_cpus: int | None) -> "Room":
        """Return what a Ray session on this machine will have, before it is started."""
        import torch

        found = {
            "CPU": float(n_cpus or n_usable_cpus()),
            "GPU": float(torch.cuda.device_count()),
        }
        return cls(total=found, largest=found)

    @classmethod
    def of_the_cluster(cls) -> "Room":
        """Return what the cluster has, or can have."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        found = {what: max((node.get(what, 0.0) for node in nodes), default=0.0) for what in _WHAT}
        growth = Growth.here()
        return cls(
            total={what: _cluster(what) for what in _WHAT},
            largest=found
            if growth is None
            else {w: max(found[w], growth.largest.get(w, 0)) for w in _WHAT},
        )


def check_fits(sweep: SweepBase, n_concurrent: int, room: Room) -> None:
    """Refuse trials that there can never be room for: they would wait for ever.

    Parameters
    ----------
    sweep : SweepBase
    n_concurrent : int
        Trials that run at the same time. With one worker each, those that do not fit take turns.
    room : Room

    Raises
    ------
    ConfigError
        With the numbers.
    """
    n_at_once = n_concurrent if sweep.workers > 1 else 1
    readers = _READERS if sweep.workers > 1 else 0
    for what, each, more in (
        ("CPU", sweep.cpus_per_worker if sweep.workers > 1 else 1.0, readers),
        ("GPU", sweep.gpus_per_worker, 0),
    ):
        needed = n_at_once * sweep.workers * each + more
        if needed > room.total[what]:
            reading = f", and {more} {what} to read for them," if more else ""
            raise ConfigError(
                f"{n_at_once} trials at a time of {sweep.workers} workers with {each:g} {what}s each{reading} need "
                f"{needed:g} {what}s; the cluster has {room.total[what]:g}. Lower workers, {what.lower()}s_per_worker "
                "or search.max_concurrent, or add nodes."
            )
        if each > room.largest[what]:
            raise ConfigError(
                f"a worker needs {each:g} {what}s on one node; the largest node has {room.largest[what]:g}. Lower "
                f"{what.lower()}s_per_worker, or add a larger node."
            )


def n_that_fit(sweep: SweepBase) -> int:
    """Return how many trials' workers the cluster can hold at the same time, grown as far as it may; at least one."""
    if sweep.workers == 1:
        fit = _cluster("CPU")
        if sweep.gpus_per_worker:
            fit = min(fit, _cluster("GPU") / sweep.gpus_per_worker)
        return _whole(fit)
    fit = (_cluster("CPU") - _READERS) / (sweep.workers * sweep.cpus_per_worker)
    if sweep.gpus_per_worker:
        fit = min(fit, _cluster("GPU") / (sweep.workers * sweep.gpus_per_worker))
    return _whole(fit)


def _whole(fit: float) -> int:
    return max(1, int(min(fit, _MOST_AT_ONCE) + 1e-9))


def resources_of(sweep: SweepBase) -> dict[str, float]:
    """Return what Ray is to set aside for a trial itself: nothing but a place where its workers take the rest."""
    if sweep.workers > 1:
        # A byte of memory, because Ray Tune refuses a request for nothing.
        return {"CPU": 0, "memory": 1.0}
    return {"CPU": 1, **({"GPU": sweep.gpus_per_worker} if sweep.gpus_per_worker else {})}


def run_on_workers(
    work: Work,
    arguments: Any,
    feeds: Sequence[Feed],
    *,
    sweep: SweepBase,
    share: int,
) -> Any:
    """Run `work` in every worker under a process group of torch, and return what the first worker returns.

    Parameters
    ----------
    work : callable
        Importable; gets `arguments` and, for each feed, an iterator over `share` rows at a time.
    arguments : any
        Object references stay references.
    feeds : sequence of Feed
        Each is read by a process of its own, from when the workers come to it until all of them have ended.
    sweep : SweepBase
        Workers, and what each takes.
    share : int
        Rows of each worker in one step.

    Raises
    ------
    LostError
        A worker died, or its node did.
    Exception
        Whatever the first worker that failed raised.
    """
    from ray import train
    from ray.train.torch import TorchTrainer

    configure_data()
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = _STALLED_S
    options = ray.data.ExecutionOptions()
    options.preserve_order = True  # which worker gets which rows must not depend on timing
    # Ray Train's own files: nothing is reported to it, so nothing reads them again, on whichever node they are.
    with tempfile.TemporaryDirectory(prefix="orchestrator-train-") as scratch:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "work": work,
                "arguments": arguments,
                _SHARE: share,
                _N_FEEDS: len(feeds),
            },
            scaling_config=train.ScalingConfig(
                num_workers=sweep.workers,
                use_gpu=sweep.gpus_per_worker > 0,
                resources_per_worker={
                    "CPU": sweep.cpus_per_worker,
                    **({"GPU": sweep.gpus_per_worker} if sweep.gpus_per_worker else {}),
                },
            ),
            run_config=train.RunConfig(
                name="train",
                storage_path=scratch,
                # What was lost begins again from our checkpoint, not inside of Ray Train from the arguments of before.
                failure_config=train.FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),  # type: ignore[call-arg]
            ),
            datasets={_name(i): _dataset(feed, share) for i, feed in enumerate(feeds)},
            dataset_config=train.DataConfig(execution_options=options),
        )
        try:
            return trainer.fit().return_value  # type: ignore[attr-defined]
        except train.WorkerGroupError as error:
            raise _cause(list(error.worker_failures.values()) or [error]) from error
        except train.ControllerError as error:
            raise _cause([error.controller_failure]) from error


def _cause(failures: list[Exception]) -> Exception:
    """Return what went wrong first: where a worker died, what the others say about it is a consequence."""
    lost = [failure for failure in failures if is_lost(failure)]
    return LostError(f"a worker was lost: {lost[0]}") if lost else failures[0]


def _worker(config: dict[str, Any]) -> Any:
    import torch
    from ray import train

    torch.set_num_threads(1)
    # Ray splits a dataset when its shard is first asked for, so a feed costs nothing before its turn.
    feeds = (
        iter(
            train.get_dataset_shard(_name(i)).iter_batches(
                batch_size=config[_SHARE], batch_format="numpy", prefetch_batches=1
            )
        )
        for i in range(config[_N_FEEDS])
    )
    return config["work"](config["arguments"], feeds)


def _name(i: int) -> str:
    return f"feed-{i}"


def _dataset(feed: Feed, share: int) -> "ray.data.Dataset":
    n_blocks = max(1, feed.n_rows // share)
    return ray.data.range(feed.n_rows, override_num_blocks=n_blocks).map_batches(
        lambda batch: feed.rows_of(batch["id"]), batch_size=None, num_cpus=_READERS
    )


def _cluster(what: str) -> float:
    """Return how much of something the cluster has, or can grow to."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    growth = Growth.here()
    return max(resources.get(what, 0.0), 0.0 if growth is None else growth.total.get(what, 0.0))
