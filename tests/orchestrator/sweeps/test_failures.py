"""Whose fault a failure is, how it travels, and what a digest makes of many."""

import pytest
import ray.exceptions as ray_exceptions
from ray import train

from orchestrator.errors import ConfigError, IntegrityError, RecordingError, StoreUnreachableError
from orchestrator.sweeps.failures import (
    MAX_RETRIES,
    LostError,
    as_data,
    described,
    digest,
    digest_text,
    ends_sweep,
    from_data,
    is_lost,
    persistently,
)
from trainables.errors import DivergedError


def task_error(cause: Exception) -> ray_exceptions.RayTaskError:
    return ray_exceptions.RayTaskError("f", "trace", cause)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "error",
    [
        LostError("a worker"),
        ray_exceptions.ActorDiedError(),
        ray_exceptions.WorkerCrashedError(),
        ray_exceptions.NodeDiedError("node"),  # type: ignore[no-untyped-call]
        ray_exceptions.OutOfMemoryError("killed"),  # type: ignore[no-untyped-call]
        task_error(ray_exceptions.WorkerCrashedError()),
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"),
        RuntimeError("NCCL error: remote process exited"),
        train.WorkerGroupError("a worker died", {0: ray_exceptions.ActorDiedError()}),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_died_under_a_trial_is_no_fault_of_it(error: Exception) -> None:
    assert is_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        DivergedError("nan"),
        RuntimeError("shapes do not match"),
        task_error(DivergedError("nan")),
        ray_exceptions.RuntimeEnvSetupError("no such wheel"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_trial_did_wrong_is_its_fault(error: Exception) -> None:
    assert not is_lost(error)


@pytest.mark.parametrize("n_lost", [0, 1, MAX_RETRIES, MAX_RETRIES + 1])
def test_what_is_lost_is_tried_again_and_not_for_ever(n_lost: int) -> None:
    calls = []

    def attempt() -> str:
        calls.append(1)
        if len(calls) <= n_lost:
            raise LostError("again")
        return "done"

    if n_lost <= MAX_RETRIES:
        assert persistently(attempt) == "done"
        assert len(calls) == n_lost + 1
    else:
        with pytest.raises(LostError):
            persistently(attempt)
        assert len(calls) == MAX_RETRIES + 1


@pytest.mark.parametrize(
    ("n_per_part", "succeeds"), [(MAX_RETRIES, True), (MAX_RETRIES + 1, False)]
)
def test_losses_are_counted_anew_after_each_part_that_is_done(
    n_per_part: int, succeeds: bool
) -> None:
    """So many losses before each of four parts: each part has as many attempts as one alone."""
    calls, left = [], [4]

    def attempt() -> str:
        calls.append(1)
        while left[0]:
            if len(calls) <= (5 - left[0]) * n_per_part:
                raise LostError("again")
            left[0] -= 1
        return "done"

    if succeeds:
        assert persistently(attempt, lambda: left[0]) == "done"
        assert len(calls) == 4 * n_per_part + 1
    else:
        with pytest.raises(LostError):
            persistently(attempt, lambda: left[0])


def test_what_is_wrong_is_not_tried_again() -> None:
    calls = []

    def attempt() -> None:
        calls.append(1)
        raise DivergedError("nan")

    with pytest.raises(DivergedError):
        persistently(attempt)
    assert len(calls) == 1


def test_which_errors_end_a_sweep() -> None:
    assert ends_sweep(IntegrityError("labels"))
    assert ends_sweep(StoreUnreachableError("bucket"))
    assert not ends_sweep(DivergedError("nan"))
    assert not ends_sweep(ConfigError("name"))


@pytest.mark.parametrize("error", [IntegrityError("test labels"), RecordingError("flat", "all")])
def test_an_error_arrives_as_what_it_is(error: IntegrityError | RecordingError) -> None:
    arrived = from_data(as_data(error))
    assert type(arrived) is type(error)
    assert arrived.args == error.args


def raised(step: int) -> str:
    try:
        raise DivergedError(f"the loss of step {step} is nan")
    except DivergedError as error:
        return described(error)


def test_a_digest_groups_by_cause_and_counts() -> None:
    out_of_memory = "OutOfMemoryError: CUDA out of memory. Tried to allocate {} GiB"
    failed = [(f"t{i:03d}", raised(i)) for i in range(7)]
    failed += [(f"t{i:03d}", out_of_memory.format(i)) for i in range(7, 12)]
    first, second = digest(failed)
    assert first.trials == tuple(f"t{i:03d}" for i in range(7))
    assert first.cause == "DivergedError: the loss of step 0 is nan"
    assert "learning rate" in first.hint
    assert "in raised" in first.trace
    assert second.trials == tuple(f"t{i:03d}" for i in range(7, 12))
    assert "batch size" in second.hint
    text = digest_text([first, second])
    assert "7 x DivergedError: the loss of step 0 is nan (t000, t001, t002, t003, t004 ...)" in text
    assert "5 x OutOfMemoryError" in text


def test_the_same_error_at_two_places_is_two_causes() -> None:
    def elsewhere() -> str:
        try:
            raise DivergedError("the loss of step 0 is nan")
        except DivergedError as error:
            return described(error)

    assert len(digest([("t000", raised(0)), ("t001", elsewhere())])) == 2
    assert digest([]) == []
