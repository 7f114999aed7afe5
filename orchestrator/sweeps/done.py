"""What has ended, as its method gets it for its tables and models: from the journal, or from the final table."""

from collections.abc import Container, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from orchestrator.method import Done, Method
from orchestrator.sweeps.search import study


def done_trial(method: Method[Any], frozen: FrozenTrial, front: Container[str] | None) -> Done[Any]:
    """Return a finished trial of the search.

    Parameters
    ----------
    method : Method
        Begun.
    frozen : FrozenTrial
    front : container of str, optional
        Names of the trials on the Pareto front; None for a single objective.
    """
    name = study.name_of(frozen)
    return Done(
        name=name,
        trial=method.configured(name, frozen.params),
        is_control=False,
        enqueued=study.was_enqueued(frozen),
        signature=study.signature_of(frozen),
        objective=study.objective_of(frozen),
        replicates=study.replicates_of(frozen),
        error=study.error_of(frozen),
        reused_from=study.reused_from(frozen),
        on_front=None if front is None else name in front,
        stopped_after=study.stopped_after(frozen),
    )


def done_control(method: Method[Any], row: Mapping[str, Any]) -> Done[Any]:
    """Return a control of a finished sweep, without the objective of each seed: the table has their mean.

    Parameters
    ----------
    method : Method
        Begun.
    row : mapping
        Its row of the final table.
    """
    name = row["trial"].removeprefix(f"{method.control_kind}-")
    if name not in method.controls:  # their own names begin with their kind
        name = row["trial"]
    trial = method.configured(name, None)
    return Done(
        name=name,
        trial=trial,
        is_control=True,
        enqueued=True,
        signature=row["signature"],
        objective=row["objective"],
        replicates=(),
        error=row["error"],
    )
