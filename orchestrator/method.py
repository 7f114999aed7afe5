"""What a method is to the engine: one object from which a sweep, what is left of it, and a replay are run.

A method is made from a sweep file and the manifests of a store. The engine (:mod:`orchestrator.sweeps`) asks it what is
searched, has it read what trials share, trains what it configures in other processes, has it judge the predictions, and
writes the tables that it makes of what came out.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from orchestrator.config.methods import room
from orchestrator.labels import LabelGate
from orchestrator.store.store import Store
from orchestrator.telemetry.events import EventLog
from search_spaces.space import Params, Space

if TYPE_CHECKING:
    import pyarrow as pa
    import ray

    from orchestrator.config.sweep_sections import SearchBase, SweepBase
    from orchestrator.psg.feed import Scale, StoredRecording
    from trainables.stages import Stage
    from trainables.training import Seconds

InputsRef = list["ray.ObjectRef[Any]"]
"""The reference to what all trials share, in a list: Ray leaves it a reference there."""


class AfterPart(Protocol):
    """Called by a trial after each of its parts but the last; the trial may end there."""

    def __call__(self, n_done: int, objective: float | None = None) -> None:
        """Tell how many parts are done, and the objective of those from a trial that knows their labels anyway."""


class Configured(Protocol):
    """What one trial, arm or row trains: everything that its predictions depend on."""

    @property
    def signature(self) -> str:
        """Id of that: equal ones are trained once."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Under which names the predictions are stored, those of each seed, or of each model of a seed."""


TrialT = TypeVar("TrialT", bound=Configured)
InputsT = TypeVar("InputsT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainer(Generic[InputsT, TrialT]):
    """How a trial becomes predictions, in a process that has the shared inputs and knows nothing of the search.

    Both are functions of a module, because they go to other processes by name.
    """

    configured: Callable[[InputsT, str, Params | None], TrialT]
    """From the shared inputs, a name and sampled parameters to what is trained; an arm or row has no parameters."""
    train: Callable[["Order[InputsT, TrialT]"], None]
    """Trains with each seed and writes the predictions; what is in the store already is not made again."""


@dataclass(frozen=True, kw_only=True)
class Order(Generic[InputsT, TrialT]):
    """One trial to be trained."""

    inputs: InputsT
    """What all trials share."""
    trial: TrialT
    inputs_ref: InputsRef | None = None
    """Where several workers of one trial read the inputs from."""
    after_part: AfterPart | None = None
    """Called between the parts of a trial that a scheduler may end."""
    trained: "Callable[[Seconds], None]" = lambda _: None
    """Called with what each training took, unless none was needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What the predictions of a trial are worth."""

    values: tuple[float, ...]
    """The objective, then those of ``search.also``."""
    replicates: tuple[float, ...] = ()
    """The objective with each seed, where a trial has several: the first value is their mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done(Generic[TrialT]):
    """A trial, arm or row that has come to its end."""

    name: str
    trial: TrialT
    is_control: bool
    """An arm or row, which no search proposed."""
    enqueued: bool
    """Fixed before the search began."""
    signature: str | None
    """None where it failed or was ended by the scheduler: there are no predictions."""
    objective: float | None
    replicates: tuple[float, ...]
    """Objective with each seed, where there are several."""
    error: str | None
    reused_from: str | None = None
    """The trial that trained what this one would have trained again."""
    on_front: bool | None = None
    """Whether no other trial is better in every objective; None for a single objective."""
    stopped_after: int | None = None
    """Reports after which the scheduler ended it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWeights:
    """Weights of a trained trial, where its training left them."""

    path: str
    """In the store."""
    seed: int
    fold: int | None = None
    subject: str | None = None
    record: str | None = None
    """The JSON file beside it that has its SHA-256 as ``weights_sha256``; None where its training left no such file."""
    modalities: Sequence[str] | None = None
    """Those of the model that were learned, where the training lacked one; None: all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A trained trial or control as a model: what a recording needs to be staged by it, and what is known of it."""

    network: str
    """A key of :data:`orchestrator.predict.networks.NETWORKS`."""
    weights: Sequence[StoredWeights]
    modalities: Sequence[str]
    scale: "Scale"
    """Of the signals."""
    stages: Sequence["Stage"]
    """Those that it can say."""
    learned_from: "Sequence[StoredRecording]"
    """Recordings of its training subjects."""
    metrics: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]
    """Whatever else somebody wants to know who gets the model alone."""


