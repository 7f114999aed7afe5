"""What trials of every kind share on Ray, and the fixed ones: tasks side by side. A search is in `tuning`."""

from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray.exceptions import RayActorError, RayError

from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import InterruptedSweepError, OrchestratorError, TerminatedSweepError
from orchestrator.method import InputsRef
from orchestrator.store.store import Store
from orchestrator.sweeps.failures import (
    DIED,
    MAX_RETRIES,
    LostError,
    from_data,
)
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.remote import run_control
from orchestrator.sweeps.reports import ENDS_SWEEP, ERROR, SIGNATURE, Outcome
from orchestrator.sweeps.workers import n_that_fit, resources_of
from orchestrator.telemetry.events import EventLog
from orchestrator.telemetry.progress import progress

_LOOK_S = 0.5
"""How often a wait looks whether the user wants to end it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A sweep under way: where it is kept, what is told of it, and what may end it."""

    store: Store
    sweep: SweepBase
    log: EventLog
    halt: Halt
    retry_failed: bool = False
    """Failed trials are tried again."""

    def interrupted(self, n_done: int, n: int, what: str) -> OrchestratorError:
        """Return why the run ends before it is done."""
        kind = TerminatedSweepError if self.halt.terminated else InterruptedSweepError
        return self.halt.error or kind(
            f"sweep {self.sweep.name!r} was interrupted after {n_done} of {n} {what}. The same command goes on where "
            "it was."
        )


def run_fixed(
    run: Run,
    kind: str,
    names: list[str],
    trial: Callable[[InputsRef, str], Outcome],
    inputs_ref: InputsRef,
) -> dict[str, Outcome]:
    """Run configurations that no search proposes, side by side.

    Parameters
    ----------
    run : Run
        Its sweep says how many workers each takes; one takes a CPU of its own.
    kind : str
        What they are, such as ``arm``.
    names : list of str
    trial : callable
        Inputs and a name to an outcome; runs in a Ray task.
    inputs_ref : InputsRef

    Returns
    -------
    dict
        Outcome of each, by name.

    Raises
    ------
    InterruptedSweepError
        The user ended it; what is trained is in the store.
    OrchestratorError
        One that ends the sweep.
    """
    sweep, halt = run.sweep, run.halt
    # A process ends with its task and its memory goes with it: trials get their own.
    resources = resources_of(sweep)
    task = ray.remote(  # type: ignore[call-overload]  # its types know no list of exceptions
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        max_calls=1,
        max_retries=MAX_RETRIES,
        retry_exceptions=[LostError],  # a trial returns all but what was lost under it
    )(run_control)
    # Those with workers of their own take no CPU themselves, so Ray would start all of them at once; and of those that
    # Ray holds back, none may begin once the user wants to end.
    waiting = list(reversed(names))
    n_at_once = n_that_fit(sweep)
    pending: dict[ray.ObjectRef[Outcome], str] = {}
    outcomes: dict[str, Outcome] = {}
    with progress(f"{kind}s", len(names)) as advance:
        while (pending or (waiting and not halt.draining)) and not halt.stopping:
            while waiting and len(pending) < n_at_once and not halt.draining:
                name = waiting.pop()
                pending[task.remote(trial, inputs_ref, name)] = name
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOK_S)
            if halt.stopping:  # what has failed meanwhile was ended by the same signal, perhaps
                break
            for ref in ready:
                name = pending.pop(ref)
                try:
                    outcome = ray.get(ref)
                except RayError as error:
                    if isinstance(error, RayActorError) and error.preempted:
                        # Its machine is taken away, which is no failure: it goes on elsewhere.
                        pending[task.remote(trial, inputs_ref, name)] = name
                        continue
                    outcome = {ERROR: f"{DIED}\n{error}"}
                if ENDS_SWEEP in outcome:
                    halt.stop(from_data(outcome[ENDS_SWEEP]))
                    break
                outcomes[name] = outcome
                run.log.emit(f"{kind}_done", **{kind: name}, **outcome)
                advance(name if SIGNATURE in outcome else f"{name}: failed")
    if len(outcomes) < len(names):
        raise run.interrupted(len(outcomes), len(names), f"{kind}s")
    return outcomes
