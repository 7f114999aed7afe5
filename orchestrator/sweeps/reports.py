"""What a trial tells the driver, through Ray Tune. A trial's process needs nothing else of the search."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError

from orchestrator.errors import OrchestratorError
from orchestrator.method import AfterPart, InputsRef
from orchestrator.sweeps.failures import LostError, as_data, described, ends_sweep, is_lost
from search_spaces.space import Params
from trainables.errors import LeaveError

if TYPE_CHECKING:
    from trainables.training import Seconds

SIGNATURE = "signature"
"""Key of a report: under which name the trial's predictions are stored."""
ERROR = "error"
"""Key of a report: why there are none."""
ENDS_SWEEP = "ends_sweep"
"""Key of a report: an error that is no fault of the trial, see :mod:`orchestrator.sweeps.failures`."""
N_PARTS = "n_parts"
"""Key of an intermediate report: how many parts of the trial are done."""
SO_FAR = "so_far"
"""Key of an intermediate report: the objective of what is done, from a trial that knows those labels anyway."""
WAITED_S, TRAINED_S = "waited_s", "trained_s"
"""Keys of a report and of its events: how long training waited for batches, and what it took in all."""

Outcome = dict[str, Any]
"""What a trial reports: the signature of its predictions and what training took, or why there are none."""


Trial = Callable[[InputsRef, Params, AfterPart], Outcome]
"""Shared inputs and sampled parameters to an outcome."""


def run_trial(params: dict[str, Any], *, trial: Trial, inputs_ref: InputsRef) -> Outcome:
    """Run a trial in Tune's actor, which hears of its parts."""
    from ray import (
        tune,  # here: the several workers of a trial import this module, and have no use for Tune
    )

    def after_part(n_done: int, objective: float | None = None) -> None:
        tune.report({N_PARTS: n_done, SO_FAR: objective})

    return trial(inputs_ref, params, after_part)


def so_far(params: Params, report: Mapping[str, Any]) -> float:
    """Return the objective that a trial itself knows of what is done."""
    return float(report[SO_FAR])


def as_fields(seconds: "Seconds") -> dict[str, float]:
    """Return what training took as a report and an event hold it."""
    return {WAITED_S: round(seconds.waited, 4), TRAINED_S: round(seconds.total, 4)}


def outcome_of(run: Callable[[], str], seconds: "Sequence[Seconds]" = ()) -> Outcome:
    """Return the signature that a trial gives, or why it gives none: one bad trial never ends a sweep.

    Parameters
    ----------
    run : callable
    seconds : sequence of Seconds
        What each training took, known when `run` returns; empty where nothing was trained.

    Raises
    ------
    LostError
        Something died under the trial. Ray tries it again, elsewhere perhaps, and it goes on from its checkpoint.
    RayActorError
        Its machine is about to be taken away. Ray tries it again, and does not count it.
    """
    try:
        outcome: Outcome = {SIGNATURE: run()}
    except LeaveError as error:
        raise RayActorError(error_msg=str(error), preempted=True) from None
    except Exception as error:
        if is_lost(error):
            raise LostError(f"{type(error).__name__}: {error}") from None
        if isinstance(error, OrchestratorError) and ends_sweep(error):
            return {ENDS_SWEEP: as_data(error)}
        return {ERROR: described(error)}
    return outcome | (as_fields(sum(seconds[1:], seconds[0])) if seconds else {})