class Method(Protocol[TrialT]):
    """A method on one sweep, made from the store's manifests alone, so that mistakes are told at once."""

    @property
    def sweep(self) -> "SweepBase":
        """The sweep file."""

    @property
    def search(self) -> "SearchBase | None":
        """Its search, if it has one."""

    @property
    def objective_name(self) -> str:
        """What the search maximises, one of the objectives of its method."""

    @property
    def data_id(self) -> tuple[str, str]:
        """Key of the sweep's manifest that says what data it began with, and the value it would have now."""

    @property
    def space(self) -> Space:
        """What the search varies; empty without one."""

    @property
    def first(self) -> Sequence[Params]:
        """Configurations to try before any other."""

    @property
    def fixed(self) -> Params:
        """Values of the parameters that the search does not vary."""

    @property
    def controls(self) -> Sequence[str]:
        """Names of the arms or rows, as events have them; the final table may put their kind before them."""

    @property
    def control_kind(self) -> str:
        """What these are called, ``arm`` or ``row``: the event log has ``arm_done`` and ``row_done``."""

    @property
    def trainer(self) -> Trainer[Any, TrialT]:
        """How its trials are trained."""

    def prepare(self) -> None:
        """Make what other sweeps can use, too, before this one counts as begun. Ray is running."""

    def begin(self, gate: LabelGate, out: Store) -> Any:
        """Read what trials share, which is returned and goes to other processes, and what they are judged by.

        Trials write to `out`.
        """

    def record(self, gate: LabelGate, log: EventLog) -> None:
        """Write what the sweep runs on, before anything is trained."""

    def record_controls(self, errors: Mapping[str, str | None]) -> None:
        """Take note of the arms or rows, which have ended: why each has no predictions, or None where it has.

        Raises
        ------
        SweepFailedError
            After these outcomes a search would be pointless.
        """

    def configured(self, name: str, params: Params | None) -> TrialT:
        """Return what a trial trains, or an arm or row by its name."""

    def objective(self, trial: TrialT, predictions: "Sequence[pa.Table]") -> float:
        """Return what predictions of a trial are worth to the search: those of its ``stored``, in the same order."""

    def judge(self, trial: TrialT) -> Scores:
        """Return what a trained trial is worth."""

    def judge_part(self, trial: TrialT, report: Mapping[str, Any]) -> float:
        """Return the objective of a trial under way, after an intermediate report."""

    def described(self, trial: TrialT) -> Mapping[str, Any]:
        """Return what else the event ``trial_started`` is to hold."""

    def tables(
        self, done: Sequence[Done[TrialT]], gate: LabelGate, log: EventLog
    ) -> "Mapping[str, pa.Table]":
        """Return all tables by their path in the store; the search has ended, so test labels may be read."""

    def refit(self, one: Done[TrialT]) -> TrialT | None:
        """Return what is trained for the model of a chosen trial, now that the search has ended.

        None where the networks that the trial has trained are its model.
        """

    def trained(self, one: Done[TrialT], row: Mapping[str, Any]) -> Trained:
        """Return a finished trial or control as a model; what trained nothing is the model that it began with.

        Its ``trial`` may be what :meth:`refit` gave.
        `row` is its row of the final table. What this needs of weights that may be gone, it leaves to who reads them.
        """

    def untrained(self, row: Mapping[str, Any] | None) -> str | None:
        """Say what a trial or control is that trained nothing; None where it did.

        `row` is its row of the final table; None for a control that has none.
        """


SweepT = TypeVar("SweepT", bound="SweepBase")


class MethodBase(Generic[SweepT]):
    """What methods have in common: what stands in the sweep file, and doing nothing where a method has nothing to do.

    See :class:`Method` for what each of these is.
    """

    control_kind = "none"

    def __init__(self, store: Store, sweep: SweepT) -> None:
        self._store = store
        self.sweep = sweep

    @property
    def controls(self) -> Sequence[str]:
        """Names of arms or rows; there are none."""
        return ()

    @property
    def search(self) -> "SearchBase | None":
        """The search of the sweep file, if it has one."""
        return self.sweep.search

    @property
    def objective_name(self) -> str:
        """What the search maximises."""
        assert self.search is not None, (
            "a method whose sweeps may lack a search names its objective"
        )
        return self.search.objective

    @property
    def space(self) -> Space:
        """What the search varies; empty without one."""
        return {} if self.search is None else self.search.space.declared()

    @property
    def first(self) -> Sequence[Params]:
        """Configurations to try before any other."""
        return list(self.sweep.first_trials())

    @property
    def fixed(self) -> Params:
        """Values of the parameters that the search does not vary."""
        own = self.sweep.own_params()
        return {name: value for name, value in own.items() if name not in self.space}

    def prepare(self) -> None:
        """Make nothing."""

    def record_controls(self, errors: Mapping[str, str | None]) -> None:
        """Take no note."""

    def refit(self, one: Done[Any]) -> Any:
        """Return None: what a trial has trained is its model."""
        return None

    def untrained(self, row: Mapping[str, Any] | None) -> str | None:
        """Return None: whatever ends has been trained."""
        return None


def table_name(method: Method[Any], control: str, names: Container[str]) -> str | None:
    """Return under which of some names a final table has a control, or None.

    Parameters
    ----------
    method : Method
    control : str
        As events have it. The name of a trial is the same in both.
    names : container of str
        Of the table.
    """
    return next((n for n in (control, f"{method.control_kind}-{control}") if n in names), None)


def method_of(store: Store, sweep: "SweepBase") -> Method[Any]:
    """Return the method of a sweep file on that sweep.

    Raises
    ------
    ConfigError
        The sweep does not fit what is in the store.
    """
    method: Method[Any] = room(sweep.method, "run").METHOD(store, sweep)
    return method
