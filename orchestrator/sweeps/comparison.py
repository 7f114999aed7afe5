"""One trial of a finished sweep, trained again and held against its record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from ray.exceptions import RayActorError

from orchestrator.errors import IntegrityError, OrchestratorError
from orchestrator.method import Configured, InputsRef, Method, Order
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.failures import DIED, LostError, described, ends_sweep, from_data
from orchestrator.sweeps.reports import ENDS_SWEEP, ERROR, outcome_of
from orchestrator.sweeps.search.study import NOT_A_NUMBER

TOLERANCE = 1e-5
"""Of several workers, or on a GPU, sums are taken in an order that is not fixed: so close counts as the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """A trial, arm or row as the sweep left it."""

    trial: str
    params: Mapping[str, Any] | None
    """As proposed; None for an arm or row."""
    signature: str | None
    objective: float | None
    error: str | None
    reused_from: str | None
    stopped: bool = False
    """Ended by the scheduler."""
    differs: tuple[str, ...] = ()
    """Where the sweep's own files do not agree."""


How = Literal["trained", "failed", "reused", "died", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A trial, arm or row next to its record."""

    trial: str
    how: How
    """``trained`` again; ``failed`` in the sweep, and tried again; ``reused``: the training of another trial, so only
    the signature was compared; ``died``, lost with its process in the sweep, or ``stopped`` by the scheduler: there is
    nothing to compare."""
    differs: tuple[str, ...]
    """What is not as it was, each in a few words; empty where all is."""
    largest_difference: float | None
    """Of a predicted probability; None where none were compared."""

    @property
    def said(self) -> str:
        """In a few words."""
        if self.differs:
            return f"differs: {', '.join(self.differs)}"
        match self.how:
            case "trained" if self.largest_difference:
                return f"same, probabilities within {self.largest_difference:.1e}"
            case "trained":
                return "same"
            case "failed":
                return "same failure"
            case "reused":
                return "same signature as the trial that it reuses"
            case "died":
                return "not replayed: its process died in the sweep"
            case "stopped":
                return "not replayed: the scheduler ended it"


class Comparison:
    """Trains what a sweep recorded again, in this process, and compares.

    Parameters
    ----------
    method : Method
        Begun.
    inputs : object
        What its trials share; they write to `scratch`.
    inputs_ref : InputsRef, optional
        Where several workers of a trial read the inputs from.
    store, scratch : Store
        Where the sweep's predictions are, and where those of the replay go.
    """

    def __init__(
        self,
        method: Method[Any],
        inputs: object,
        inputs_ref: InputsRef | None,
        store: Store,
        scratch: Store,
    ) -> None:
        self._method = method
        self._inputs = inputs
        self._inputs_ref = inputs_ref
        self._sweep = sweep = method.sweep
        self._store = store
        self._scratch = scratch
        self._tolerance = 0.0 if sweep.workers == 1 and sweep.device == "cpu" else TOLERANCE

    def replayed(self, recorded: Recorded) -> Replayed:
        """Train one again; a reused one by signature alone, and one that died not at all."""
        differs = list(recorded.differs)
        largest = None
        how: How
        if recorded.stopped:
            how = "stopped"
        elif recorded.reused_from is not None:
            how = "reused"
            differs = self.record_differs(recorded)
        elif recorded.error is None:
            how = "trained"
            again = self._train(recorded)
            differs += self._signature(recorded)
            if again.error is not None:
                differs.append(f"it fails: {_first_line(again.error)}")
            else:
                found = [self._predictions(name) for name in self._configured(recorded).stored]
                differs += [said for _, what in found for said in what]
                differs += self._objective(recorded, again.objective)
                differences = [difference for difference, _ in found if difference is not None]
                largest = max(differences, default=None)
        elif _first_line(recorded.error) == DIED:
            how = "died"
        else:
            how = "failed"
            again = self._train(recorded)
            before, now = _first_line(recorded.error), _first_line(again.error)
            if before != now:
                differs.append(
                    f"it failed ({before}) and now {f'does so otherwise ({now})' if now else 'does not'}"
                )
        return Replayed(
            trial=recorded.trial, how=how, differs=tuple(differs), largest_difference=largest
        )

    def record_differs(self, recorded: Recorded) -> list[str]:
        """Return what can be said without training: the sweep's own files do not agree, or its signature is another."""
        return [*recorded.differs, *self._signature(recorded)]

    def _train(self, recorded: Recorded) -> "_Retraining":
        """Train and judge as trial and driver of a sweep do together.

        Raises
        ------
        OrchestratorError
            One that would have ended the sweep.
        """
        try:
            outcome = outcome_of(lambda: self._trained(recorded))
        except (LostError, RayActorError):
            return _Retraining(error=DIED)
        if ENDS_SWEEP in outcome:
            raise from_data(outcome[ENDS_SWEEP])
        if ERROR in outcome:
            return _Retraining(error=outcome[ERROR])
        try:
            trial = self._configured(recorded)
            predictions = [
                self._scratch.read_table(paths.predictions(self._sweep.name, name))
                for name in trial.stored
            ]
            objective = self._method.objective(trial, predictions)
        except OrchestratorError as error:
            if ends_sweep(error):
                raise
            return _Retraining(error=described(error))
        return (
            _Retraining(objective=objective)
            if math.isfinite(objective)
            else _Retraining(error=NOT_A_NUMBER)
        )

    def _configured(self, recorded: Recorded) -> Configured:
        trial: Configured = self._method.configured(recorded.trial, recorded.params)
        return trial

    def _trained(self, recorded: Recorded) -> str:
        trial = self._configured(recorded)
        order = Order(inputs=self._inputs, trial=trial, inputs_ref=self._inputs_ref)
        self._method.trainer.train(order)
        return trial.signature

    def _signature(self, recorded: Recorded) -> list[str]:
        if recorded.signature is None:  # it reuses a failure
            return []
        now = self._configured(recorded).signature
        return [] if now == recorded.signature else [f"signature {now}, not {recorded.signature}"]

    def _predictions(self, name: str) -> tuple[float | None, list[str]]:
        """Return the largest difference of a probability, and what is to be said of it."""
        path = paths.predictions(self._sweep.name, name)
        try:
            before = self._store.read_bytes(path)
            if before == self._scratch.read_bytes(path):
                return 0.0, []
            table = self._store.read_table(paths.predictions(self._sweep.name, name))
        except FileNotFoundError:
            return None, [f"no predictions in the store ({path})"]
        except IntegrityError:
            return None, [f"its predictions in the store are damaged ({path})"]
        now = self._scratch.read_table(paths.predictions(self._sweep.name, name))
        largest = largest_difference(table, now)
        if largest is None:
            return None, ["predictions for other epochs"]
        # Without tolerance the files must be equal, or hold equal tables, as those of two versions of Arrow may.
        same = table.equals(now) if self._tolerance == 0 else largest <= self._tolerance
        return largest, [] if same else [f"predictions, by up to {largest:.2g}"]

    def _objective(self, recorded: Recorded, now: float | None) -> list[str]:
        assert recorded.objective is not None
        assert now is not None
        if math.isclose(now, recorded.objective, rel_tol=self._tolerance, abs_tol=self._tolerance):
            return []
        return [f"objective {now!r}, not {recorded.objective!r}"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Retraining:
    """What training once more came to: predictions in the scratch store are worth this, or an error."""

    objective: float | None = None
    error: str | None = None


def largest_difference(before: pa.Table, now: pa.Table) -> float | None:
    """Return by how much two tables of predictions differ in a probability; None if they are of other epochs.

    What each modality alone would say is left out: it is a stage, and jumps where two are as probable.
    """
    if before.schema.names != now.schema.names or len(before) != len(now):
        return None
    largest = 0.0
    for name in before.schema.names:
        if name.startswith("p_"):
            differences = np.abs(before[name].to_numpy() - now[name].to_numpy())
            # A number and none are as far apart as probabilities can be.
            largest = max(largest, float(np.nan_to_num(differences, nan=1.0).max(initial=0.0)))
        elif not name.startswith("own_") and before[name].to_pylist() != now[name].to_pylist():
            return None
    return largest


def _first_line(error: str | None) -> str:
    return (error or "").partition("\n")[0]
